"""What the study of transfer in pictures found: arms minus the plain one of their kind of policy, on both sides.

A pair is one task and one draw of which every arm is there.  A policy whose training diverged solves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import fmean, stdev
from typing import NamedTuple

from cotrain_losses.cli.report import Table

from ...paired import Contrast, detectable, holm
from ...stratified import stratified
from .findings import LEVEL, Answer, Claim, Result
from .image_transfer import ARMS, arm_of, arms
from .sides import SIDES
from .tables import interval


class Compared(NamedTuple):
    """An arm, and the plain one that it is compared with."""

    arm: str
    plain: str = "plain"

    def __str__(self) -> str:
        return f"{self.arm} minus {self.plain}"


PRIMARY = (Compared("MMD and path head"),)
SECONDARY = (
    Compared("colours and crops"),
    *(Compared(f"{name}, frozen", "plain, frozen") for name in ("MMD", "path head", "MMD and path head")),
)
DESCRIBED = (Compared("cameras randomised"),)


def by_pair(results: Sequence[Result]) -> dict[tuple[str, int], dict[str, tuple[float, float]]]:
    """(task, draw) -> arm -> success on both sides, of every pair that is whole."""
    pairs: dict[tuple[str, int], dict[str, tuple[float, float]]] = {}
    for cell, row in results:
        pairs.setdefault((cell.task, cell.seed), {})[arm_of(cell)] = row["seen"], row["unseen"]
    needed = {cell.task: arms(cell.gap).keys() for cell, _ in results}
    return {pair: of_arm for pair, of_arm in pairs.items() if of_arm.keys() == needed[pair[0]]}


def differences(results: Sequence[Result], of: Compared, side: str = "unseen") -> dict[str, list[float]]:
    """task -> an arm minus its plain one on a side, of every whole pair that has it."""
    found: dict[str, list[float]] = {}
    for (task, _), own in by_pair(results).items():
        if of.arm in own:
            found.setdefault(task, []).append(own[of.arm][SIDES.index(side)] - own[of.plain][SIDES.index(side)])
    return found


def better(results: Sequence[Result], family: Sequence[Compared]) -> list[Answer]:
    """Whether arms are better than their plain ones on the unseen side, as one family."""
    found = _contrasts(results, family)
    ps = holm([each.p for each in found.values()])
    return [Answer(str(of), 1, each, p) for (of, each), p in zip(found.items(), ps, strict=True)]


def _contrasts(results: Sequence[Result], family: Sequence[Compared]) -> dict[Compared, Contrast]:
    """Those of a family that have two pairs a task, with the p of the sign-flip test and what a t test would find."""
    found: dict[Compared, Contrast] = {}
    for of in family:
        pairs = differences(results, of)
        if pairs and min(map(len, pairs.values())) > 1:
            n = sum(map(len, pairs.values()))
            error = (fmean(stdev(values) ** 2 for values in pairs.values()) / n) ** 0.5
            found[of] = Contrast(*stratified(pairs), n, detectable(n, error, LEVEL / len(family)))
    return found


def compared(results: Sequence[Result]) -> Table:
    """Every comparison on both sides, over tasks and on each."""
    tasks = list(dict.fromkeys(task for task, _ in by_pair(results)))
    lines: list[list[object]] = []
    for role, family in {"primary": PRIMARY, "secondary": SECONDARY, "described": DESCRIBED}.items():
        tested = _contrasts(results, family) if role != "described" else {}
        adjusted = dict(zip(tested, holm([each.p for each in tested.values()]), strict=True))
        for of in family:
            if unseen := differences(results, of):
                ps = [tested[of].p, adjusted[of]] if of in tested else [None, None]
                alone = [_untested({task: unseen[task]}) if task in unseen else None for task in tasks]
                seen = _untested(differences(results, of, "seen"))
                lines.append([str(of), role, _untested(unseen), *ps, *alone, seen])
    return Table(
        ["arm", "role", "unseen", "p, unseen", "p (Holm)", *(f"{task}: unseen" for task in tasks), "seen"],
        lines,
        f"Mean over tasks of the mean over pairs ({_counted(results)}), with its 95 % bootstrap interval over pairs, "
        "stratified by task, too narrow with few. p: sign-flip test of the pairs, two-sided; Holm over the secondary "
        "ones, which are read if the primary one is below .05.",
    )


def success(results: Sequence[Result]) -> Table:
    """What every arm solves of both sides, task by task and over tasks; the pairs that are whole."""
    pairs = by_pair(results)
    tasks = list(dict.fromkeys(task for task, _ in pairs))
    lines: list[list[object]] = []
    for name in ARMS:
        own = {task: [of[name] for (where, _), of in pairs.items() if where == task and name in of] for task in tasks}
        means = {task: [fmean(side) for side in zip(*some, strict=True)] for task, some in own.items() if some}
        if means:
            shown = [", ".join(f"{mean:.2f}" for mean in means[task]) if task in means else None for task in tasks]
            lines.append([name, *shown, *(fmean(side) for side in zip(*means.values(), strict=True))])
    columns = ["arm", *(f"{task}: seen, unseen" for task in tasks), *(f"all: {side}" for side in SIDES)]
    return Table(columns, lines, f"Means over pairs ({_counted(results)}); no interval.")


def _untested(differences: dict[str, list[float]]) -> str:
    """A difference and its interval."""
    return interval(stratified(differences, tested=False))


def _counted(results: Sequence[Result]) -> str:
    """How many pairs a task has."""
    tasks = [task for task, _ in by_pair(results)]
    return ", ".join(f"{task} {tasks.count(task)}" for task in dict.fromkeys(tasks)) or "none is whole"


CLAIMS = (
    Claim(
        "Where policies see, MMD and path head with frames are better than plain where the target has none.",
        "-",
        partial(better, family=PRIMARY),
    ),
    Claim(
        "There changed pictures, and each term on frozen features, are better than plain.",
        "-",
        partial(better, family=SECONDARY),
    ),
)
