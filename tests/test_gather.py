"""The global batch: on two and on four processes the loss and every gradient are those of a single one."""

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
def differences(tmp_path_factory):
    """{(rank, processes): difference}; processes 0, 1 and 2, 3 are pairs, 0 to 3 the whole."""
    command = [sys.executable, "-m", "tests.gathering", str(tmp_path_factory.mktemp("group"))]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return {(rank, processes): difference for rank, processes, difference in json.loads(run.stdout)}


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("rank", range(4))
def test_loss_and_gradients_are_those_of_one_process_on_all_rows(differences, rank, processes):
    assert differences[rank, processes] < 1e-6


def test_without_a_process_group_rows_stay_as_they_are():
    rows = Rows(torch.zeros(2, 3))
    assert gathered(rows) is rows
