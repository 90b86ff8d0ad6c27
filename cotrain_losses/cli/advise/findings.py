"""Everything that is compared between the target and one source: units, order of dimensions, conventions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .conventions import CHECKS, rotations, wrapped
from .lags import lags
from .spread import Spread, spread
from .statistics import Summary
from .swaps import swapped
from .units import units
from .views import Finding, View, listed, view


class Compared(NamedTuple):
    """The actions or states of one source beside the target's."""

    source: View
    target: View
    apart: Spread
    findings: list[Finding]


def views(summary: Summary, name: str) -> dict[str, View]:
    """The actions and, where there are any, the states of a dataset."""
    found = {what: view(summary, what, name) for what in ("action", "state")}
    return {what: each for what, each in found.items() if each is not None}


def compared(sources: Sequence[dict[str, View]], target: dict[str, View]) -> list[Compared]:
    """Each source's actions and states against the target's, where the widths are equal."""
    pairs = [
        (source[what], own)
        for source in sources
        for what, own in target.items()
        if what in source and source[what].width == own.width
    ]
    tests = sum(own.width for _, own in pairs) + len(pairs)
    found = [_pair(source, own, spread(source.episodes, own.episodes, tests)) for source, own in pairs]
    late = [(source["action"].name, finding) for source in sources for finding in lags(source, target)]
    for name, finding in late:
        next(each for each in found if each.source.name == name).findings.append(finding)
    return found


def _pair(source: View, target: View, apart: Spread) -> Compared:
    findings = [finding for check in CHECKS for finding in check(source, target, apart)]
    taken = {name for finding in findings if finding.kind in ("gripper", "padding") for name in finding.dimensions}
    excluded = wrapped(source) | wrapped(target) | rotations(source, target) | np.isin(source.names, list(taken))
    if not any(finding.kind == "relative actions" for finding in findings):
        findings = units(source, target, apart, excluded) + findings
        ordered = np.flatnonzero(source.moves & target.moves & ~excluded)
        findings += [_swap(source, target, pair) for pair in swapped(source.episodes, target.episodes, ordered)]
    return Compared(source, target, apart, findings)


def _swap(source: View, target: View, pair: tuple[int, int]) -> Finding:
    first, second = (source.names[k] for k in pair)
    here, there = (
        listed(f"{side.names[k]} {side.episodes.mean[:, k].mean():.3g}" for k in pair) for side in (source, target)
    )
    return Finding(
        "swapped",
        source.what,
        source.name,
        (first, second),
        0.9,
        f"Check whether {first} and {second} of the {source.what}s of {source.name} are exchanged.",
        f"Each looks like the other one in the target: means {here} in {source.name}, {there} in the target. "
        "Exchanged, they differ no more than the target's episodes do.",
    )
