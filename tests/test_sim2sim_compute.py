"""The row of a cell: on another device it is the CPU's, and a policy that diverges solves nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from cotrain_bench.sim2sim import figures, summary
from cotrain_bench.sim2sim.batches import Budget
from cotrain_bench.sim2sim.cell import Cell
from cotrain_bench.sim2sim.compute import compute
from cotrain_bench.sim2sim.evaluation import Rollouts
from cotrain_bench.sim2sim.policy import flow
from cotrain_bench.sim2sim.studies.films import films
from cotrain_bench.sim2sim.training import Diverged
from cotrain_bench.sim2sim.world import WIDTH


@pytest.fixture(autouse=True)
def _few(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("cotrain_bench.sim2sim.cell.EPISODES", 4)  # of fresh demonstrations


# another device

BOTH = """
import json
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch
from cotrain_bench.sim2sim import cell, evaluation
from cotrain_bench.sim2sim.batches import Budget
from cotrain_bench.sim2sim.compute import compute
from cotrain_bench.sim2sim.image_cell import AUGMENTED
from cotrain_bench.sim2sim.methods import METHODS, Setting, extras
from cotrain_bench.sim2sim.training import train
from tests.own_policies import drawn
from tests.standin import registered
from tests.warping import without_compiling

torch.set_num_threads(1)
without_compiling(pytest.MonkeyPatch())
here, there, cell.EPISODES = "cpu", str(registered()), 4
data, budget = drawn(), Budget(steps=2, batch_size=8)
data = replace(data, state=torch.randn(len(data.is_target), 4))
pictures = replace(data, observations=torch.randint(256, (len(data.is_target), 2, 6 * 16**2 + 4)).half())
paired = {"method": lambda width: METHODS["uot_paired"](Setting(width, 0.25, 2)), "paired": True, "extras": extras}
seen = {"method": METHODS["cotraining"](Setting(0, 0.25, 2)), "policy": AUGMENTED}
for given, how in ((data, paired), (pictures, seen)):
    both = [train(given, budget=budget, seed=0, device=on, **how) for on in (here, there)]
    print(json.dumps([[t.loss for t in both], [str(next(t.policy.parameters()).device) for t in both]]))

def read_alone(trained, data, **_):  # probes take long, on the CPU, and have tests of their own
    sides = evaluation.collected(trained, data)
    z = torch.cat([next(iter(side.layers.values())) for side in (sides.source, sides.target)])
    return {"features": z.std().item()}

evaluation.measures = read_alone
few = dict(gap="camera-40", target_demos=1, source_demos=2, episodes=2, budget=budget)
cell = partial(cell.Cell, method="path_head", coverage="half", unlabelled=1, **few)
rows = [compute(cell(device=on), lambda share: None) for on in (here, there)]
print(json.dumps([{k: v for k, v in row.items() if k != "picture"} for row in rows]))
"""


def test_a_cell_that_is_trained_on_another_device_has_the_row_of_the_cpu():
    """By a stand-in that refuses whatever mixes devices.  Of pairs and of pictures training alone."""
    said = subprocess.run([sys.executable, "-c", BOTH], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr[-2000:]
    *trained, (here, there) = (json.loads(line) for line in said.stdout.splitlines() if line.startswith("["))
    for losses, devices in trained:
        assert devices == ["cpu", "elsewhere:0"] and losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(trained) == 2 and [here["device"], there["device"]] == devices and here.keys() == there.keys()
    assert here["outcomes"] == there["outcomes"]
    for name, close in {"loss": 1e-4, "path_error": 1e-3, "features": 1e-3, "unseen_features": 1e-3}.items():
        assert here[name] == pytest.approx(there[name], rel=close), name


# divergence


def diverging(spaces):
    policy = flow(spaces)
    policy.learning_rate = 1e30
    return policy


def test_a_policy_that_diverges_solves_nothing_and_its_row_says_why():
    few = {"coverage": "half", "target_demos": 1, "source_demos": 2, "episodes": 4}
    cell = Cell("cfg", policy=f"{__name__}:diverging", scales=(0.0,), **few)
    row = compute(cell, lambda share: None)
    assert row["diverged"].startswith("cfg stopped at step ") and row["outcomes"] == [0] * 4
    assert (row["success"], row["seen"], row["unseen"], row["low"]) == (0, 0, 0, 0) and row["high"] < 0.5
    assert row["scales"] == {"0.0": 0.0} and row["scales_by_side"] == {"0.0": {"seen": 0.0, "unseen": 0.0}}
    kept = compute(replace(cell, policy="flow", budget=Budget(steps=2)), lambda share: None)
    measured = ("loss", "picture", "diverged")
    assert {k for k in kept if k not in measured} == {k for k in row if k not in measured}
    assert films([(cell, row)]) == []


def test_a_guidance_scale_at_which_commands_are_not_finite_costs_no_other(monkeypatch):
    def rolled(policy, here, seeds, **_):
        policy(torch.zeros(1, 2, WIDTH))
        found.append(len(found))
        if len(found) == 2:
            raise Diverged("a policy returns finite commands")
        return Rollouts([True] * 2, [1] * 2, [np.zeros((2, 2, 3))], [np.zeros(3)], [np.zeros((1, 4))])

    found: list[int] = []
    monkeypatch.setattr("cotrain_bench.sim2sim.compute.roll_out", rolled)
    few = {"target_demos": 1, "source_demos": 2, "episodes": 2, "budget": Budget(steps=2)}
    row = compute(Cell("cfg", scales=(9.0, 1.0), **few), lambda share: None)
    assert row["success"] == 1.0 and row["scales"] == {"9.0": 0.0, "1.0": 1.0} and "diverged" not in row


def test_a_comparison_counts_a_policy_that_diverged_and_says_so(tmp_path):
    row = {"successes": 0, "episodes": 2, "success": 0.0, "low": 0.0, "high": 0.7, "ratio": 0.1, "train_cpu_s": 1.0}
    rows = [row | {"method": name, "evaluation_cpu_s": 0.0, "diverged": "it"} for name in ("real_only", "cotraining")]
    assert summary.headline(rows).endswith(" Diverged, which counts as 0: target only, co-training.")
    assert summary.headline(rows[1:]).endswith("0% [0%, 70%]. Diverged, which counts as 0: co-training.")
    assert [line[2] for line in summary.success_table(rows).rows] == ["0 / 2, diverged"] * 2
    assert [path.name for _, path in figures.write_figures(tmp_path, rows, Cell())] == ["success.png"]
