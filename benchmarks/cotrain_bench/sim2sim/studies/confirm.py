"""The recipe for targets that are covered in part, tested once: settings and seeds were frozen before any cell.

    recipe       six arms on four tasks that the recipe was not developed on, draw by draw
    recipe-harm  ours and plain co-training as tuned where the target has demonstrations everywhere, under the old gaps

docs/transfer-recipe.md has the protocol, committed before the cells of each were computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..cell import Cell
from .findings import Result
from .plans import GAPS
from .recipe import TASKS, TRIALS
from .transfer import BASE

SEEDS, HARM_SEEDS = range(130, 142), range(150, 162)  # 12 draws each: the most that the protocol allows
ANGLES = dict.fromkeys(TASKS, "camera-55")  # by `recipe.chosen_angles`, from docs/studies/recipe-angle
ARMS: dict[str, Cell] = {  # by `recipe.taken` and `recipe.best_prior`, from docs/studies/recipe-development
    "plain": BASE,
    "plain as tuned": TRIALS["plain"][3],
    "label only": TRIALS["label only"][0],
    "cameras randomised": TRIALS["cameras randomised"][0],
    "best prior": TRIALS["path head"][0],
    "ours": TRIALS["ours"][3],
}
"""arm -> its frozen setting"""
PRIMARY, SECONDARY = "plain as tuned", ("label only", "cameras randomised", "best prior")
COMPARED = (PRIMARY, *SECONDARY, "plain")  # the last is described only


def test() -> list[Cell]:
    """Every arm on every test task, a draw after the other."""
    return [
        replace(arm, task=task, coverage=coverage, gap=ANGLES[task], seed=seed)
        for seed in SEEDS
        for task, coverage in TASKS.items()
        for arm in ARMS.values()
    ]


def harm() -> list[Cell]:
    """Ours and plain co-training as tuned on pick-place, whole coverage, under the four old gaps."""
    arms = [replace(ARMS[name], coverage="whole") for name in (PRIMARY, "ours")]
    return [replace(arm, gap=gap, seed=seed) for seed in HARM_SEEDS for gap in GAPS for arm in arms]


def arm_of(cell: Cell) -> str:
    """The arm whose frozen setting a cell has."""
    frozen = replace(cell, task=BASE.task, gap=BASE.gap, seed=BASE.seed, coverage=BASE.coverage)
    return next(name for name, arm in ARMS.items() if arm == frozen)


def whole(results: Sequence[Result]) -> list[Result]:
    """The results of the draws of which every cell is there."""
    seeds = [cell.seed for cell, _ in results]
    return [(cell, row) for cell, row in results if seeds.count(cell.seed) == len(TASKS) * len(ARMS)]


def differences(results: Sequence[Result], other: str, side: str = "unseen") -> dict[str, list[float]]:
    """task -> ours minus another arm on a side, of every whole draw."""
    kept = {(arm_of(cell), cell.task, cell.seed): row[side] for cell, row in whole(results)}
    seeds = sorted({seed for _, _, seed in kept})
    return {task: [kept["ours", task, s] - kept[other, task, s] for s in seeds] for task in TASKS} if seeds else {}


def draws(results: Sequence[Result]) -> int:
    """How many draws are whole."""
    return len({cell.seed for cell, _ in whole(results)})
