"""The balance study's cells: developed on one task, run once on three others.

    calibration    plain co-training alone: how many demonstrations leave room on both sides, task by task
    development    pick-place alone: eight trials of the recipe and eight of plain co-training
    balance        the test tasks: recipe, plain, and plain as tuned; the methods with raw weights, described only
    stability      twenty seeds under the hard gap, on pick-place: does an adversary collapse a policy?

What was chosen, and by which rule, is in docs/balance-study.md, committed before the cells of `balance` were computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from ..cell import Cell
from ..training import Budget

GAPS = ("visual", "control", "physics", "hard")
CALIBRATION_SEED = 900
TRIED_DEMOS = ((4, 50), (10, 50), (4, 10), (4, 4))  # target and source demonstrations of the calibration
TRIED_ON_HAMMER = ((4, 2), (3, 2))  # and on the easiest task
DEVELOPMENT_SEEDS = (20, 21)
DEVELOPMENT_GAPS = ("visual", "control", "hard")  # physics is solved on pick-place whatever is done


@dataclass(frozen=True)
class Arm:
    """A method with what its trials may choose."""

    method: str
    ratio: float = 0.1
    learning_rate: float = Budget.learning_rate
    scales: tuple[float, ...] = ()  # at which its policies are evaluated too

    def cell(
        self, gap: str, seed: int, task: str = "pick-place", demos: tuple[int, int] = (4, 50), **more: Any
    ) -> Cell:
        """A cell of this arm, with so many target and source demonstrations."""
        budget = Budget(learning_rate=self.learning_rate)
        return Cell(self.method, task, gap, self.ratio, seed, *demos, scales=self.scales, budget=budget, **more)

    def has(self, cell: Cell) -> bool:
        return (cell.method, cell.ratio, cell.budget.learning_rate) == (self.method, self.ratio, self.learning_rate)


RECIPE_TRIALS = [
    Arm(method, scales=(0.5,))
    for method in ("structured", "structured_kept_out", "structured_penalised", "structured_loud")
]
"""each at guidance scales 1 and .5: eight trials"""

PLAIN_TRIALS = [
    *(Arm("cotraining", ratio, rate) for rate in (1e-3, 2e-3) for ratio in (0.03, 0.1, 0.3)),
    *(Arm("cotraining", 0.1, rate) for rate in (5e-4, 4e-3)),
]
"""as many"""

PLAIN = Arm("cotraining")
RECIPE = Arm("structured")
TUNED = Arm("cotraining", learning_rate=2e-3)  # the best of the trials of plain co-training
TEST_DEMOS = {"assembly": (4, 4), "coffee-pull": (4, 4), "hammer": (3, 2)}  # from `calibration`
TEST_SEEDS = range(30, 37)
DESCRIBED = [Arm(method) for method in ("ot", "mmd", "adda", "cfg", "cfg_adda")]
DESCRIBED_SEEDS = TEST_SEEDS[:2]
STABILITY_SEEDS = range(40, 60)


def calibration() -> list[Cell]:
    """Plain co-training alone, on the test tasks, with fewer episodes."""
    tried = [*product(TRIED_DEMOS, TEST_DEMOS), *product(TRIED_ON_HAMMER, ("hammer",))]
    return [PLAIN.cell(gap, CALIBRATION_SEED, task, demos, episodes=50) for demos, task in tried for gap in GAPS]


def development() -> list[Cell]:
    """Every trial on pick-place, pair by pair."""
    arms = (*RECIPE_TRIALS, *PLAIN_TRIALS)
    return [arm.cell(gap, seed) for seed, gap, arm in product(DEVELOPMENT_SEEDS, DEVELOPMENT_GAPS, arms)]


def test() -> list[Cell]:
    """The confirmatory arms, pair by pair, and then the arms that are only described."""
    confirm = product(TEST_SEEDS, TEST_DEMOS.items(), GAPS, (PLAIN, RECIPE, TUNED))
    describe = product(DESCRIBED_SEEDS, TEST_DEMOS.items(), GAPS, DESCRIBED)
    return [arm.cell(gap, seed, task, demos) for seed, (task, demos), gap, arm in (*confirm, *describe)]


def stability() -> list[Cell]:
    """Plain co-training, the recipe and a raw adversary under the hard gap."""
    return [arm.cell("hard", seed) for seed, arm in product(STABILITY_SEEDS, (PLAIN, RECIPE, Arm("adda")))]
