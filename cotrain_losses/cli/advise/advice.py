"""Advice before training: what follows from the datasets alone.

The answer is a plain dict of numbers, lists and text, so that it can be printed, plotted, or written as JSON:

    datasets       episodes, frames, ranges              ratio           natural, search range, crossing
    action_shift   per dimension, target and sources     contribution    of the target over noise, per ratio
    overlap        of noised actions over noise          density_ratio   whether source samples can be weighed
    alone          dimensions that tell domains apart    findings        units, order of dimensions, conventions
    uncovered      where a source is and the target not
    batches        rows per batch, per ratio             recommended     ratio, sampler line and method to start with
    advice         sentences, each with its reason
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..._core.checks import check_share, whole
from ...datasets import Unreadable, named_apart, open_demonstrations
from ...datasets.names import decoded, shown
from ...mixing import crossing_ratio, natural_ratio, ratio_range
from .batches import batches
from .findings import Compared, compared, views
from .noise import over_noise
from .reasons import reasons
from .recommend import actions_at_near_states, recommended, regions
from .separability import alone, density_ratio
from .statistics import SAMPLE, Summary, summarised

MOST = 10**9
"""rows of a batch"""


def _check(source: Sequence[str | Path], target: str | Path, batch_size: int, enough: int, seed: int) -> None:
    if isinstance(source, str | Path) or not isinstance(target, str | Path):
        raise TypeError(f"source is a list of paths and target is one path, got {source!r} and {target!r}.")
    if not source:
        raise ValueError("co-training needs at least one source dataset, got none. Pass --source PATH.")
    if max(whole("batch_size", batch_size, 1), whole("enough", enough, 1)) > MOST:
        raise ValueError(f"batch_size and enough are at most {MOST}, got {batch_size} and {enough}.")
    whole("seed", seed)
    places = [os.path.realpath(path) for path in (target, *source)]
    if twice := [path for path, place in zip((target, *source), places, strict=True) if places.count(place) > 1]:
        raise ValueError(
            f"target and sources are datasets of their own, got {shown(twice[0])} twice. Give each once; parts of one "
            "dataset are told apart by ::domain=NAME or ::episodes=0-49."
        )


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
    _check(source, target, batch_size, enough, seed)
    settings: dict[str, Any] = {"action": action_key, "state": state_key, "partial": partial}
    opened = named_apart([open_demonstrations(path, **settings) for path in (target, *source)])
    own, *others = (summarised(d, sample=SAMPLE, seed=seed + k) for k, d in enumerate(opened))
    _check_widths(others, own)
    frames = {"source": sum(other.frames for other in others), "target": own.frames}
    lower, upper = ratio_range(**frames)
    natural, crossing = natural_ratio(**frames), crossing_ratio(**frames)
    default = (float(f"{r:.3g}") for r in (lower, math.sqrt(lower * upper), upper, crossing, 0.5))
    candidates = sorted({check_share("ratio", ratio) for ratio in ratios or default})
    sides = [views(summary, shown(summary.demonstrations.name)) for summary in (own, *others)]
    pairs = compared(sides[1:], sides[0])
    report: dict[str, Any] = {
        "settings": {"batch_size": batch_size, "enough": enough, "seed": seed, "sample": SAMPLE},
        "datasets": [_described(own, "target"), *(_described(other, "source") for other in others)],
        "ratio": {"natural": natural, "lower": lower, "upper": upper, "crossing": crossing},
        "action_shift": _shifts(pairs, "action"),
        "state_shift": _shifts(pairs, "state"),
        "findings": [finding.as_dict() for pair in pairs for finding in pair.findings],
        "alone": [row for pair in pairs for row in alone(pair)],
        **over_noise(others, own, candidates, seed),
        "uncovered": regions(others, own, seed),
        "density_ratio": density_ratio(others, own),
        "actions_at_near_states": actions_at_near_states(others, own, seed),
        "batches": [batches(ratio, batch_size=batch_size, enough=enough, **frames) for ratio in candidates],
    }
    report["recommended"] = recommended(report)
    report["advice"] = reasons(report)
    return report


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
        "path": decoded(summary.demonstrations.path),
        "name": shown(summary.demonstrations.name),
        "notes": list(summary.demonstrations.notes),
        "format": summary.demonstrations.format,
        "episodes": len(lengths),
        "frames": summary.frames,
        "episode_frames": {"min": int(lengths.min()), "median": float(np.median(lengths)), "max": int(lengths.max())},
        "action_width": len(summary.action.mean),
        "state_width": None if summary.state is None else len(summary.state.mean),
    }


def _shifts(pairs: Sequence[Compared], what: str) -> list[dict[str, Any]]:
    """Target against each source, dimension by dimension; sources of another width are left out."""
    return [_shift(pair, k) for pair in pairs if pair.target.what == what for k in range(pair.target.width)]


def _shift(pair: Compared, k: int) -> dict[str, Any]:
    source, target, shift = pair.source, pair.target, pair.apart.shift
    sides = {"target": target.moments, "source": source.moments, "pooled": target.moments.merged(source.moments)}
    row: dict[str, Any] = {"source": source.name, "dimension": k, "name": target.names[k]}
    for side, moments in sides.items():
        row |= {f"{side}_{part}": float(getattr(moments, part)[k]) for part in ("mean", "std", "low", "high")}
    between = float(shift.value[k])
    row |= {"between_episodes": between if math.isfinite(between) else None, "certain": bool(shift.certain[k])}
    return row | _difference(row)


def _difference(row: dict[str, Any]) -> dict[str, Any]:
    """Shift of the mean in pooled within-domain deviations, and the ratio of deviations."""
    deviation = math.sqrt((row["target_std"] ** 2 + row["source_std"] ** 2) / 2)
    step = row["source_mean"] - row["target_mean"]
    scale = None if row["target_std"] == 0 else row["source_std"] / row["target_std"]
    return {"shift": (step / deviation if deviation > 0 else (0.0 if step == 0 else None)), "scale": scale}
