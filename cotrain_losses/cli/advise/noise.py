"""What noise leaves of the difference between domains, along the flow path a^t = (1 - x) a + x eps.

Actions are in pooled deviations, all under one observation: an upper bound on how much the domains compete.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...importance import EmpiricalMixture, empirical_overlap, log_density
from .statistics import Summary, mixed, pooled, shuffled

QUERIES = 256
TIMES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def over_noise(sources: Sequence[Summary], target: Summary, ratios: Sequence[float], seed: int) -> dict[str, Any]:
    """The target's contribution at each ratio, and the domains' overlap, over the noise.

    Contributions are asked at noised target actions of held-out episodes: at its own sample the target always wins.
    """
    source_actions, target_actions, held_out = _actions(sources, target)
    weighed = ((target_actions, 1), (source_actions, 0))
    sides = [EmpiricalMixture(x, torch.full((len(x),), bool(w)), w) for x, w in weighed]
    generator, overlap = torch.Generator().manual_seed(seed), []
    curves: dict[float, list[float]] = {ratio: [] for ratio in ratios}
    for x in TIMES:
        gap = _log_ratio(_noised(held_out, x, generator), sides, x)
        for ratio in ratios:
            odds = torch.logit(torch.tensor(ratio, dtype=torch.float64))
            curves[ratio].append(float(torch.sigmoid(odds + gap).mean()))
        both = [_noised(side[:QUERIES], x, generator) for side in (target_actions, source_actions)]
        gap = _log_ratio(torch.cat(both), sides, x)
        overlap.append(float(empirical_overlap(gap, torch.zeros_like(gap))))
    shares, noise = [{"ratio": ratio, "share": share} for ratio, share in curves.items()], list(TIMES)
    return {
        "contribution": {"noise": noise, "curves": shares},
        "overlap": {"noise": noise, "bhattacharyya": overlap},
    }


def _log_ratio(queries: Tensor, sides: list[EmpiricalMixture], x: float) -> Tensor:
    """(q,) ln p_target - ln p_source at noised actions."""
    target, source = (log_density(queries, side, alpha=1 - x, sigma=x) for side in sides)
    return target - source


def _actions(sources: Sequence[Summary], target: Summary) -> list[Tensor]:
    """Source, target and held-out target actions in pooled deviations, in random order, sources by their sizes."""
    moments = pooled([target.action, *(source.action for source in sources)])
    scale = np.where(moments.std > 0, moments.std, 1.0)
    held = target.sample_episode % 2 == 1
    one = held.all() or not held.any()  # one episode: the same frames serve both ends
    kept, asked = (shuffled(target.sample_action[one | rows], k) for k, rows in enumerate((~held, held)))
    rows = (mixed(sources, "sample_action"), kept, asked[:QUERIES])
    return [torch.as_tensor((x - moments.mean) / scale) for x in rows]


def _noised(actions: Tensor, x: float, generator: torch.Generator) -> Tensor:
    return (1 - x) * actions + x * torch.randn(actions.shape, generator=generator, dtype=actions.dtype)
