"""Results of a study that was never run."""

from __future__ import annotations

import numpy as np
from cotrain_bench.sim2sim.cell import Cell
from cotrain_bench.sim2sim.studies.catalogue import STUDIES
from cotrain_bench.sim2sim.studies.study import cells_of


def invented(study: str, success, preset: str = "standard"):
    """The cells of a study with rows as a rule success(cell) -> rate has them."""
    draws, results = np.random.default_rng(0), []
    for cell in cells_of(study, STUDIES[study].only or preset):
        rate = float(np.clip(success(cell), 0, 1))
        row = {**{name: v for name, v in vars(cell).items() if name not in ("budget", "scales")}, "loss": 0.1}
        row |= {"success": rate, "successes": round(100 * rate), "episodes": 100, "low": rate, "high": rate}
        row |= {"log_wasserstein": float(draws.normal()), "probe_accuracy": 0.9, "regime": "structured"}
        row |= dict.fromkeys(("train_cpu_s", "evaluation_cpu_s", "measures_cpu_s"), 1.0)
        row |= {"scales": {str(s): rate - abs(s - 0.5) / 5 for s in cell.scales}} if cell.scales else {}
        if cell.coverage:
            row |= {"seen": rate, "unseen": rate / 2, "unseen_log_wasserstein": float(draws.normal())}
            row |= {"unseen_probe_accuracy": 0.9, "unseen_regime": "structured", "path_error": 2 - rate}
            row |= {"scales_by_side": {str(s): {"seen": rate, "unseen": rate / 3} for s in cell.scales}}
        cloud = draws.normal(size=(20, 3))
        results.append((cell, row | {"picture": {"features": {"source": cloud, "target": cloud + 1}}}))
    return results


def noise(cell: Cell) -> float:
    return 0.02 * np.sin(97 * cell.seed + 13 * len(cell.gap) + 7 * len(cell.method))
