"""What observations and actions are normalised by, when several datasets are mixed.

    target        the target's own numbers: what it is deployed with
    pooled        mean = sum_k r_k m_k,  var = sum_k r_k (s_k^2 + (m_k - mean)^2),  by the ratio r, not by frames
    per-domain    each domain by its own: a source's x is moved so that the target's numbers make its own of it

The checkpoint's processors hold the target's (or pooled) numbers, so that deployment needs nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .settings import Refused

Statistics = dict[str, dict[str, Any]]
ENDS = {
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}


def pooled(statistics: Mapping[str, Statistics], ratio: Mapping[str, float], aggregate: Any) -> Statistics:
    """LeRobot's own aggregate of datasets, whose counts are replaced by their shares."""
    weighed = []
    for name, each in statistics.items():
        count = np.array([max(1, round(1e6 * ratio[name]))])
        weighed.append(
            {key: {k: np.asarray(v) for k, v in stats.items()} | {"count": count} for key, stats in each.items()}
        )
    return dict(aggregate(weighed))


class Moved:
    """x -> a x + b, feature by feature: a source's numbers where the target's normalisation makes its own of them."""

    def __init__(self, source: Statistics, target: Statistics, modes: Mapping[str, str]) -> None:
        self.maps: dict[str, tuple[Tensor, Tensor]] = {}
        for key, mode in modes.items():
            if mode in ENDS and key in source:
                (low, high), (new_low, new_high) = (_ends(key, each[key], mode) for each in (source, target))
                scale = torch.where(high == low, torch.ones_like(high), (new_high - new_low) / (high - low))
                self.maps[key] = scale, new_low - scale * low

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        return sample | {key: sample[key] * a + b for key, (a, b) in self.maps.items() if key in sample}


def _ends(key: str, stats: Mapping[str, Any], mode: str) -> tuple[Tensor, Tensor]:
    names = ENDS[mode]
    if absent := [name for name in names if name not in stats]:
        raise Refused(
            f"--stats per-domain needs {', '.join(absent)} of {key}, got a dataset without. Use --stats target."
        )
    low, high = (torch.as_tensor(np.asarray(stats[name]), dtype=torch.float32) for name in names)
    return low, low + high if mode == "MEAN_STD" else high


def modes_of(features: Mapping[str, Any], mapping: Mapping[Any, Any]) -> dict[str, str]:
    """How each feature that is no image is normalised: its key and the name of the mode."""
    kinds = {key: str(getattr(each.type, "value", each.type)) for key, each in features.items()}
    how = {str(getattr(kind, "value", kind)): str(getattr(mode, "value", mode)) for kind, mode in mapping.items()}
    return {key: how.get(kind, "IDENTITY") for key, kind in kinds.items() if kind != "VISUAL"}
