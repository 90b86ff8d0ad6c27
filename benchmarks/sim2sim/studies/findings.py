"""What was published, and a verdict on each finding from the cells of a study.

    reproduced     every contrast of the finding has the published sign, at .05 after Holm over the study's contrasts
    contradicted   one of them has the opposite sign, likewise, or its interval leaves no room for LEAST in that sign
    underpowered   neither: the data do not say; the smallest difference the study could have found stands beside it
    not asked      no cell of this preset bears on it

Correlations have no test of their own here: their 95 % interval over pairs has to lie on one side of zero.
Published: Lei et al., "A Mechanistic Analysis of Sim-and-Real Co-Training in Generative Robot Policies", ICML 2026.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...paired import Contrast, Correlation, Weighted, contrast, correlation, holm, not_worse
from ...results import Row
from ..cell import Cell
from ..methods import TITLES
from . import balance
from .plans import OWN_SCALE

Result: TypeAlias = "tuple[Cell, Row]"

BALANCED = (0.016, 0.3)
"""the band of ratios that the paper's experiments found best"""

LEVEL = 0.05

Policies: TypeAlias = "dict[tuple[str, str, int], Row]"

HARM = 0.05
"""a loss of success that the recipe is to exclude, gap by gap"""

LEAST = 0.02
"""a difference of success that would matter: what the paper's best method has over plain co-training is .03"""


@dataclass(frozen=True)
class Question:
    """One contrast of a finding: (coefficient, row) for each pair; wanted is its published sign."""

    name: str
    pairs: Sequence[Weighted]
    wanted: int = 1
    margin: float | None = None
    """no contrast with zero: is the mean above -margin?"""

    def asked(self, family: int) -> Contrast:
        """What the pairs say."""
        return contrast(self.pairs, family=family) if self.margin is None else not_worse(self.pairs, self.margin)


@dataclass(frozen=True)
class Answer:
    """What the cells say to a question."""

    name: str
    wanted: int
    found: Contrast | Correlation
    p: float | None
    """after Holm"""
    margin: float | None = None

    @property
    def sign(self) -> int:
        """+1 where the published sign is established, -1 where it is ruled out, else 0."""
        if self.margin is not None:
            return (self.found.low > -self.margin) - (self.found.high < -self.margin)
        low, high = sorted((self.wanted * self.found.low, self.wanted * self.found.high))
        if isinstance(self.found, Correlation):
            return (low > 0) - (high < 0)
        if self.p is not None and self.p <= LEVEL:
            return 1 if self.wanted * self.found.mean > 0 else -1
        return -1 if high < LEAST else 0


@dataclass(frozen=True)
class Finding:
    """A published finding and what became of it."""

    claim: str
    published: str
    answers: Sequence[Answer]
    needed: int | None = None
    """how many answers have to have the wanted sign; None is all"""

    @property
    def verdict(self) -> str:
        if not self.answers:
            return "not asked"
        signs = sorted((answer.sign for answer in self.answers), reverse=True)
        decides = signs[(self.needed or len(signs)) - 1]
        return {1: "reproduced", 0: "underpowered", -1: "contradicted"}[decides]


@dataclass(frozen=True)
class Claim:
    """A published finding as questions to the cells."""

    claim: str
    published: str
    questions: Callable[[Sequence[Result]], list[Question]] | None = None
    correlations: Callable[[Sequence[Result]], list[tuple[str, int, Correlation | None]]] | None = None
    family: str = ""
    """claims of one family are corrected together for how many contrasts they have"""
    needed: int | None = None


def findings(study: str, results: Sequence[Result]) -> list[Finding]:
    """The verdicts of a study; contrasts of a family of findings, all of them unless said, are Holm's family too."""
    claims = CLAIMS[study]
    tested = _tested(claims, results)
    related = [
        [Answer(n, w, r, None) for n, w, r in (c.correlations(results) if c.correlations else []) if r] for c in claims
    ]
    return [Finding(c.claim, c.published, [*t, *r], c.needed) for c, t, r in zip(claims, tested, related, strict=True)]


def _tested(claims: Sequence[Claim], results: Sequence[Result]) -> list[list[Answer]]:
    """The answers to each claim's questions.  A question with a margin is not corrected: all of them have to hold."""
    asked = [[q for q in (c.questions(results) if c.questions else []) if len(q.pairs) > 1] for c in claims]
    sizes = Counter(c.family for c, some in zip(claims, asked, strict=True) for q in some if q.margin is None)
    found = [[q.asked(sizes[c.family]) for q in some] for c, some in zip(claims, asked, strict=True)]
    adjusted = {family: iter(holm([x.p for x, q in _of(family, claims, found, asked)])) for family in sizes}
    return [
        [
            Answer(q.name, q.wanted, x, next(adjusted[c.family]) if q.margin is None else x.p, q.margin)
            for q, x in zip(some, these, strict=True)
        ]
        for c, some, these in zip(claims, asked, found, strict=True)
    ]


def _of(
    family: str, claims: Sequence[Claim], found: Sequence[Sequence[Contrast]], asked: Sequence[Sequence[Question]]
) -> Iterator[tuple[Contrast, Question]]:
    for claim, these, some in zip(claims, found, asked, strict=True):
        if claim.family == family:
            yield from ((x, q) for x, q in zip(these, some, strict=True) if q.margin is None)


# questions


def _rows(results: Sequence[Result], **wanted: object) -> dict[tuple[str, str, int], Row]:
    """(task, gap, seed) -> the row of the cell that has these settings."""
    return {
        (cell.task, cell.gap, cell.seed): row
        for cell, row in results
        if all(getattr(cell, name) == value for name, value in wanted.items())
    }


def _difference(name: str, one: dict, other: dict, gap: str | None = None, wanted: int = 1) -> Question:
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
    return [_difference(f"CFG-ADDA minus {TITLES[m]}", mine, _rows(results, method=m)) for m in others]


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


_METHODS = [
    Claim("Co-training beats target-only training.", "15.3 against 8.6 of 30 on the robot", cotraining_helps),
    Claim(
        "CFG-ADDA is best on average.",
        ".55, the others .51 to .53 (simulation); 21 of 30, the others 14.3 to 15.3 (robot)",
        best_is_cfg_adda,
    ),
]

CLAIMS: dict[str, list[Claim]] = {
    "methods": _METHODS,
    "image": _METHODS,
    "ratios": [
        Claim("Balanced ratios are best.", ".52 in [.016, .3], .48 outside (co-training)", balanced_is_best),
    ],
    "correlation": [
        Claim(
            "The closer the domains, the higher the success, except where physics alone differs.",
            "r = -.76 visual, +.57 physics, -.70 both",
            correlations=distance_by_gap,
        ),
    ],
    "regimes": [
        Claim(
            "Distance helps in the overlapping regime, harms in the disjoint one.",
            "r = +.61 overlapping, -.31 structured, -.70 disjoint",
            correlations=distance_by_regime,
        ),
    ],
    "guidance": [
        Claim("Guidance is best near scale 0.5.", "lambda = -.5, that is scale .5", half_is_best),
    ],
    "balance-calibration": [],
    "balance-development": [],
    "balance": [
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
    ],
    "stability": [],
    "label": [
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
    ],
}
