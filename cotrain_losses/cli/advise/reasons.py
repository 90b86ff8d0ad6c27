"""From numbers to sentences: what to do, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

_UNITS = {180 / math.pi: "degrees against radians", 1e3: "millimetres against metres", 1e2: "centimetres or per cent"}


def reasons(report: dict[str, Any]) -> list[dict[str, str]]:
    """Advice as {"do", "because"}, the most urgent first."""
    parts = (_units, _constant, _far, _ratio, _batches, _passes, _weights)
    return [{"do": do, "because": because} for part in parts for do, because in part(report)]


def _units(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for what in ("action", "state"):
        rows = [r for r in report[f"{what}_shift"] if r["scale"] not in (None, 0.0) and not 1 / 3 < r["scale"] < 3]
        for source in dict.fromkeys(r["source"] for r in rows):
            own = [r for r in rows if r["source"] == source]
            scales = ", ".join(f"{r['name']} x{r['scale']:.3g}" for r in own[:6])
            unit = _unit([r["scale"] for r in own])
            normalised = _normalised([r for r in report[f"{what}_shift"] if r["source"] == source])
            hint = f" This looks like {unit}." if unit else (f" {normalised}" if normalised else "")
            yield (
                f"Bring the {what}s of {source} to the target's units and normalisation before anything else.",
                f"{len(own)} of its dimensions spread 3 times more or less than the target's: {scales}.{hint}",
            )


def _unit(scales: list[float]) -> str | None:
    middle = sorted(max(s, 1 / s) for s in scales)[len(scales) // 2]
    return next((name for factor, name in _UNITS.items() if 0.6 < middle / factor < 1.6), None)


def _normalised(rows: list[dict[str, Any]]) -> str | None:
    for side, other in (("target", "source"), ("source", "target")):
        bounded = all(r[f"{side}_low"] >= -1.001 and r[f"{side}_high"] <= 1.001 for r in rows)
        if bounded and any(r[f"{other}_high"] > 2 or r[f"{other}_low"] < -2 for r in rows):
            return f"The {side} lies in [-1, 1] and the {other} does not: one of them looks normalised already."
    return None


def _constant(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    rows = [r for r in report["action_shift"] if (r["target_std"] == 0) != (r["source_std"] == 0)]
    if rows:
        names = ", ".join(f"{r['name']} ({'target' if r['target_std'] == 0 else r['source']})" for r in rows[:6])
        yield "Check the action dimensions that never move in one domain.", f"Constant: {names}."


def _far(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    rows = [r for r in report["action_shift"] if r["shift"] is not None and abs(r["shift"]) > 1]
    if rows:
        worst = sorted(rows, key=lambda r: -abs(r["shift"]))[:4]
        listed = ", ".join(f"{r['name']} of {r['source']} {r['shift']:+.1f}" for r in worst)
        yield (
            "Normalise with pooled statistics, or per domain where the shift is a matter of units, and use the same at "
            "deployment; search ratios above the range too.",
            f"The means of {len(rows)} action dimensions lie more than one deviation apart ({listed}); the guideline "
            "moves both ends up when the domains are far apart.",
        )


def _ratio(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    ratio, target = report["ratio"], report["datasets"][0]["frames"]
    source = sum(d["frames"] for d in report["datasets"][1:])
    if target >= source:
        yield "Start at a ratio of 0.5.", f"The target is the larger side ({target} against {source} frames)."
        return
    weight = math.sqrt(source / target)
    yield (
        f"Search the ratio between {ratio['lower']:.3g} and {ratio['upper']:.3g}.",
        f"{target} target and {source} source frames: {ratio['lower']:.3g} counts every frame equally, and at "
        f"{ratio['crossing']:.3g} a target frame weighs {weight:.1f} source frames (Lei et al. 2026).",
    )


def _batches(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    enough, size = report["settings"]["enough"], report["settings"]["batch_size"]
    for worst in [b for b in report["batches"] if b["too_few_independent"] > 0.05][:1]:
        larger = f" or batches of {math.ceil(enough / worst['ratio'])}" if worst["ratio"] > 0 else ""
        yield (
            f"Draw with MixedBatchSampler, and below a ratio of {enough / size:.3g} with share=0.5 and ratio_weights"
            f"{larger}.",
            f"At ratio {worst['ratio']:.3g}, {worst['too_few_independent']:.0%} of independently drawn batches of "
            f"{size} hold fewer than {enough} target rows, and {worst['none_independent']:.0%} none.",
        )


def _passes(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for first in [b for b in report["batches"] if b["target_passes"] > 20][:1]:
        passes = f"one pass of the source passes the target {first['target_passes']:.0f} times."
        do = "Judge checkpoints by held-out target episodes, not by training loss."
        yield do, f"At ratio {first['ratio']:.3g} {passes}"


def _weights(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    ratio = report["density_ratio"]
    if ratio is None:
        yield "Collect more target frames before weighing by density ratios.", "Fewer than 10 were sampled."
        return
    share, do = ratio["ess_share"], "Density-ratio weights will change little."
    if share < 0.1:
        do = "Do not weigh source samples by density ratios; mix and align instead."
    elif share <= 0.8:
        do = "Source samples can be weighed by a density ratio: flatten or clip it (RuLSIF, flatten=0.5)."
    left = f"Weights by density ratio on {ratio['on']} leave {share:.0%} of the source's sample size"
    yield do, f"{left}; a linear classifier recognises the domain {ratio['domain_accuracy']:.0%} of the time."
