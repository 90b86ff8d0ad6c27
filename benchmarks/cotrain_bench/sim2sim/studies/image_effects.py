"""What the study of transfer in pictures found: arms minus the plain one of their kind of policy, on both sides.

A pair is one task and one draw of which every arm is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from cotrain_losses.cli.report import Table

from .families import adjusted, answers, by_task, contrasts, untested
from .findings import Answer, Claim, Result
from .image_transfer import ARMS, arm_of, arms
from .sides import SIDES


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
    needed = {cell.task: arms(cell.task, cell.gap).keys() for cell, _ in results}
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
    return answers({str(of): differences(results, of) for of in family})


def compared(results: Sequence[Result]) -> Table:
    """Every comparison on both sides, over tasks and on each."""
    tasks = list(dict.fromkeys(task for task, _ in by_pair(results)))
    lines: list[list[object]] = []
    for role, family in {"primary": PRIMARY, "secondary": SECONDARY, "described": DESCRIBED}.items():
        found = {str(of): differences(results, of) for of in family}
        tested = contrasts(found) if role != "described" else {}
        after_holm = adjusted(tested)
        for of, (name, unseen) in zip(family, found.items(), strict=True):
            if unseen:
                ps = [tested[name].p, after_holm[name]] if name in tested else [None, None]
                alone = [untested({task: unseen[task]}) if task in unseen else None for task in tasks]
                lines.append([name, role, untested(unseen), *ps, *alone, untested(differences(results, of, "seen"))])
    return Table(
        ["arm", "role", "unseen", "p, unseen", "p (Holm)", *(f"{task}: unseen" for task in tasks), "seen"],
        lines,
        f"Mean over tasks of the mean over pairs ({_counted(results)}), with its 95 % bootstrap interval over pairs, "
        "stratified by task, too narrow with few. p: sign-flip test of the pairs, two-sided; Holm over the secondary "
        "ones, which are read if the primary one is below .05.",
    )


def success(results: Sequence[Result]) -> Table:
    """What every arm solves of both sides, task by task and over tasks; the pairs that are whole."""
    solved: dict[str, dict[str, list[tuple[float, float]]]] = {name: {} for name in ARMS}
    for (task, _), own in by_pair(results).items():
        for name, sides in own.items():
            solved[name].setdefault(task, []).append(sides)
    tasks = list(dict.fromkeys(task for task, _ in by_pair(results)))
    return by_task(solved, tasks, f"Means over pairs ({_counted(results)}); no interval.")


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
