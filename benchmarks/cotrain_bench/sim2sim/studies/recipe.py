"""A recipe for targets that are covered in part: developed on pick-place, to be tested once on four other tasks.

    recipe-development   on pick-place: four trials an arm, on the same pairs, with a choice that a user can make
    recipe-angle         plain co-training alone: at which turn of the cameras each test task has room

docs/transfer-recipe.md has the protocol, committed before the cells of each were computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from statistics import fmean, stdev

from cotrain_losses.cli.report import Table

from ...paired import detectable
from ...results import Row
from ..batches import Budget
from ..cell import Cell
from . import plans, transfer
from .findings import Result, select
from .sides import SIDES
from .transfer import BASE, EVERYWHERE

DEVELOPED_AT, DEVELOPMENT_SEEDS = "camera-55", (120, 121, 122)
ALIKE = 0.02  # one seen episode of 50: settings of an arm that are so near its best are told apart by the path error
TASKS = {"assembly": "half-goal", "coffee-pull": "half", "hammer": "half", "box-close": "half"}  # and their coverage
MEASURED = (*SIDES, "path_error")
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
WANTED, MOST = 0.08, 12  # the difference that the test is to find, and its most draws a task
PRIORS = ("source, then target", "MMD", "path head")  # the best of these, on the unseen side, joins the test


def development() -> list[Cell]:
    """Every trial of every arm on pick-place, pair by pair."""
    trials = [trial for arm in TRIALS.values() for trial in arm]
    return [replace(trial, gap=DEVELOPED_AT, seed=seed) for seed in DEVELOPMENT_SEEDS for trial in trials]


def angles() -> list[Cell]:
    """Plain co-training on the test tasks, at the angles that are tried."""
    return [replace(cell, task=task, coverage=side) for task, side in TASKS.items() for cell in transfer.angle()]


def chosen_angles(results: Sequence[Result]) -> dict[str, str | None]:
    """task -> the gap that the rule of the angle takes."""
    return {task: transfer.chosen(select(results, task=task)) for task in TASKS}


def taken(results: Sequence[Result]) -> dict[str, tuple[Cell, Cell] | None]:
    """arm -> the setting by the rule that a user can follow, and the one that is best on the unseen side; None while
    a pair of a setting is missing.

    The rule: of the settings whose mean success on the seen side is within ALIKE of the arm's best, the one with the
    least mean path error on target frames from everywhere.
    """
    kept: dict[str, tuple[Cell, Cell] | None] = dict.fromkeys(TRIALS)
    for arm, trials in TRIALS.items():
        rows = {trial: _of(results, trial) for trial in trials}
        if all({row["seed"] for row in some} == {*DEVELOPMENT_SEEDS} for some in rows.values()):
            seen, unseen, error = ({t: _mean(rows[t], name) for t in trials} for name in MEASURED)
            alike = [trial for trial in trials if seen[trial] >= max(seen.values()) - ALIKE - 1e-9]
            kept[arm] = min(alike, key=lambda trial: error[trial]), max(trials, key=lambda trial: unseen[trial])
    return kept


def best_prior(results: Sequence[Result]) -> str | None:
    """Of PRIORS the arm whose setting by the rule is best on the unseen side; None while one has none."""
    chosen = {arm: both[0] for arm, both in taken(results).items() if both is not None and arm in PRIORS}
    complete = len(chosen) == len(PRIORS)
    return max(chosen, key=lambda arm: _mean(_of(results, chosen[arm]), "unseen")) if complete else None


def trials(results: Sequence[Result]) -> Table:
    """What every setting reached in development, and which of them are taken."""
    lines: list[list[object]] = []
    by_rule, prior = taken(results), best_prior(results)
    for arm, settings in TRIALS.items():
        rule, oracle = by_rule[arm] or (None, None)
        for trial in settings:
            rows = _of(results, trial)
            means = [_mean(rows, name) if rows else None for name in MEASURED]
            marks = ["by the rule"] * (trial == rule) + ["oracle"] * (trial == oracle)
            lines.append([arm, plans.arm(trial), len(rows), *means, ", ".join(marks)])
    return Table(
        ["arm", "setting", "pairs", "seen", "unseen", "path error, cm", "taken"],
        lines,
        f"Means over pairs. By the rule: seen within {ALIKE:g} of the arm's best, then the least path error. Oracle: "
        "the best on the unseen side, which no user can see. Neither while an arm has not every pair. "
        f"Best prior: {prior or 'not yet'}.",
    )


def size(results: Sequence[Result]) -> Table:
    """How many draws a task the test needs, by the deviation of ours minus plain, both by the rule, in development.

    The deviation is taken at its upper 80 % bound, s sqrt((n - 1) / chi2_.2), since few pairs know it badly.
    """
    from scipy.stats import chi2  # type: ignore[import-untyped]  # slow to import, so only here

    columns = ["deviation", "upper 80 % bound", f"draws for {WANTED:g}", "draws taken", "found with power .8"]
    both = [taken(results)[arm] for arm in ("ours", "plain")]
    if None in both:
        return Table(columns, [], "Not yet: an arm has not every pair.")
    ours, plain = ({row["seed"]: row["unseen"] for row in _of(results, arm[0])} for arm in both if arm is not None)
    deviation = stdev(ours[seed] - plain[seed] for seed in ours)
    freedom = len(ours) - 1
    upper = deviation * math.sqrt(freedom / float(chi2.ppf(0.2, freedom)))
    found = {n: detectable(n * len(TASKS), upper / math.sqrt(n * len(TASKS)), 0.05) for n in range(1, 200)}
    needed = next((n for n, least in found.items() if least <= WANTED), None)
    draws = min(needed or MOST, MOST)
    note = f"Of ours minus plain, unseen side; paired t, two-sided, over {len(TASKS)} tasks; at most {MOST} draws."
    return Table(columns, [[deviation, upper, needed, draws, found[draws]]], note)


def rooms(results: Sequence[Result]) -> Table:
    """Plain co-training on the test tasks, angle by angle, and the angle that is taken."""
    by_task, lines = chosen_angles(results), list[list[object]]()
    for (task, coverage), angle in product(TASKS.items(), transfer.TRIED_ANGLES):
        gap = f"camera-{angle}"
        rows = [row for _, row in select(results, task=task, gap=gap)]
        means = [_mean(rows, name) if rows else None for name in SIDES]
        lines.append([task, coverage, angle, *means, "yes" if by_task[task] == gap else ""])
    return Table(["task", "coverage", "degrees", "seen", "unseen", "taken"], lines, transfer.RULE)


def arm_of(cell: Cell) -> str:
    """The arm that a cell of the development is a trial of."""
    trial = replace(cell, gap=BASE.gap, seed=BASE.seed)
    return next(arm for arm, settings in TRIALS.items() if trial in settings)


def _mean(rows: Sequence[Row], name: str) -> float:
    """Infinite where a policy diverged and has no path error."""
    return fmean(math.inf if row[name] is None else row[name] for row in rows)


def _of(results: Sequence[Result], trial: Cell) -> list[Row]:
    """The rows of a trial, whatever the pair."""
    return [row for cell, row in results if replace(cell, gap=trial.gap, seed=trial.seed) == trial]
