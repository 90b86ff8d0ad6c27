"""What was published, and what is claimed of our recipe, as questions to the cells of a study.

Published: Lei et al., "A Mechanistic Analysis of Sim-and-Real Co-Training in Generative Robot Policies", ICML 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ...paired import Correlation, correlation
from ...results import Row
from ..methods import METHODS
from . import balance
from .findings import Claim, Question, Result
from .plans import OWN_SCALE

Policies: TypeAlias = "dict[tuple[str, str, int], Row]"  # (task, gap, seed) -> row
BALANCED = (0.016, 0.3)  # the band of ratios that the paper's experiments found best
HARM = 0.05  # a loss of success that the recipe is to exclude, gap by gap


def _rows(results: Sequence[Result], **wanted: object) -> Policies:
    """(task, gap, seed) -> the row of the cell that has these settings."""
    return {
        (cell.task, cell.gap, cell.seed): row
        for cell, row in results
        if all(getattr(cell, name) == value for name, value in wanted.items())
    }


def _difference(name: str, one: Policies, other: Policies, gap: str | None = None, wanted: int = 1) -> Question:
    """Success of one minus success of the other, averaged over tasks and gaps within each pair."""
    common = [key for key in one if key in other and gap in (None, key[1])]
    seeds = sorted({seed for _, _, seed in common})
    pairs = []
    for seed in seeds:
        keys = [key for key in common if key[2] == seed]
        pairs.append([(c / len(keys), side[key]) for key in keys for c, side in ((1.0, one), (-1.0, other))])
    return Question(name, pairs, wanted)


def _gaps(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(cell.gap for cell, _ in results))


def best_is_cfg_adda(results: Sequence[Result]) -> list[Question]:
    mine = _rows(results, method="cfg_adda")
    others = [m for m in dict.fromkeys(c.method for c, _ in results) if m not in ("cfg_adda", "probe")]
    return [_difference(f"CFG-ADDA minus {METHODS[m].title}", mine, _rows(results, method=m)) for m in others]


def cotraining_helps(results: Sequence[Result]) -> list[Question]:
    one, other = _rows(results, method="cotraining"), _rows(results, method="real_only")
    return [_difference(f"co-training minus target only, {gap}", one, other, gap) for gap in _gaps(results)]


def balanced_is_best(results: Sequence[Result]) -> list[Question]:
    asked = [(1.0 if cell.method == "real_only" else cell.ratio, cell, row) for cell, row in results]
    sides = [[(c, r) for ratio, c, r in asked if inside(ratio)] for inside in (_balanced, lambda x: not _balanced(x))]
    return [_mean_difference("ratios in [.016, .3] minus the others", *sides)]


def _balanced(ratio: float) -> bool:
    return BALANCED[0] <= ratio <= BALANCED[1]


def _mean_difference(name: str, one: Sequence[Result], other: Sequence[Result]) -> Question:
    seeds = sorted({cell.seed for cell, _ in one} & {cell.seed for cell, _ in other})
    pairs = []
    for seed in seeds:
        sides = [[row for cell, row in side if cell.seed == seed] for side in (one, other)]
        pairs.append([(c / len(side), row) for c, side in zip((1.0, -1.0), sides, strict=True) for row in side])
    return Question(name, pairs)


def label_restores(gaps: Sequence[str]) -> Callable[[Sequence[Result]], list[Question]]:
    def ask(results: Sequence[Result]) -> list[Question]:
        with_label, without = _rows(results, label=True), _rows(results, label=False)
        names = [gap for gap in gaps if gap in _gaps(results)]
        return [_difference(f"label minus none, {gap}", with_label, without, gap) for gap in names]

    return ask


def half_is_best(results: Sequence[Result]) -> list[Question]:
    rows = [(cell, _at(row, OWN_SCALE)) for cell, row in results]
    others = [(scale, [(cell, _at(row, scale)) for cell, row in results]) for scale in (0.0, 1.0)]
    names = {0.0: "no label (scale 0)", 1.0: "the label alone (scale 1)"}
    return [_mean_difference(f"scale {OWN_SCALE} minus {names[scale]}", rows, other) for scale, other in others]


def _at(row: Row, scale: float) -> Row:
    """A guided row as it is at a scale."""
    if scale == OWN_SCALE:
        return row
    success = row["scales"][str(scale)]
    return {**row, "success": success, "successes": round(success * row["episodes"])}


# correlations


def distance_by_gap(results: Sequence[Result]) -> list[tuple[str, int, Correlation | None]]:
    """log distance against success under every gap; positive is published where physics alone differs."""
    return [
        (f"log distance and success, {gap}", 1 if gap == "physics" else -1, related(results, gap=gap))
        for gap in _gaps(results)
    ]


def _of_arm(results: Sequence[Result], arm: balance.Arm) -> Policies:
    return {(c.task, c.gap, c.seed): row for c, row in results if arm.has(c)}


def _policies(name: str, one: Policies, other: Policies, gap: str, **how: Any) -> Question:
    """A pair for every task and seed under a gap."""
    pairs = [[(1.0, one[key]), (-1.0, other[key])] for key in one if key in other and key[1] == gap]
    return Question(f"{name}, {gap}", pairs, **how)


def recipe_minus(arm: balance.Arm, name: str, **how: Any) -> Callable[[Sequence[Result]], list[Question]]:
    def ask(results: Sequence[Result]) -> list[Question]:
        sides = _of_arm(results, balance.RECIPE), _of_arm(results, arm)
        return [_policies(f"the recipe minus {name}", *sides, gap, **how) for gap in _gaps(results)]

    return ask


def distance_by_regime(results: Sequence[Result]) -> list[tuple[str, int, Correlation | None]]:
    published = (("overlapping", 1), ("structured", -1), ("disjoint", -1))
    return [(f"log distance and success, {name}", sign, related(results, regime=name)) for name, sign in published]


def related(
    results: Sequence[Result],
    *,
    of: str = "log_wasserstein",
    gap: str | None = None,
    regime: str | None = None,
    ratio: float | None = None,
    ranks: bool = False,
) -> Correlation | None:
    """The correlation of a measure with success over some of the cells."""
    some = [
        (row[of], row["success"], cell.seed)
        for cell, row in results
        if row[of] is not None and gap in (None, cell.gap) and regime in (None, row["regime"])
        if ratio is None or cell.ratio == ratio
    ]
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
    correlations=distance_by_gap,
)

DISTANCE_BY_REGIME = Claim(
    "Distance helps in the overlapping regime, harms in the disjoint one.",
    "r = +.61 overlapping, -.31 structured, -.70 disjoint",
    correlations=distance_by_regime,
)

HALF_GUIDANCE = Claim("Guidance is best near scale 0.5.", "lambda = -.5, that is scale .5", half_is_best)

RECIPE_CLAIMS = (
    Claim(
        "The recipe does no harm: it is not .05 worse than plain co-training, whatever the gap.",
        "-",
        recipe_minus(balance.PLAIN, "co-training", margin=HARM),
    ),
    Claim(
        "It helps: it is better than plain co-training under two gaps or more.",
        "-",
        recipe_minus(balance.PLAIN, "co-training"),
        family="plain",
        needed=2,
    ),
    Claim(
        "It helps where plain co-training was tuned as long, under two gaps or more.",
        "-",
        recipe_minus(balance.TUNED, "co-training as tuned"),
        family="tuned",
        needed=2,
    ),
)

LABEL_CLAIMS = (
    Claim(
        "Where physics alone differs a domain label raises the success.",
        "physics-only suffers without a label",
        label_restores(["physics"]),
    ),
    Claim(
        "Where only the command frame differs a domain label raises the success (our gap, not the paper's).",
        "-",
        label_restores(["control"]),
    ),
)
