"""Advice before training: what the datasets alone say about co-training.

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
from torch import Tensor

from ..._core.checks import check_share
from ...datasets import Unreadable, open_demonstrations
from ...importance import EmpiricalMixture, LogisticRatio, effective_sample_size, empirical_overlap, log_density
from ...importance import normalised_weights as mean_one
from ...mixing import crossing_ratio, natural_ratio, ratio_range
from .reasons import reasons
from .statistics import Moments, Summary, pooled, summarised

SAMPLE = 3000
QUERIES = 256
TIMES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def advice(
    target: str | Path,
    source: Sequence[str | Path],
    *,
    batch_size: int = 64,
    ratios: Sequence[float] | None = None,
    enough: int = 2,
    action_key: str | None = None,
    state_key: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """What the datasets say about co-training a policy for the target.

    Args:
        target: the dataset of the domain the policy is for.
        source: one or more datasets to help.
        batch_size: rows per batch of the training to come.
        ratios: candidate shares of the target; None: the search range, its geometric middle, the crossing and .5.
        enough: target rows a batch needs (most alignment terms need 2).
        action_key, state_key: where the formats' own keys are not used.

    Every dataset is read once, in pieces; moments are of all frames, distances and overlaps of 3000 frames each.

    Raises:
        Unreadable: a ValueError that names the dataset and what is wrong with it.
    """
    if not source:
        raise ValueError("co-training needs at least one source dataset, got none. Pass --source PATH.")
    if batch_size < 1 or enough < 1:
        raise ValueError(f"batch_size and enough are at least 1, got {batch_size} and {enough}.")
    opened = [open_demonstrations(path, action=action_key, state=state_key) for path in (target, *source)]
    own, *others = (summarised(d, sample=SAMPLE, seed=seed + k) for k, d in enumerate(opened))
    _check_widths(own, others)
    n, m = own.frames, sum(other.frames for other in others)
    lower, upper = ratio_range(n, m)
    candidates = sorted({check_share("ratio", float(r)) for r in ratios} if ratios else _candidates(n, m))
    found: dict[str, Any] = {
        "settings": {"batch_size": batch_size, "enough": enough, "seed": seed, "sample": SAMPLE},
        "datasets": [_described(own, "target"), *(_described(other, "source") for other in others)],
        "ratio": {"natural": natural_ratio(n, m), "lower": lower, "upper": upper, "crossing": crossing_ratio(n, m)},
        "action_shift": _shifts("action", own, others),
        "state_shift": _shifts("state", own, others),
        **_over_noise(own, others, candidates, seed),
        "density_ratio": _density_ratio(own, others),
        "batches": [_batch(ratio, batch_size, enough, n, m) for ratio in candidates],
    }
    found["advice"] = reasons(found)
    return found


def _candidates(n: int, m: int) -> set[float]:
    lower, upper = ratio_range(n, m)
    return {float(f"{r:.3g}") for r in (lower, math.sqrt(lower * upper), upper, crossing_ratio(n, m), 0.5)}


def _check_widths(own: Summary, others: list[Summary]) -> None:
    for other in others:
        if len(other.action.mean) != len(own.action.mean):
            raise Unreadable(
                f"all datasets have one action space, got {len(own.action.mean)} dimensions in "
                f"{own.demonstrations.path} and {len(other.action.mean)} in {other.demonstrations.path}. "
                "Retarget one to the other first, or choose a common part with --action-key."
            )


def _described(summary: Summary, role: str) -> dict[str, Any]:
    lengths = summary.lengths
    return {
        "role": role,
        "path": str(summary.demonstrations.path),
        "name": summary.demonstrations.path.stem,
        "format": summary.demonstrations.format,
        "episodes": len(lengths),
        "frames": summary.frames,
        "episode_frames": {"min": int(lengths.min()), "median": float(np.median(lengths)), "max": int(lengths.max())},
        "action_width": len(summary.action.mean),
        "state_width": None if summary.state is None else len(summary.state.mean),
    }


def _shifts(what: str, own: Summary, others: list[Summary]) -> list[dict[str, Any]]:
    """Target against each source, dimension by dimension; sources of another width are left out."""
    target: Moments | None = getattr(own, what)
    rows: list[dict[str, Any]] = []
    for other in others:
        source: Moments | None = getattr(other, what)
        if target is None or source is None or len(source.mean) != len(target.mean):
            continue
        together = pooled([target, source])
        names = getattr(own.demonstrations, f"{what}_names")
        for k in range(len(target.mean)):
            name = names[k] if k < len(names) else str(k)
            row = {"source": other.demonstrations.path.stem, "dimension": k, "name": name}
            for side, moments in (("target", target), ("source", source), ("pooled", together)):
                row |= {f"{side}_{part}": float(getattr(moments, part)[k]) for part in ("mean", "std", "low", "high")}
            rows.append(row | _difference(row))
    return rows


def _difference(row: dict[str, Any]) -> dict[str, Any]:
    """Shift of the mean in pooled within-domain deviations, and the ratio of spreads."""
    spread = math.sqrt((row["target_std"] ** 2 + row["source_std"] ** 2) / 2)
    step = row["source_mean"] - row["target_mean"]
    scale = None if row["target_std"] == 0 else row["source_std"] / row["target_std"]
    return {"shift": (step / spread if spread > 0 else (0.0 if step == 0 else None)), "scale": scale}


def _over_noise(own: Summary, others: list[Summary], ratios: list[float], seed: int) -> dict[str, Any]:
    """Contribution and overlap along the flow path a^t = (1 - x) a + x eps, actions in pooled deviations.

    Contributions are asked at noised target actions of held-out episodes: at its own sample the target always wins.
    """
    target, source, held_out = _actions(own, others)
    sides = [EmpiricalMixture(x, torch.full((len(x),), bool(w)), w) for x, w in ((target, 1.0), (source, 0.0))]
    generator = torch.Generator().manual_seed(seed)
    curves: dict[float, list[float]] = {ratio: [] for ratio in ratios}
    overlap = []
    for x in TIMES:
        gap = _gap(_noised(held_out, x, generator), sides, x)
        for ratio in ratios:
            odds = math.log(ratio) - math.log1p(-ratio) if 0 < ratio < 1 else (math.inf if ratio else -math.inf)
            curves[ratio].append(float(torch.sigmoid(odds + gap).mean()))
        both = [_noised(side[:QUERIES], x, generator) for side in (target, source)]
        gap = _gap(torch.cat(both), sides, x)
        overlap.append(float(empirical_overlap(gap, torch.zeros_like(gap))))
    shown = [{"ratio": ratio, "share": share} for ratio, share in curves.items()]
    return {
        "contribution": {"noise": list(TIMES), "curves": shown},
        "overlap": {"noise": list(TIMES), "bhattacharyya": overlap},
    }


def _gap(queries: Tensor, sides: list[EmpiricalMixture], x: float) -> Tensor:
    """(q,) ln p_target - ln p_source at noised actions."""
    target, source = (log_density(queries, side, alpha=1 - x, sigma=x) for side in sides)
    return target - source


def _actions(own: Summary, others: list[Summary]) -> tuple[Tensor, Tensor, Tensor]:
    """Target, source and held-out target actions in pooled deviations, in random order, sources by their sizes."""
    moments = pooled([own.action, *(other.action for other in others)])
    scale = np.where(moments.std > 0, moments.std, 1.0)
    held = own.sample_episode % 2 == 1
    held = held if held.any() and not held.all() else np.ones_like(held)
    kept = ~held if not held.all() else held
    held_out = _shuffled(own.sample_action[held], 1)[:QUERIES]
    target, source = _shuffled(own.sample_action[kept], 0), _mixed(others, "sample_action")
    target, source, held_out = ((x - moments.mean) / scale for x in (target, source, held_out))
    return torch.as_tensor(target), torch.as_tensor(source), torch.as_tensor(held_out)


def _mixed(others: list[Summary], what: str) -> np.ndarray[Any, Any]:
    """At most SAMPLE source frames, each source in proportion to its frames."""
    total = sum(other.frames for other in others)
    parts = [getattr(other, what) for other in others]
    counts = [max(1, round(SAMPLE * other.frames / total)) for other in others]
    return _shuffled(np.concatenate([_shuffled(p, 0)[:c] for p, c in zip(parts, counts, strict=True)]), 1)


def _shuffled(rows: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    return rows[np.random.default_rng(seed).permutation(len(rows))]


def _noised(actions: Tensor, x: float, generator: torch.Generator) -> Tensor:
    return (1 - x) * actions + x * torch.randn(actions.shape, generator=generator, dtype=actions.dtype)


def _density_ratio(own: Summary, others: list[Summary]) -> dict[str, Any] | None:
    """How many source samples are left when each counts as likely as it is in the target."""
    widths = {None if s.sample_state is None else s.sample_state.shape[1] for s in (own, *others)}
    keys = ["sample_action", *(["sample_state"] if len(widths) == 1 and None not in widths else [])]
    source = torch.from_numpy(np.concatenate([_mixed(others, key) for key in keys], 1)).double()
    target = torch.from_numpy(np.concatenate([getattr(own, key) for key in keys], 1)).double()
    if min(len(source), len(target)) < 10:
        return None
    ratio = LogisticRatio(penalties=(1e-3, 1e-2, 1e-1)).fit(source, target)
    ess = float(effective_sample_size(mean_one(ratio.log(source))))
    correct = ((ratio.log(target) > 0).double().mean() + (ratio.log(source) < 0).double().mean()) / 2
    on = "actions and states" if len(keys) == 2 else "actions"
    return {"on": on, "samples": len(source), "ess": ess, "ess_share": ess / len(source), "told_apart": float(correct)}


def _batch(ratio: float, batch_size: int, enough: int, n: int, m: int) -> dict[str, Any]:
    """Target rows in a batch drawn at a ratio: independently, as a weighted sampler does, and exactly."""
    rows = batch_size * ratio
    too_few = sum(
        math.comb(batch_size, k) * ratio**k * (1 - ratio) ** (batch_size - k)
        for k in range(min(enough, batch_size + 1))
    )
    exact = 0.0 if rows >= enough else (1.0 if rows <= enough - 1 else 1 - (rows - math.floor(rows)))
    size, share = max((size, share) for size, share in ((n, ratio), (m, 1 - ratio)) if share > 0)
    epoch = size / (batch_size * share)
    return {
        "ratio": ratio,
        "rows": rows,
        "none_independent": (1 - ratio) ** batch_size,
        "too_few_independent": too_few,
        "too_few_exact": exact,
        "batches_per_epoch": math.ceil(epoch),
        "target_passes": epoch * rows / n,
    }
