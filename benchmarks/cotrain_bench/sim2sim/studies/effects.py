"""What the test of the recipe found: ours minus every other arm, over tasks, on each, and where it must do no harm."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import fmean, stdev

from cotrain_losses.cli.report import Table

from ...paired import Contrast, detectable, holm
from ...stratified import stratified
from .claims import HARM, POLICY, minus
from .confirm import ARMS, COMPARED, PRIMARY, SECONDARY, SEEDS, arm_of, differences, draws, whole
from .findings import LEVEL, Answer, Claim, Question, Result, distinct, select
from .plans import GAPS
from .recipe import TASKS
from .sides import SIDES, on_side
from .tables import interval


def success(results: Sequence[Result]) -> Table:
    """What every arm solves of both sides, task by task and over tasks."""
    lines: list[list[object]] = []
    for name in ARMS:
        own = [(cell, row) for cell, row in whole(results) if arm_of(cell) == name]
        by_task = [[fmean(row[side] for _, row in select(own, task=task)) for side in SIDES] for task in TASKS if own]
        shown = [f"{seen:.2f}, {unseen:.2f}" for seen, unseen in by_task]
        lines += [[name, *shown, *(fmean(column) for column in zip(*by_task, strict=True))]] if own else []
    return Table(
        ["arm", *(f"{task}: seen, unseen" for task in TASKS), *(f"all: {side}" for side in SIDES)],
        lines,
        f"Means over {draws(results)} draws a task; no interval.",
    )


def better(results: Sequence[Result], names: Sequence[str]) -> list[Answer]:
    """Whether ours is better than these arms on the unseen side, as one family; nothing below two whole draws."""
    found = _contrasts(results, names)
    ps = holm([each.p for each in found.values()])
    return [Answer(f"ours minus {name}", 1, each, p) for (name, each), p in zip(found.items(), ps, strict=True)]


def _contrasts(results: Sequence[Result], names: Sequence[str]) -> dict[str, Contrast]:
    """Ours minus each of a family of arms, with the p of the sign-flip test and what a paired t would have found."""
    found: dict[str, Contrast] = {}
    for name in names if draws(results) > 1 else ():
        pairs = differences(results, name)
        n = sum(map(len, pairs.values()))
        error = (fmean(stdev(values) ** 2 for values in pairs.values()) / n) ** 0.5
        found[name] = Contrast(*stratified(pairs), n, detectable(n, error, LEVEL / len(names)))
    return found


def compared(results: Sequence[Result]) -> Table:
    """Ours minus every other arm, over all tasks."""
    primary, secondary = (_contrasts(results, names) for names in ((PRIMARY,), SECONDARY))
    adjusted = dict(zip(secondary, holm([each.p for each in secondary.values()]), strict=True))
    lines: list[list[object]] = []
    for name in COMPARED if draws(results) else ():
        unseen, seen = differences(results, name), differences(results, name, "seen")
        role = "primary" if name == PRIMARY else "secondary" if name in SECONDARY else "described"
        ps: list[object] = [None] * 3
        if (tested := (primary | secondary).get(name)) is not None:
            ps = [tested.p, adjusted.get(name), stratified({"draws": _draw_means(unseen)}).p]
        lines.append([name, role, _untested(unseen), *ps, _untested(seen)])
    return Table(
        ["ours minus", "role", "unseen", "p, unseen", "p (Holm)", "p by draws", "seen"],
        lines,
        f"Mean over these {len(TASKS)} tasks of the mean over {draws(results)} of {len(SEEDS)} draws (those that are "
        "whole), with its 95 % bootstrap interval over draws, stratified by task, too narrow with few draws. p: "
        "sign-flip test of the pairs, two-sided; Holm over the secondary ones. By draws: whole draws are flipped.",
    )


def by_task(results: Sequence[Result]) -> Table:
    """Ours minus the other arms on the unseen side: on each task, and over the others."""
    lines: list[list[object]] = []
    every = {name: differences(results, name) for name in COMPARED}
    for task in TASKS if draws(results) else ():
        alone = [_untested({task: every[name][task]}) for name in COMPARED]
        rest = [_untested({t: d for t, d in every[name].items() if t != task}) for name in COMPARED]
        lines += [[task, *alone], [f"all but {task}", *rest]]
    return Table(
        ["unseen side, ours minus", *COMPARED], lines, "With 95 % bootstrap intervals over draws; none is a test."
    )


def _untested(differences: dict[str, list[float]]) -> str:
    """A difference and its interval."""
    return interval(stratified(differences, tested=False))


def _draw_means(by_task: dict[str, list[float]]) -> list[float]:
    """The mean over tasks of each draw, which has one pair of every task."""
    return [fmean(of_draw) for of_draw in zip(*by_task.values(), strict=True)]


def harmless(results: Sequence[Result]) -> list[Question]:
    """Ours minus plain co-training as tuned: on the seen side of half coverage, and under each old gap."""
    half = [(cell, row) for cell, row in results if cell.coverage != "whole"]
    some = {"seen side": [(cell, on_side(row["seen"], row["episodes"])) for cell, row in whole(half)]}
    some |= {gap: select(results, gap=gap) for gap in distinct(results, "gap") if gap in GAPS}
    questions = []
    for where, at in some.items():
        ours, plain = ([(c, row) for c, row in at if arm_of(c) == name] for name in ("ours", PRIMARY))
        questions.append(minus(f"ours minus {PRIMARY}, {where}", ours, plain, by=POLICY, margin=HARM))
    return questions


HARMLESS = (Claim("The recipe does no harm: it is not .05 worse than plain co-training as tuned.", "-", harmless),)
CLAIMS = (
    Claim(
        "The recipe is better than plain co-training as tuned where the target has no demonstrations.",
        "-",
        partial(better, names=(PRIMARY,)),
    ),
    Claim(
        "It is better there than a label, randomised cameras and the best prior.", "-", partial(better, names=SECONDARY)
    ),
    *HARMLESS,
)
