"""Which cells a study is made of.  Fixed before results are seen; docs/studies.md says how sizes were chosen.

The balance study was developed on one task and run once on three others:

    calibration    plain co-training alone: how many demonstrations leave room on both sides, task by task
    development    pick-place alone: eight trials of the recipe and eight of plain co-training
    balance        the test tasks: recipe, plain, and plain as tuned; the methods with raw weights, described only
    stability      twenty seeds under the hard gap, on pick-place: does an adversary collapse a policy?

What was chosen, and by which rule, is in docs/balance-study.md, committed before the cells of `balance` were computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from ..batches import Budget
from ..cell import Cell
from ..image_cell import AUGMENTED, ImageCell
from ..methods import METHODS, PUBLISHED_SCALE, studied

OWN_SCALE = PUBLISHED_SCALE  # at which cfg and cfg_adda are evaluated in every study


@dataclass(frozen=True)
class Size:
    """How large a study is."""

    pairs: int  # draws of demonstrations with a training seed of their own, shared by all methods
    tasks: tuple[str, ...] = ("pick-place",)
    gaps: tuple[str, ...] = ("visual", "control", "physics", "hard")
    ratio_gaps: tuple[str, ...] = ("visual", "hard")  # gaps under which ratios and adversary weights are swept
    correlation_gaps: tuple[str, ...] = ("visual", "physics", "hard")  # gaps of the study of alignment and success
    scale_gaps: tuple[str, ...] = ("control", "hard")  # gaps under which guidance scales are swept
    methods: tuple[str, ...] | str = "paper"  # by name, or a set of `methods.studied`
    ratios: tuple[float, ...] = (0.0, 0.005, 0.016, 0.1, 0.3, 0.5, 0.8, 1.0)
    scales: tuple[float, ...] = (-1.0, 0.0, 0.25, 0.75, 1.0, 2.0)  # beside OWN_SCALE
    first_seed: int = 10
    base: Cell = field(default_factory=Cell)

    def cells(self, gaps: Sequence[str], variants: Sequence[Cell]) -> list[Cell]:
        """Every variant under every task, gap and pair."""
        return [
            replace(variant, task=task, gap=gap, seed=self.first_seed + pair)
            for task, gap, pair, variant in product(self.tasks, gaps, range(self.pairs), variants)
        ]

    def compared(self) -> tuple[str, ...]:
        return studied(self.methods) if isinstance(self.methods, str) else self.methods


SIZES = {
    "smoke": Size(
        pairs=2,
        **dict.fromkeys(("gaps", "ratio_gaps", "correlation_gaps", "scale_gaps"), ("control",)),  # type: ignore[arg-type]
        methods=("real_only", "cotraining", "cfg_adda"),
        ratios=(0.1, 0.5, 1.0),
        scales=(0.0, 1.0),
        base=Cell(source_demos=10, episodes=3, budget=Budget(steps=60)),
    ),
    "standard": Size(pairs=5, base=Cell(source_demos=50)),
    "overnight": Size(pairs=10, tasks=("pick-place", "assembly"), methods="all", base=Cell(source_demos=50)),
    "paper": Size(
        pairs=20,
        tasks=("pick-place", "assembly", "coffee-pull", "hammer", "box-close"),
        gaps=("visual", "control", "physics", "visual-control", "hard"),
        **dict.fromkeys(("ratio_gaps", "correlation_gaps"), ("visual", "physics", "visual-control", "hard")),  # type: ignore[arg-type]
        scale_gaps=("visual", "control", "physics", "hard"),
        methods="all",
        scales=(-1.0, -0.5, 0.0, 0.25, 0.75, 1.0, 1.5, 2.0, 3.0),
        base=Cell(episodes=200),
    ),
}


def methods(size: Size) -> list[Cell]:
    return size.cells(size.gaps, [replace(size.base, method=method) for method in size.compared()])


def ratios(size: Size) -> list[Cell]:
    mixed = [replace(size.base, ratio=ratio) for ratio in size.ratios if ratio != 1.0]
    alone = [replace(size.base, method="real_only")] if 1.0 in size.ratios else []
    return size.cells(size.ratio_gaps, [*mixed, *alone])


def correlation(size: Size) -> list[Cell]:
    """Co-trained policies of several methods, and of several ratios: none trained on one domain alone."""
    names = [name for name in size.compared() if name not in ("real_only", "probe")]
    trained = size.cells(size.correlation_gaps, [replace(size.base, method=name) for name in names])
    return [*trained, *(cell for cell in ratios(size) if cell.method == "cotraining" and cell.ratio > 0)]


def regimes(size: Size) -> list[Cell]:
    """An adversary at 0, at its weight and at ten times it, and the opposite of one."""
    names = ("cotraining", "adda", "adda_strong", "discernibility")
    return size.cells(size.ratio_gaps, [replace(size.base, method=name) for name in names])


def guidance(size: Size) -> list[Cell]:
    guided = [replace(size.base, method=method, scales=size.scales) for method in ("cfg", "cfg_adda")]
    return size.cells(size.scale_gaps, guided)


def label(size: Size) -> list[Cell]:
    """Plain co-training without and with the domain in the observation."""
    return size.cells(size.gaps, [size.base, replace(size.base, label=True)])


def title(cell: Cell) -> str:
    """What tables and figures call a cell's arm."""
    rate, steps = cell.budget.learning_rate, cell.budget.steps
    parts = {
        "label seen": cell.label,
        f"policy {cell.policy}": cell.policy == "stems",
        "colour and crop": cell.policy == AUGMENTED,
        "frozen encoder": isinstance(cell, ImageCell) and cell.frozen,
        f"rate {rate:g}": rate != Budget.learning_rate,
        f"{steps} steps": steps > Budget.steps,  # fewer are those of a preset, and all of its cells have them
        f"strength {cell.strength:g}" if cell.strength else "": cell.strength is not None,
        "frames everywhere": cell.unlabelled > 0,
        f"{cell.coverage} coverage": cell.coverage == "whole",
    }
    return ", ".join([METHODS[cell.method].title, *(part for part, holds in parts.items() if holds)])


def arm(cell: Cell) -> str:
    """A method by its title, with the ratio where it is not the usual one."""
    return title(cell) + (f", ratio {cell.ratio:g}" if cell.ratio != Cell.ratio else "")


def place(cell: Cell) -> str:
    """What tables and figures call where a cell's policy acts: the gap, and the task where it is not the usual one."""
    return gap(cell) if cell.task == type(cell).task else f"{cell.task}, {gap(cell)}"


def gap(cell: Cell) -> str:
    """A cell's gap, with the target's look where the cell names one."""
    return cell.gap + (f", {cell.look} look" if isinstance(cell, ImageCell) and cell.look else "")


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
