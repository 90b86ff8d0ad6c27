"""A verdict on each claim from the cells of a study.

    reproduced     every contrast of the finding has the published sign, at .05 after Holm over the study's contrasts
    contradicted   one of them has the opposite sign, likewise, or its interval leaves no room for LEAST in that sign
                   (where fewer contrasts are needed, too few can still have the published one)
    underpowered   neither: the data do not say; the smallest difference the study could have found stands beside it
    not asked      no cell of this preset bears on it

Correlations have no test of their own here: their 95 % interval over pairs has to lie on one side of zero.
A question with a margin asks whether the mean is above -margin, at .05, one-sided; all of a claim's have to say yes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ...paired import Contrast, Correlation, Weighted, contrast, holm, not_worse
from ...results import Row
from ..cell import Cell

Result: TypeAlias = "tuple[Cell, Row]"
LEVEL = 0.05
LEAST = 0.02
"""a difference of success that would matter: what the paper's best method has over plain co-training is .03"""


@dataclass(frozen=True)
class Question:
    """One contrast of a finding: (coefficient, row) for each pair; wanted is its published sign."""

    name: str
    pairs: Sequence[Weighted]
    wanted: int = 1
    margin: float | None = None  # no contrast with zero: is the mean above -margin?

    def asked(self, family: int) -> Contrast:
        """What the pairs say."""
        return contrast(self.pairs, family=family) if self.margin is None else not_worse(self.pairs, self.margin)


@dataclass(frozen=True)
class Answer:
    """What the cells say to a question."""

    name: str
    wanted: int
    found: Contrast | Correlation
    p: float | None  # after Holm
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
    needed: int | None = None  # how many answers have to have the wanted sign; None is all

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
    family: str = ""  # claims of one family are corrected together for how many contrasts they have
    needed: int | None = None


def judged(claims: Sequence[Claim], results: Sequence[Result]) -> list[Finding]:
    """Every claim with its answers; contrasts of a family of claims, all of them unless said, are Holm's family too."""
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
