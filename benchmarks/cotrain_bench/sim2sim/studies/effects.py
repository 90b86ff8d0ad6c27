"""What the test of the recipe found: ours minus every other arm, over tasks, on each, and where it must do no harm."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import fmean

from cotrain_losses.cli.report import Table

from ...stratified import stratified
from . import families
from .claims import HARM, POLICY, minus
from .confirm import ARMS, COMPARED, PRIMARY, SECONDARY, SEEDS, arm_of, differences, draws, whole
from .families import adjusted, answers, contrasts, untested
from .findings import Answer, Claim, Question, Result, distinct, select
from .plans import GAPS
from .recipe import TASKS
from .sides import SIDES, on_side


def success(results: Sequence[Result]) -> Table:
    """What every arm solves of both sides, task by task and over tasks."""
    solved: dict[str, dict[str, list[list[float]]]] = {name: {} for name in ARMS}
    for cell, row in whole(results):
        solved[arm_of(cell)].setdefault(cell.task, []).append([row[side] for side in SIDES])
    return families.by_task(solved, tuple(TASKS), f"Means over {draws(results)} draws a task; no interval.")


def better(results: Sequence[Result], names: Sequence[str]) -> list[Answer]:
    """Whether ours is better than these arms on the unseen side, as one family; nothing below two whole draws."""
    return answers({f"ours minus {name}": differences(results, name) for name in names})


def compared(results: Sequence[Result]) -> Table:
    """Ours minus every other arm, over all tasks."""
    primary, secondary = (contrasts({n: differences(results, n) for n in names}) for names in ((PRIMARY,), SECONDARY))
    after_holm = adjusted(secondary)
    lines: list[list[object]] = []
    for name in COMPARED if draws(results) else ():
        unseen, seen = differences(results, name), differences(results, name, "seen")
        role = "primary" if name == PRIMARY else "secondary" if name in SECONDARY else "described"
        ps: list[object] = [None] * 3
        if (tested := (primary | secondary).get(name)) is not None:
            ps = [tested.p, after_holm.get(name), stratified({"draws": _draw_means(unseen)}).p]
        lines.append([name, role, untested(unseen), *ps, untested(seen)])
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
        alone = [untested({task: every[name][task]}) for name in COMPARED]
        rest = [untested({t: d for t, d in every[name].items() if t != task}) for name in COMPARED]
        lines += [[task, *alone], [f"all but {task}", *rest]]
    return Table(
        ["unseen side, ours minus", *COMPARED], lines, "With 95 % bootstrap intervals over draws; none is a test."
    )


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
