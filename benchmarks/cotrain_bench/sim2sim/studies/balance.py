"""The balance study's cells: developed on one task, run once on three others.

    calibration    plain co-training alone: how many demonstrations leave room on both sides, task by task
    development    pick-place alone: eight trials of the recipe and eight of plain co-training
    balance        the test tasks: recipe, plain, and plain as tuned; the methods with raw weights, described only
    stability      twenty seeds under the hard gap, on pick-place: does an adversary collapse a policy?

What was chosen, and by which rule, is in docs/balance-study.md, committed before the cells of `balance` were computed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

from ..cell import Cell
from ..training import Budget

GAPS = ("visual", "control", "physics", "hard")
CALIBRATION_SEED = 900
TRIED_DEMOS = ((4, 50), (10, 50), (4, 10), (4, 4))
"""target and source demonstrations at which plain co-training is looked at"""
TRIED_ON_HAMMER = ((4, 2), (3, 2))  # and on the easiest task
DEVELOPMENT_SEEDS = (20, 21)
DEVELOPMENT_GAPS = ("visual", "control", "hard")
"""without physics, which plain co-training solves on pick-place whatever is done"""


@dataclass(frozen=True)
class Arm:
    """A method with what its trials may choose."""

    method: str
    ratio: float = 0.1
    learning_rate: float = Budget.learning_rate
    scales: tuple[float, ...] = ()  # at which its policies are evaluated too

    def of(self, base: Cell) -> Cell:
        """A cell of this arm."""
        budget = replace(base.budget, learning_rate=self.learning_rate)
        return replace(base, method=self.method, ratio=self.ratio, scales=self.scales, budget=budget)

    def has(self, cell: Cell) -> bool:
        """Whether a cell is of this arm."""
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
TEST_DEMOS = {"assembly": (4, 4), "coffee-pull": (4, 4), "hammer": (3, 2)}
"""target and source demonstrations, from `calibration`"""

TEST_SEEDS = range(30, 37)
DESCRIBED = [Arm(method) for method in ("ot", "mmd", "adda", "cfg", "cfg_adda")]
DESCRIBED_SEEDS = TEST_SEEDS[:2]
STABILITY_SEEDS = range(40, 60)


def calibration() -> list[Cell]:
    """Plain co-training alone, on the test tasks, with fewer episodes."""
    base = Cell(seed=CALIBRATION_SEED, episodes=50)
    tried = [*product(TRIED_DEMOS, TEST_DEMOS), *product(TRIED_ON_HAMMER, ("hammer",))]
    return [_sized(PLAIN, base, task, gap, demos) for demos, task in tried for gap in GAPS]


def development() -> list[Cell]:
    """Every trial on pick-place, pair by pair."""
    return [
        arm.of(Cell(gap=gap, seed=seed, source_demos=50))
        for seed, gap, arm in product(DEVELOPMENT_SEEDS, DEVELOPMENT_GAPS, (*RECIPE_TRIALS, *PLAIN_TRIALS))
    ]


def test() -> list[Cell]:
    """The confirmatory arms, pair by pair, and then the arms that are only described."""
    confirm, describe = (
        [
            _sized(arm, Cell(seed=seed), task, gap, TEST_DEMOS[task])
            for seed, task, gap, arm in product(seeds, TEST_DEMOS, GAPS, arms)
        ]
        for seeds, arms in ((TEST_SEEDS, (PLAIN, RECIPE, TUNED)), (DESCRIBED_SEEDS, DESCRIBED))
    )
    return [*confirm, *describe]


def stability() -> list[Cell]:
    """Plain co-training, the recipe and a raw adversary under the hard gap."""
    return [
        arm.of(Cell(gap="hard", seed=seed, source_demos=50))
        for seed, arm in product(STABILITY_SEEDS, (PLAIN, RECIPE, Arm("adda")))
    ]


def _sized(arm: Arm, base: Cell, task: str, gap: str, demos: tuple[int, int]) -> Cell:
    target, source = demos
    return arm.of(replace(base, task=task, gap=gap, target_demos=target, source_demos=source))
