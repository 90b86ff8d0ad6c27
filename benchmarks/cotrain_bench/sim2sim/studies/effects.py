"""What the test of the recipe found: ours minus every other arm, over tasks, on each, and where it must do no harm."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from cotrain_losses.cli.report import Table

from ...paired import Weighted, contrast, detectable, holm
from ...results import Row
from ...stratified import stratified
from .claims import HARM
from .confirm import ARMS, COMPARED, PRIMARY, SECONDARY, SEEDS, arm_of, differences, draws, whole
from .findings import Result, distinct, select
from .plans import GAPS
from .recipe import TASKS
from .sides import SIDES
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


def compared(results: Sequence[Result]) -> Table:
    """Ours minus every other arm, over all tasks."""
    if draws(results) == 0:
        return Table(["ours minus"], [], "Not yet: no draw is whole.")
    found = {name: {side: stratified(differences(results, name, side)) for side in SIDES} for name in COMPARED}
    adjusted = dict(zip(SECONDARY, holm([found[name]["unseen"].p for name in SECONDARY]), strict=True))
    lines: list[list[object]] = []
    for name, on in found.items():
        role = "primary" if name == PRIMARY else "secondary" if name in SECONDARY else "described"
        p = None if role == "described" else on["unseen"].p
        whole_draws = None if p is None else stratified({"draws": _draw_means(differences(results, name))}).p
        lines.append([name, role, interval(on["unseen"]), p, adjusted.get(name), whole_draws, interval(on["seen"])])
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


def power(results: Sequence[Result]) -> Table:
    """How far pairs of the primary comparison vary, and the difference that the test finds with power .8."""
    columns = ["pairs", "deviation within a task", "found with power .8"]
    if draws(results) < 2:
        return Table(columns, [], "Not yet: fewer than two draws are whole.")
    deviation = fmean(stdev(values) ** 2 for values in differences(results, PRIMARY).values()) ** 0.5
    pairs = draws(results) * len(TASKS)
    return Table(columns, [[pairs, deviation, detectable(pairs, deviation / pairs**0.5, 0.05)]], "Paired t, two-sided.")


def harmless(results: Sequence[Result]) -> Table:
    """Whether ours is not HARM worse than plain co-training as tuned: on the seen side, or under each old gap."""
    lines: list[list[object]] = []
    half = [(cell, row) for cell, row in results if cell.coverage != "whole"]
    some = {"seen side, all tasks": (whole(half), "seen")}
    some |= {gap: (select(results, gap=gap), "success") for gap in distinct(results, "gap") if gap in GAPS}
    for where, (at, name) in some.items():
        if len(pairs := _pairs(at, name)) > 1:
            found = contrast(pairs, margin=HARM)
            bound = f"{found.mean:+.2f}, above {found.low:+.2f}"
            lines.append([where, len(pairs), bound, found.p, "yes" if found.low > -HARM else "not shown"])
    columns = ["where", "pairs", "ours minus plain as tuned", f"p (difference <= -{HARM:g})", "not worse"]
    return Table(columns, lines, "One-sided 95 % bound of a paired t; not corrected, since all have to hold.")


def _pairs(results: Sequence[Result], name: str) -> list[Weighted]:
    """Ours minus plain co-training as tuned, a draw of a task each."""
    kept: dict[tuple[str, int], dict[str, Row]] = {}
    for cell, row in results:
        episodes = row["episodes"] if name == "success" else row["episodes"] // 2
        rate = {"success": row[name], "successes": round(row[name] * episodes), "episodes": episodes}
        kept.setdefault((cell.task, cell.seed), {})[arm_of(cell)] = rate
    return [[(1.0, both["ours"]), (-1.0, both[PRIMARY])] for both in kept.values() if {"ours", PRIMARY} <= set(both)]
