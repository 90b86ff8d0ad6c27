"""The global batch: on two, four and eight processes the loss and every gradient are those of a single one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cotrain_losses import Rows
from cotrain_losses.policy.gather import gathered

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What `tests.gathering` prints."""
    command = [sys.executable, "-m", "tests.gathering", str(tmp_path_factory.mktemp("group"))]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_loss_and_gradients_are_those_of_one_process_on_all_rows(found):
    assert len(found["terms"]) == 8
    assert all(difference < 1e-6 for _, _, difference in found["terms"])


def test_eight_ranks_most_without_a_target_row_have_the_gradient_of_one_process_and_gather_once_a_step(found):
    row = 4 * 8 + 8  # features of width 4 in float64, and a label
    assert [rank for rank, *_ in sorted(found["steps"])] == list(range(8))
    for _, difference, sent in found["steps"]:
        assert difference < 1e-9
        # the first step finds a capacity of 6 rows, the second has 8 and sends again
        assert sent == [8, *2 * [8 + 6 * row], *2 * [8 + 8 * row]]


def test_without_a_process_group_rows_stay_as_they_are():
    rows = Rows(torch.zeros(2, 3))
    assert gathered(rows) is rows
