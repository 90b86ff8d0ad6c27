"""What was published, and what is claimed of our recipe, as questions to the cells of a study.

Published: Lei et al., "A Mechanistic Analysis of Sim-and-Real Co-Training in Generative Robot Policies", ICML 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from ...paired import Correlation, correlation
from ...results import Row
from ..cell import Cell
from ..methods import METHODS
from . import plans
from .findings import Answer, Claim, Question, Result, distinct, select

BALANCED = (0.016, 0.3)  # the band of ratios that the paper's experiments found best
HARM = 0.05  # a loss of success that the recipe is to exclude, gap by gap
POLICY = ("task", "gap", "seed")  # what the policies of two methods have in common where they are compared one by one


def minus(
    name: str,
    one: Sequence[Result],
    other: Sequence[Result],
    matched: Sequence[str] = POLICY,
    by: Sequence[str] = ("seed",),
    **how: Any,
) -> Question:
    """Mean success of one side minus the other's, of cells with a match; those alike in `by` are a pair."""

    def settings(cell: Cell, names: Sequence[str]) -> tuple[Any, ...]:
        return tuple(getattr(cell, name) for name in names)

    both = {settings(c, matched) for c, _ in one} & {settings(c, matched) for c, _ in other}
    sides = [[(c, row) for c, row in side if settings(c, matched) in both] for side in (one, other)]
    pairs = []
    for key in sorted({settings(c, by) for c, _ in sides[0]}):
        rows = [[row for c, row in side if settings(c, by) == key] for side in sides]
        pairs.append([(c / len(side), row) for c, side in zip((1.0, -1.0), rows, strict=True) for row in side])
    return Question(name, pairs, **how)


def best_is_cfg_adda(results: Sequence[Result]) -> list[Question]:
    mine = select(results, method="cfg_adda")
    others = [method for method in distinct(results, "method") if method not in ("cfg_adda", "probe")]
    return [minus(f"CFG-ADDA minus {METHODS[m].title}", mine, select(results, method=m)) for m in others]


def cotraining_helps(results: Sequence[Result]) -> list[Question]:
    one, other = (select(results, method=method) for method in ("cotraining", "real_only"))
    gaps = distinct(results, "gap")
    return [minus(f"co-training minus target only, {gap}", select(one, gap=gap), other) for gap in gaps]


def balanced_is_best(results: Sequence[Result]) -> list[Question]:
    sides: tuple[list[Result], list[Result]] = [], []
    for cell, row in results:
        ratio = 1.0 if cell.method == "real_only" else cell.ratio
        sides[not BALANCED[0] <= ratio <= BALANCED[1]].append((cell, row))
    return [minus("ratios in [.016, .3] minus the others", *sides, matched=("seed",))]


def label_restores(results: Sequence[Result], gap: str) -> list[Question]:
    with_label, without = (select(results, label=label, gap=gap) for label in (True, False))
    return [minus(f"label minus none, {gap}", with_label, without)] if gap in distinct(results, "gap") else []


def half_is_best(results: Sequence[Result]) -> list[Question]:
    names = {0.0: "no label (scale 0)", 1.0: "the label alone (scale 1)"}
    others = {scale: [(cell, _at(row, scale)) for cell, row in results] for scale in names}
    return [
        minus(f"scale {plans.OWN_SCALE} minus {names[s]}", results, other, ("seed",)) for s, other in others.items()
    ]


def _at(row: Row, scale: float) -> Row:
    """A guided row as it is at another scale than its own."""
    success = row["scales"][str(scale)]
    return {**row, "success": success, "successes": round(success * row["episodes"])}


def recipe_minus(results: Sequence[Result], arm: plans.Arm, name: str, **how: Any) -> list[Question]:
    """The recipe against an arm, a pair for every task and seed under a gap."""
    one, other = ([(c, row) for c, row in results if side.has(c)] for side in (plans.RECIPE, arm))
    name, gaps = f"the recipe minus {name}", distinct(results, "gap")
    return [minus(f"{name}, {gap}", select(one, gap=gap), other, by=POLICY, **how) for gap in gaps]


def distance_by_gap(results: Sequence[Result]) -> list[Answer]:
    """log distance against success under every gap; positive is published where physics alone differs."""
    gaps = {gap: 1 if gap == "physics" else -1 for gap in distinct(results, "gap")}
    return _answers({gap: (sign, select(results, gap=gap)) for gap, sign in gaps.items()})


def distance_by_regime(results: Sequence[Result]) -> list[Answer]:
    published = {"overlapping": 1, "structured": -1, "disjoint": -1}
    return _answers({r: (sign, [x for x in results if x[1]["regime"] == r]) for r, sign in published.items()})


def _answers(groups: dict[str, tuple[int, list[Result]]]) -> list[Answer]:
    named = [(f"log distance and success, {name}", sign, related(some)) for name, (sign, some) in groups.items()]
    return [Answer(name, sign, r, None) for name, sign, r in named if r is not None]


def related(results: Sequence[Result], *, of: str = "log_wasserstein", ranks: bool = False) -> Correlation | None:
    """The correlation of a measure with success over cells."""
    some = [(row[of], row["success"], cell.seed) for cell, row in results if row[of] is not None]
    return correlation(*zip(*some, strict=True), ranks=ranks) if some else None


METHOD_CLAIMS = (
    Claim("Co-training beats target-only training.", "15.3 against 8.6 of 30 on the robot", cotraining_helps),
    Claim(
        "CFG-ADDA is best on average.",
        ".55, the others .51 to .53 (simulation); 21 of 30, the others 14.3 to 15.3 (robot)",
        best_is_cfg_adda,
    ),
)

BALANCED_RATIOS = Claim("Balanced ratios are best.", ".52 in [.016, .3], .48 outside (co-training)", balanced_is_best)

DISTANCE_BY_GAP = Claim(
    "The closer the domains, the higher the success, except where physics alone differs.",
    "r = -.76 visual, +.57 physics, -.70 both",
    distance_by_gap,
)

DISTANCE_BY_REGIME = Claim(
    "Distance helps in the overlapping regime, harms in the disjoint one.",
    "r = +.61 overlapping, -.31 structured, -.70 disjoint",
    distance_by_regime,
)

HALF_GUIDANCE = Claim("Guidance is best near scale 0.5.", "lambda = -.5, that is scale .5", half_is_best)

_HARMLESS = partial(recipe_minus, arm=plans.PLAIN, name="co-training", margin=HARM)
_HELPS = partial(recipe_minus, arm=plans.PLAIN, name="co-training")
_HELPS_MORE = partial(recipe_minus, arm=plans.TUNED, name="co-training as tuned")
RECIPE_CLAIMS = (
    Claim("The recipe does no harm: it is not .05 worse than plain co-training, whatever the gap.", "-", _HARMLESS),
    Claim("It helps: it is better than plain co-training under two gaps or more.", "-", _HELPS, "plain", 2),
    Claim("It helps where plain co-training was tuned as long, under two gaps or more.", "-", _HELPS_MORE, "tuned", 2),
)

LABEL_CLAIMS = (
    Claim(
        "Where physics alone differs a domain label raises the success.",
        "physics-only suffers without a label",
        partial(label_restores, gap="physics"),
    ),
    Claim(
        "Where only the command frame differs a domain label raises the success (our gap, not the paper's).",
        "-",
        partial(label_restores, gap="control"),
    ),
)
