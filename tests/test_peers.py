"""`cotrain bench peers`: what is missing is a row, gradients are measured, ratios are to ours."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cotrain_losses.benchmarks.peers.problems import EPS, converged, plan, sides


def test_the_reference_plan_has_its_marginals_and_its_gradient_is_a_finite_difference():
    x, y = sides(5, 3)
    coupling = plan(x.astype(float), y.astype(float), np.inf)
    np.testing.assert_allclose(coupling.sum(1), 0.2, rtol=1e-7)
    np.testing.assert_allclose(coupling.sum(0), 0.2, rtol=1e-7)

    def objective(x):
        found = plan(x, y.astype(float), np.inf)
        cost = ((x[:, None] - y[None]) ** 2).sum(2)
        return (found * cost).sum() + EPS * (found * np.log(found * 25)).sum()

    step = np.zeros((5, 3))
    step[1, 2] = 1e-5
    slope = (objective(x + step) - objective(x - step)) / 2e-5
    assert slope == pytest.approx(converged("balanced", x, y)[1, 2], rel=1e-5)


def test_a_run_times_what_is_there_and_says_what_is_not(tmp_path):
    from cotrain_losses.benchmarks.peers.study import study

    settings = {"losses": ["balanced"], "sizes": [8], "widths": [3], "repeats": 5, "seed": 0}
    study(tmp_path, settings, {"torch peers": None, "pytorch-adapt": None, "OTT-JAX": None})
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    by_peer = {row["peer"]: row for row in rows}
    assert by_peer["ours"]["ratio"] == 1.0 and by_peer["ours"]["gradient_error"] < 1e-3
    assert by_peer["POT autodiff"]["ms"] > 0
    assert by_peer["OTT-JAX"]["status"].startswith("not run")
    assert (tmp_path / "report.html").exists()
