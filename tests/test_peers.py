"""`cotrain bench peers`: what is missing is a row, gradients are measured, ratios are to ours."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cotrain_bench.peers import definitions, outcomes
from cotrain_bench.peers.problems import sides

SETTINGS = {"losses": ["balanced"], "sizes": [8], "widths": [3], "repeats": 5, "seed": 0, "device": "cpu"}


def test_a_run_times_what_is_there_and_says_what_is_not(tmp_path):
    from cotrain_bench.peers.study import study

    study(tmp_path, SETTINGS, {"torch peers": None, "pytorch-adapt": None, "OTT-JAX": None})
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    by_peer = {row["peer"]: row for row in rows}
    assert by_peer["ours"]["ratio"] == 1.0 and by_peer["ours"]["gradient_error"] < 1e-3
    assert by_peer["POT autodiff"]["ms"] > 0
    assert by_peer["OTT-JAX"]["status"].startswith("not run")
    assert (tmp_path / "report.html").exists()


def test_what_ran_in_a_process_of_its_own_is_set_against_ours_that_did_too(tmp_path, monkeypatch):
    from cotrain_bench.peers import study

    def timed(peer, ms):
        measured = {"loss": "balanced", "n": 8, "d": 3, "ms": ms, "gradient_error": 0.0}
        return {"peer": peer, "status": "ok", **measured}

    answers = iter([[timed("ours", 1.0), timed("POT", 3.0)], [timed("OTT-JAX", 0.4)], [timed("ours", 0.5)]])
    monkeypatch.setattr(study, "run", lambda python, libraries, settings: next(answers))
    study.study(tmp_path, SETTINGS, {"torch peers": None, "pytorch-adapt": None, "OTT-JAX": "its own python"})
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    ratios = {"ours": 1.0, "POT": 3.0, "pytorch-adapt": None, "OTT-JAX": 0.8, "ours, alone": 1.0}
    assert {row["peer"]: row.get("ratio") for row in rows} == ratios


def test_ours_are_right_in_every_case_where_such_losses_fail(tmp_path, monkeypatch):
    from cotrain_bench.peers import study

    monkeypatch.setattr(study, "SAME", ("ours", "no such library"))
    study.failure_table(tmp_path, 1, {"torch peers": None, "pytorch-adapt": None})
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    tried = [row for row in rows if "case" in row]
    assert len(tried) == 7 * 11 and {row["beside"] for row in tried} == {"definition"}
    assert [row for row in tried if row["status"] != "ok"] == []
    assert [row["peer"] for row in rows if "case" not in row] == ["no such library", "pytorch-adapt"]
    assert "not run" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize("loss", ["balanced", "unbalanced", "divergence", "exact", "mmd", "coral", "energy"])
def test_a_definition_is_its_own_finite_difference(loss, monkeypatch):
    x, y = (side.astype(float) for side in sides(5, 3))
    if loss == "mmd":  # the median bandwidth is a constant: give it one that no step moves
        monkeypatch.setattr(definitions.np, "sort", lambda values: np.full_like(values, 0.7))
    _, slope = definitions.right(loss, x, y[:4], 0.1)
    step = np.zeros_like(x)
    step[1, 2] = 1e-5
    ahead, behind = (definitions.right(loss, x + sign * step, y[:4], 0.1)[0] for sign in (1, -1))
    assert (ahead - behind) / 2e-5 == pytest.approx(slope[1, 2], rel=1e-4, abs=1e-9)


def test_a_wrong_outcome_is_named():
    import torch

    x, y = sides(6, 3)
    case = outcomes.Case(x, y)

    def named(loss, call):
        return outcomes.outcome(call, loss, case)["status"]

    energy = lambda x, y: 2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean()
    assert named("energy", energy) == named(None, energy) == "ok"
    assert named("energy", lambda x, y: energy(x, y) + 1) == "value off"
    assert named("energy", lambda x, y: energy(x.detach(), y) + 0 * x.sum()) == "no gradient"
    assert named("energy", lambda x, y: 2 * energy(x, y) - energy(x, y).detach()) == "gradient off by 100%"
    assert named("energy", lambda x, y: energy(x, y) * float("nan")) == "NaN value"
    assert (
        named("energy", lambda x, y: energy(x, y) + (0 * x).norm(dim=1).sum() + (0 * x).sum().sqrt()) == "NaN gradient"
    )
    assert named(None, lambda x, y: 0 * x.sum()) == "no gradient"
    assert named(None, lambda x, y: x @ y) == "error"


def test_a_device_that_is_not_there_is_a_row_that_says_so(tmp_path, monkeypatch):
    from cotrain_bench.peers.study import study

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    study(tmp_path, {**SETTINGS, "device": "cuda"}, {"torch peers": None, "pytorch-adapt": None, "OTT-JAX": None})
    first = json.loads((tmp_path / "results.json").read_text())["rows"][0]
    assert first["peer"] == "cuda" and "finds no cuda device" in first["status"]
