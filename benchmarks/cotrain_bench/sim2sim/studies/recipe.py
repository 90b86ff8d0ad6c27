"""A recipe for targets that are covered in part: developed on pick-place, then tested once on four other tasks.

    recipe-development   on pick-place: four trials an arm, on the same pairs, with a choice that a user can make
    recipe-angle         plain co-training alone: at which turn of the cameras each test task has room
    recipe               the test: six arms, draw by draw
    recipe-harm          on pick-place under the four old gaps, with target demonstrations from everywhere

docs/transfer-recipe.md has the protocol, committed before the cells of each were computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from cotrain_losses.cli.report import Table

from ..batches import Budget
from ..cell import Cell
from .findings import Result, select
from .plans import title
from .transfer import BASE, EVERYWHERE, HALF, ROOM

DEVELOPED_AT, DEVELOPMENT_SEEDS = "camera-55", (120, 121, 122)
ALIKE = 0.02  # one seen episode of 50: settings of an arm that are so near its best are told apart by the path error
TASKS = {"assembly": "half-goal", "coffee-pull": "half", "hammer": "half", "box-close": "half"}  # and their coverage
TASK_SEEDS, TASK_ANGLES = (901, 902), (25, 40, 55)
PLAIN = (
    BASE,
    replace(BASE, budget=Budget(learning_rate=2e-3)),
    replace(BASE, ratio=0.3),
    replace(BASE, budget=Budget(steps=5000)),
)


def _tried(method: str, strengths: Sequence[float], unlabelled: int) -> tuple[Cell, ...]:
    return tuple(replace(BASE, method=method, strength=strength, unlabelled=unlabelled) for strength in strengths)


TRIALS: dict[str, tuple[Cell, ...]] = {
    "plain": PLAIN,
    "label only": tuple(replace(cell, label=True) for cell in PLAIN),
    "cameras randomised": _tried("cameras", (1.25, 0.5, 0.8, 2.0), 0),
    "source, then target": _tried("fine_tuned", (0.2, 0.1, 0.4, 0.6), 0),
    "MMD": _tried("mmd", (0.3, 0.1, 0.03, 1.0), EVERYWHERE),
    "path head": _tried("path_head", (1.0, 0.3, 0.1, 0.03), EVERYWHERE),
    "ours": (
        *_tried("path_tuned", (1.0, 0.3), EVERYWHERE),
        *_tried("path_mmd_tuned", (1.0,), EVERYWHERE),
        *_tried("path_mmd", (1.0,), EVERYWHERE),
    ),
}
"""arm -> its four settings; of two alike the first is taken"""
PRIORS = ("source, then target", "MMD", "path head")  # the best of these, on the unseen side, joins the test


def development() -> list[Cell]:
    """Every trial of every arm on pick-place, pair by pair."""
    trials = [trial for arm in TRIALS.values() for trial in arm]
    return [replace(trial, gap=DEVELOPED_AT, seed=seed) for seed in DEVELOPMENT_SEEDS for trial in trials]


def angles() -> list[Cell]:
    """Plain co-training on the test tasks, at the angles that are tried."""
    tried = product(TASKS.items(), TASK_SEEDS, TASK_ANGLES)
    return [replace(BASE, task=t, coverage=c, seed=seed, gap=f"camera-{a}") for (t, c), seed, a in tried]


def chosen_angles(results: Sequence[Result]) -> dict[str, str | None]:
    """task -> the gap by the rule of `transfer.chosen`; None where no angle's seen side is solved to ROOM."""
    taken: dict[str, str | None] = {}
    for task in TASKS:
        means = {gap: _sides(select(results, task=task, gap=gap)) for gap in (f"camera-{a}" for a in TASK_ANGLES)}
        room = {g: abs(unseen - HALF * seen) for g, (seen, unseen) in means.items() if seen >= ROOM}
        taken[task] = min(room, key=lambda gap: round(room[gap], 9), default=None)
    return taken


def taken(results: Sequence[Result]) -> dict[str, tuple[Cell, Cell]]:
    """arm -> the setting by the rule that a user can follow, and the one that is best on the unseen side.

    The rule: of the settings whose mean success on the seen side is within ALIKE of the arm's best, the one with the
    least mean path error on target frames from everywhere.
    """
    kept: dict[str, tuple[Cell, Cell]] = {}
    for arm, trials in TRIALS.items():
        rows = {trial: _of(results, trial) for trial in trials}
        seen, unseen, error = ({t: _mean(rows[t], name) for t in trials} for name in ("seen", "unseen", "path_error"))
        alike = [trial for trial in trials if seen[trial] >= max(seen.values()) - ALIKE - 1e-9]
        kept[arm] = min(alike, key=lambda trial: error[trial]), max(trials, key=lambda trial: unseen[trial])
    return kept


def trials(results: Sequence[Result]) -> Table:
    """What every setting reached in development, and which of them are taken."""
    lines: list[list[object]] = []
    by_rule = taken(results)
    for arm, settings in TRIALS.items():
        for trial in settings:
            means = [_mean(_of(results, trial), name) for name in ("seen", "unseen", "path_error")]
            marks = ["by the rule"] * (trial == by_rule[arm][0]) + ["oracle"] * (trial == by_rule[arm][1])
            lines.append([arm, setting(trial), *means, ", ".join(marks)])
    return Table(
        ["arm", "setting", "seen", "unseen", "path error, cm", "taken"],
        lines,
        f"Means over pairs. By the rule: seen within {ALIKE:g} of the arm's best, then the least path error. Oracle: "
        "the best on the unseen side, which no user can see.",
    )


def rooms(results: Sequence[Result]) -> Table:
    """Plain co-training on the test tasks, angle by angle, and the angle that is taken."""
    by_task, lines = chosen_angles(results), list[list[object]]()
    for task, angle in product(TASKS, TASK_ANGLES):
        some = select(results, task=task, gap=f"camera-{angle}")
        lines.append([task, TASKS[task], angle, *_sides(some), "yes" if by_task[task] == f"camera-{angle}" else ""])
    note = f"Taken: seen at least {ROOM:g}, unseen nearest to {HALF:g} of it; the smaller of two alike."
    return Table(["task", "coverage", "degrees", "seen", "unseen", "taken"], lines, note)


def arm_of(cell: Cell) -> str:
    """The arm that a cell of the development is a trial of."""
    trial = replace(cell, gap=BASE.gap, seed=BASE.seed)
    return next(arm for arm, settings in TRIALS.items() if trial in settings)


def setting(cell: Cell) -> str:
    """What tells a trial from the others of its arm."""
    parts = [f"ratio {cell.ratio:g}"] * (cell.ratio != BASE.ratio)
    parts += [f"{cell.budget.steps} steps"] * (cell.budget.steps != BASE.budget.steps)
    return ", ".join([title(cell), *parts])


def _of(results: Sequence[Result], trial: Cell) -> list[Result]:
    return [(cell, row) for cell, row in results if replace(cell, gap=trial.gap, seed=trial.seed) == trial]


def _mean(results: Sequence[Result], name: str) -> float:
    return float(sum(row[name] for _, row in results)) / max(len(results), 1)


def _sides(results: Sequence[Result]) -> tuple[float, float]:
    return _mean(results, "seen"), _mean(results, "unseen")
