"""Advice before training: what follows from the datasets alone.

The answer is a plain dict of numbers, lists and text, so that it can be printed, plotted, or written as JSON:

    datasets       episodes, frames, ranges              ratio           natural, search range, crossing
    action_shift   per dimension, target and sources     contribution    of the target over noise, per ratio
    overlap        of noised actions over noise          density_ratio   effective sample size of source weights
    batches        rows per batch, per ratio             advice          sentences, each with its reason
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..._core.checks import check_share
from ...datasets import Unreadable, named_apart, open_demonstrations
from ...importance import LogisticRatio, effective_sample_size, normalised_weights
from ...mixing import crossing_ratio, natural_ratio, ratio_range
from .noise import over_noise
from .reasons import reasons
from .statistics import SAMPLE, Summary, mixed, summarised


def advice(
    *,
    source: Sequence[str | Path],
    target: str | Path,
    batch_size: int = 64,
    ratios: Sequence[float] | None = None,
    enough: int = 2,
    action_key: str | None = None,
    state_key: str | None = None,
    partial: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """What the datasets imply for co-training a policy for the target.

    Args:
        source, target: one or more datasets to help, and the dataset of the domain the policy is for; each a path, with
            settings of its own behind it where need be: "merged::domain=real", "sim.hdf5::action=delta".
        batch_size, enough: rows per batch, and the target rows that it needs (most alignment terms need 2).
        ratios: candidate shares of the target; None: the search range, its geometric middle, the crossing and .5.
        action_key, state_key: where the formats' own keys are not used.
        partial: read datasets that are partial, doubled or unsorted nevertheless, with a note.

    Every dataset is read once, in pieces; moments are of all frames, distances and overlaps of 3000 frames each.
    Raises Unreadable, a ValueError that names the dataset and what is wrong with it.
    """
    if not source:
        raise ValueError("co-training needs at least one source dataset, got none. Pass --source PATH.")
    if batch_size < 1 or enough < 1:
        raise ValueError(f"batch_size and enough are at least 1, got {batch_size} and {enough}.")
    settings: dict[str, Any] = {"action": action_key, "state": state_key, "partial": partial}
    opened = named_apart([open_demonstrations(path, **settings) for path in (target, *source)])
    own, *others = (summarised(d, sample=SAMPLE, seed=seed + k) for k, d in enumerate(opened))
    _check_widths(others, own)
    frames = {"source": sum(other.frames for other in others), "target": own.frames}
    lower, upper = ratio_range(**frames)
    natural, crossing = natural_ratio(**frames), crossing_ratio(**frames)
    default = (float(f"{r:.3g}") for r in (lower, math.sqrt(lower * upper), upper, crossing, 0.5))
    candidates = sorted({check_share("ratio", ratio) for ratio in ratios or default})
    report: dict[str, Any] = {
        "settings": {"batch_size": batch_size, "enough": enough, "seed": seed, "sample": SAMPLE},
        "datasets": [_described(own, "target"), *(_described(other, "source") for other in others)],
        "ratio": {"natural": natural, "lower": lower, "upper": upper, "crossing": crossing},
        "action_shift": _shifts("action", others, own),
        "state_shift": _shifts("state", others, own),
        **over_noise(others, own, candidates, seed),
        "density_ratio": _density_ratio(others, own),
        "batches": [batches(ratio, batch_size=batch_size, enough=enough, **frames) for ratio in candidates],
    }
    report["advice"] = reasons(report)
    return report


def batches(ratio: float, *, batch_size: int, enough: int, source: int, target: int) -> dict[str, Any]:
    """Target rows in a batch at a ratio, drawn independently, as a weighted sampler does, and exactly."""
    from scipy.stats import binom  # type: ignore[import-untyped]  # comes with POT

    rows = batch_size * ratio
    exact = 0.0 if rows >= enough else (1.0 if rows <= enough - 1 else 1 - (rows - math.floor(rows)))
    size, share = max((size, share) for size, share in ((target, ratio), (source, 1 - ratio)) if share > 0)
    epoch = size / (batch_size * share)
    return {
        "ratio": ratio,
        "rows": rows,
        "none_independent": float(binom.pmf(0, batch_size, ratio)),
        "too_few_independent": float(binom.cdf(enough - 1, batch_size, ratio)),
        "too_few_exact": exact,
        "batches_per_epoch": math.ceil(epoch),
        "target_passes": epoch * rows / target,
    }


def _check_widths(sources: Sequence[Summary], target: Summary) -> None:
    for source in sources:
        if len(source.action.mean) != len(target.action.mean):
            raise Unreadable(
                f"all datasets have one action space, got {len(target.action.mean)} dimensions in "
                f"{target.demonstrations.path} and {len(source.action.mean)} in {source.demonstrations.path}. "
                "Retarget one to the other first, or choose a common part with --action-key."
            )


def _described(summary: Summary, role: str) -> dict[str, Any]:
    lengths = summary.lengths
    return {
        "role": role,
        "path": str(summary.demonstrations.path),
        "name": summary.demonstrations.name,
        "notes": list(summary.demonstrations.notes),
        "format": summary.demonstrations.format,
        "episodes": len(lengths),
        "frames": summary.frames,
        "episode_frames": {"min": int(lengths.min()), "median": float(np.median(lengths)), "max": int(lengths.max())},
        "action_width": len(summary.action.mean),
        "state_width": None if summary.state is None else len(summary.state.mean),
    }


def _shifts(what: str, sources: Sequence[Summary], target: Summary) -> list[dict[str, Any]]:
    """Target against each source, dimension by dimension; sources of another width are left out."""
    own, rows = getattr(target, what), list[dict[str, Any]]()
    names = getattr(target.demonstrations, f"{what}_names")
    for source in sources:
        other = getattr(source, what)
        if own is None or other is None or len(other.mean) != len(own.mean):
            continue
        sides = {"target": own, "source": other, "pooled": own.merged(other)}
        for k in range(len(own.mean)):
            name = names[k] if k < len(names) else str(k)
            row = {"source": source.demonstrations.name, "dimension": k, "name": name}
            for side, moments in sides.items():
                row |= {f"{side}_{part}": float(getattr(moments, part)[k]) for part in ("mean", "std", "low", "high")}
            rows.append(row | _difference(row))
    return rows


def _difference(row: dict[str, Any]) -> dict[str, Any]:
    """Shift of the mean in pooled within-domain deviations, and the ratio of deviations."""
    deviation = math.sqrt((row["target_std"] ** 2 + row["source_std"] ** 2) / 2)
    step = row["source_mean"] - row["target_mean"]
    scale = None if row["target_std"] == 0 else row["source_std"] / row["target_std"]
    return {"shift": (step / deviation if deviation > 0 else (0.0 if step == 0 else None)), "scale": scale}


def _density_ratio(sources: Sequence[Summary], target: Summary) -> dict[str, Any] | None:
    """How many source samples are left when each counts as likely as it is in the target."""
    widths = {None if s.sample_state is None else s.sample_state.shape[1] for s in (target, *sources)}
    keys = ["sample_action", *(["sample_state"] if len(widths) == 1 and None not in widths else [])]
    x_source = torch.from_numpy(np.concatenate([mixed(sources, key) for key in keys], 1)).double()
    x_target = torch.from_numpy(np.concatenate([getattr(target, key) for key in keys], 1)).double()
    if min(len(x_source), len(x_target)) < 10:
        return None
    ratio = LogisticRatio(penalties=(1e-3, 1e-2, 1e-1)).fit(x_source, x_target)
    ess = float(effective_sample_size(normalised_weights(ratio.log(x_source))))
    correct = ((ratio.log(x_target) > 0).double().mean() + (ratio.log(x_source) < 0).double().mean()) / 2
    on, n = "actions and states" if len(keys) == 2 else "actions", len(x_source)
    return {"on": on, "samples": n, "ess": ess, "ess_share": ess / n, "domain_accuracy": float(correct)}
