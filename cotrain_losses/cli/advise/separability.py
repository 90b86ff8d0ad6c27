"""Do the domains overlap at all?  Without overlap nothing can be weighed, whatever an effective sample size says.

    accuracy     of a linear classifier on frames of episodes it was not fitted on, both domains counting equally
    ratio mean   E_source[r], which is 1 for a density ratio and falls towards 0 where nothing of the source is near
    alone        dimensions that tell the domains apart by themselves: (1 + KS) / 2 of their frames, and means farther
                 apart than episodes' spread; constants that differ are among them

An effective sample size is no guard: weights that are all nearly zero are nearly equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...datasets.fields import Array
from ...importance import DensityRatio, LogisticRatio, effective_sample_size, normalised_weights
from .findings import Compared
from .statistics import Summary, mixed

APART, ALONE, FEWEST = 0.97, 0.99, 3
"""accuracies that count as apart, of all dimensions and of one, and the episodes that holding out needs"""


def density_ratio(sources: Sequence[Summary], target: Summary) -> dict[str, Any] | None:
    """How many source samples are left when each counts as likely as in the target, and whether that means much."""
    widths = {None if s.sample_state is None else s.sample_state.shape[1] for s in (target, *sources)}
    keys = ["sample_action", *(["sample_state"] if len(widths) == 1 and None not in widths else [])]
    source_rows = np.concatenate([mixed(sources, key) for key in keys], 1).astype(np.float64)
    target_rows = np.concatenate([getattr(target, key) for key in keys], 1).astype(np.float64)
    if min(len(source_rows), len(target_rows)) < 10:
        return None
    ratio = LogisticRatio(penalties=(1e-3, 1e-2, 1e-1)).fit(torch.tensor(source_rows), torch.tensor(target_rows))
    at_source, n = ratio.log(torch.tensor(source_rows)), len(source_rows)
    ess = float(effective_sample_size(normalised_weights(at_source)))
    groups = mixed(sources, "sample_episode"), target.sample_episode
    return {
        "on": "actions and states" if len(keys) == 2 else "actions",
        "samples": n,
        "ess": ess,
        "ess_share": ess / n,
        "mean": float(at_source.exp().mean()),
        "domain_accuracy": _accuracy(ratio, source_rows, target_rows),
        "held_out_accuracy": held_out(source_rows, target_rows, *groups),
    }


def held_out(source: Array, target: Array, source_episode: Array, target_episode: Array) -> float | None:
    """Accuracy on episodes that the classifier has not seen; None below FEWEST target or source episodes."""
    folds = min(5, *(len(np.unique(episode)) for episode in (source_episode, target_episode)))
    if folds < FEWEST:
        return None
    of_source, of_target = (np.unique(e, return_inverse=True)[1] % folds for e in (source_episode, target_episode))
    scores = []
    for fold in range(folds):
        parts = [torch.tensor(x[of != fold]) for x, of in ((source, of_source), (target, of_target))]
        if min(map(len, parts)) >= 2:
            ratio = LogisticRatio(penalties=(1e-2,)).fit(*parts)
            scores.append(_accuracy(ratio, source[of_source == fold], target[of_target == fold]))
    return float(np.mean(scores)) if scores else None


def alone(compared: Compared) -> list[dict[str, Any]]:
    """The dimensions that tell one source from the target by themselves, the clearest first."""
    source, target, shift = compared.source, compared.target, compared.apart.shift
    rows = []
    for k in np.flatnonzero(shift.certain):
        accuracy = (1 + _kolmogorov_smirnov(source.sample[:, k], target.sample[:, k])) / 2
        if accuracy >= ALONE:
            row = {"what": source.what, "source": source.name, "name": source.names[k], "accuracy": float(accuracy)}
            row["constant"] = not (source.moves[k] or target.moves[k])
            rows.append(row)
    return sorted(rows, key=lambda row: -row["accuracy"])


def _kolmogorov_smirnov(first: Array, second: Array) -> float:
    """The largest difference of two samples' distribution functions."""
    every = np.concatenate([first, second])
    shares = (np.searchsorted(np.sort(side), every, side="right") / len(side) for side in (first, second))
    return float(np.abs(next(shares) - next(shares)).max())


def _accuracy(ratio: DensityRatio, source: Array, target: Array) -> float:
    """Balanced, of the classifier whose odds the ratio is."""
    right = [(ratio.log(torch.tensor(target)) > 0).double(), (ratio.log(torch.tensor(source)) < 0).double()]
    return float(sum(side.mean() for side in right) / 2)
