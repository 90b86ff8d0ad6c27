"""A family of differences between arms, pair by pair on each task: its tests, and how tables say them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TypeAlias

from cotrain_losses.cli.report import Table

from ...paired import Contrast, detectable, holm
from ...stratified import stratified
from .findings import LEVEL, Answer
from .sides import SIDES
from .tables import interval

Pairs: TypeAlias = "dict[str, list[float]]"  # task -> the difference of every pair


def contrasts(family: Mapping[str, Pairs]) -> dict[str, Contrast]:
    """Those of two pairs a task or more, with the p of the sign-flip test and what a paired t would have found."""
    found: dict[str, Contrast] = {}
    for name, pairs in family.items():
        if pairs and min(map(len, pairs.values())) > 1:
            n = sum(map(len, pairs.values()))
            error = (fmean(stdev(values) ** 2 for values in pairs.values()) / n) ** 0.5
            found[name] = Contrast(*stratified(pairs), n, detectable(n, error, LEVEL / len(family)))
    return found


def adjusted(found: Mapping[str, Contrast]) -> dict[str, float]:
    """Holm's p of each."""
    return dict(zip(found, holm([each.p for each in found.values()]), strict=True))


def answers(family: Mapping[str, Pairs]) -> list[Answer]:
    """Whether each difference is above zero, as one family."""
    found = contrasts(family)
    return [Answer(name, 1, found[name], p) for name, p in adjusted(found).items()]


def untested(pairs: Pairs) -> str:
    """A difference and its interval."""
    return interval(stratified(pairs, tested=False))


def by_task(solved: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], tasks: Sequence[str], note: str) -> Table:
    """Means of arm -> task -> success on both sides, pair by pair, on each task and over tasks."""
    lines: list[list[object]] = []
    for name, of_task in solved.items():
        means = {task: [fmean(side) for side in zip(*pairs, strict=True)] for task, pairs in of_task.items() if pairs}
        if means:
            shown = [", ".join(f"{mean:.2f}" for mean in means[task]) if task in means else None for task in tasks]
            lines.append([name, *shown, *(fmean(side) for side in zip(*means.values(), strict=True))])
    return Table(
        ["arm", *(f"{task}: seen, unseen" for task in tasks), *(f"all: {side}" for side in SIDES)], lines, note
    )
