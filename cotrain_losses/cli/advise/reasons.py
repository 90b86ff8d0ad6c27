"""From numbers to sentences: what to do, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .batches import POOR, smallest_batch
from .recommend import found
from .separability import APART, FEWEST
from .views import listed

Advice = Iterator[tuple[str, str]]


def reasons(report: dict[str, Any]) -> list[dict[str, str]]:
    """Advice as {"do", "because"}, the most urgent first."""
    parts = (_findings, _constant, _apart, _uncovered, _far, _method, _ratio, _batches, _passes, _weights)
    return [{"do": do, "because": because} for part in parts for do, because in part(report)]


def overlaps(report: dict[str, Any]) -> bool | None:
    """Whether the domains overlap; None where too few target episodes were recorded to know."""
    ratio = report["density_ratio"]
    if report["alone"] or (ratio and (ratio["held_out_accuracy"] or 0.0) >= APART):
        return False
    return None if ratio is None or ratio["held_out_accuracy"] is None else True


def _findings(report: dict[str, Any]) -> Advice:
    for finding in report["findings"]:
        yield finding["do"], finding["because"]


def _constant(report: dict[str, Any]) -> Advice:
    padded = {name for finding in report["findings"] if finding["kind"] == "padding" for name in finding["dimensions"]}
    rows = [r for r in report["action_shift"] if (r["target_std"] == 0) != (r["source_std"] == 0)]
    if rows := [row for row in rows if row["name"] not in padded]:
        names = listed(f"{r['name']} ({'target' if r['target_std'] == 0 else r['source']})" for r in rows)
        yield "Check the action dimensions that never move in one domain.", f"Constant: {names}."


def _apart(report: dict[str, Any]) -> Advice:
    rows = report["alone"]
    if rows:
        listing = listed(
            f"{r['what']} {r['name']} of {r['source']} "
            f"({'constant' if r['constant'] else format(r['accuracy'], '.1%')})"
            for r in rows
        )
        yield (
            "Find out why single dimensions tell the domains apart before you align anything: another origin or frame, "
            "a sensor's offset, a constant. Correct it, or leave these dimensions out of the observation.",
            f"Each of these tells the domains apart alone: {listing}. The policy can read the domain from them, so a "
            "domain label adds little. An alignment term would have to erase them.",
        )


def _uncovered(report: dict[str, Any]) -> Advice:
    apart = bool(report["findings"] or report["alone"])
    for region in report["uncovered"] if not apart else ():
        if region["certain"]:
            cut = region["where"]
            where = ""
            if cut is not None and cut["accuracy"] > 0.8:
                side = "above" if cut["above"] else "below"
                where = f", most of it where state {cut['dimension']} is {side} {cut['value']:.3g}"
            yield (
                f"Count success separately where {region['source']} has data and the target has none{where}, or "
                "collect target data there.",
                f"{region['share']:.0%} of its states (most states of {region['episodes']:.0%} of its episodes) are "
                "farther from every target state than 95 % of the target's states are from its other episodes. Equal "
                f"coverage gives 5 %. {_cited(found(['one side', 'both terms']))}",
            )


def _far(report: dict[str, Any]) -> Advice:
    rows = [r for r in report["action_shift"] if r["certain"] and r["shift"] is not None and abs(r["shift"]) > 1]
    if rows:
        worst = sorted(rows, key=lambda r: -abs(r["shift"]))[:4]
        named = ", ".join(f"{r['name']} of {r['source']} {r['shift']:+.1f}" for r in worst)
        yield (
            "Normalise with pooled statistics, also at deployment. Normalise each domain by its own statistics where "
            "units differ. Search ratios above the range too.",
            f"The means of {len(rows)} action dimensions are more than one deviation apart ({named}), more than "
            "episodes of one dataset are. The guideline moves the range up when the domains are far apart.",
        )


def _method(report: dict[str, Any]) -> Advice:
    chosen = report["recommended"]
    method, near = chosen["method"], report["actions_at_near_states"]
    gap = "" if near is None else f"{near['gap']:.1f} times as much between the domains as within the target"
    seen = f" Here actions at near states differ {gap}." if near else ""
    yield (
        f"Start with {method['name']}: {method['code']}.",
        f"{_sentence(method['because'])}{seen} {_cited(method['evidence'])}",
    )
    for step in chosen["next"]:
        yield step["do"], _cited(step["evidence"])


def _ratio(report: dict[str, Any]) -> Advice:
    ratio, target = report["ratio"], report["datasets"][0]["frames"]
    source = sum(d["frames"] for d in report["datasets"][1:])
    if target >= source:
        yield "Start at a ratio of 0.5.", f"The target is the larger side ({target} against {source} frames)."
        return
    start, weight = report["recommended"]["ratio"], math.sqrt(source / target)
    yield (
        f"Start at a ratio of {start['start']:.3g}. Search the ratio between {ratio['lower']:.3g} and "
        f"{ratio['upper']:.3g}.",
        f"There are {target} target and {source} source frames. A ratio of {ratio['lower']:.3g} counts every frame "
        f"equally. At {ratio['crossing']:.3g} a target frame counts as {weight:.1f} source frames (Lei et al. 2026). "
        f"{_cited(start['evidence'])}",
    )


def _batches(report: dict[str, Any]) -> Advice:
    enough, size = report["settings"]["enough"], report["settings"]["batch_size"]
    asked = [b for b in report["batches"] if 0 < b["ratio"] < 1]
    if not asked:
        return
    worst, line = asked[0], report["recommended"]["sampler"]
    poor = worst["too_few_independent"] > POOR
    told = (
        f"At ratio {worst['ratio']:.3g}, {worst['too_few_independent']:.0%} of independently drawn batches of {size} "
        f"hold fewer than {enough} target rows, and {worst['none_independent']:.0%} none"
    )
    if poor:
        told += f". Independent draws need batches of {smallest_batch(worst['ratio'], enough)}"
    if line is None:
        do = f"Take batches of at least {2 * enough}: {enough} rows of each domain do not fit into {size}."
        yield do, f"{told}."
    elif "share" in line:
        do = f"Make the sampler: {line}; weight = sampler.weights(is_target[batch])"
        yield (
            do,
            f"{told}. This line gives every batch {enough} rows of both domains at every ratio from "
            f"{asked[0]['ratio']:.3g} to {asked[-1]['ratio']:.3g}. The weights restore the ratio in the loss.",
        )
    else:
        yield (
            f"Make the sampler: {line}",
            f"{told}. This line gives every batch at least {enough} at every ratio in the table.",
        )


def _passes(report: dict[str, Any]) -> Advice:
    for first in [b for b in report["batches"] if b["target_passes"] > 20][:1]:
        passes = f"every target frame is used {first['target_passes']:.0f} times in one pass of the source."
        do = "Judge checkpoints by held-out target episodes, not by training loss."
        yield do, f"At ratio {first['ratio']:.3g} {passes}"


def _weights(report: dict[str, Any]) -> Advice:
    ratio, overlap = report["density_ratio"], overlaps(report)
    if ratio is None:
        yield "Collect more target frames before weighing by density ratios.", "Fewer than 10 were sampled."
        return
    share, mean = ratio["ess_share"], ratio["mean"]
    held = ratio["held_out_accuracy"]
    told = (
        "" if held is None else f"A linear classifier recognises the domain of unseen episodes {held:.0%} of the time. "
    )
    told += f"The density ratio has mean {mean:.2g} over the source (a true one has 1). Weights on {ratio['on']} leave "
    told += f"{share:.0%} of the source's sample size"
    if overlap is False:
        yield (
            "Do not weigh source samples by density ratios: the domains do not overlap.",
            f"{told}, which says nothing where all weights are nearly zero.",
        )
    elif report["findings"]:
        do = "Repair the data first, then ask again whether source samples can be weighed."
        yield do, f"{told}. These numbers are of the data as they are now."
    elif overlap is None:
        episodes = report["datasets"][0]["episodes"]
        do = f"Do not weigh source samples by density ratios fitted to {episodes} target episode{'s' * (episodes > 1)}."
        yield do, f"{told}. With fewer than {FEWEST} target episodes none can be held out to check this."
    elif share < 0.1 or not 0.5 < mean < 2:
        yield "Do not weigh source samples by density ratios; mix them at a ratio instead.", f"{told}."
    elif share > 0.8:
        yield "Density-ratio weights will change little.", f"{told}."
    else:
        yield "Source samples can be weighed by a density ratio: flatten or clip it (RuLSIF, flatten=0.5).", f"{told}."


def _cited(findings: list[dict[str, str]]) -> str:
    return " ".join(f"{each['says']} [{each['page']}, {each['section']}]" for each in findings)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
