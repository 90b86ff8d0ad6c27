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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...paired import Contrast, Correlation, Weighted, contrast, holm
from ...results import Row
from ..cell import Cell

Result: TypeAlias = "tuple[Cell, Row]"
LEVEL = 0.05
LEAST = 0.02  # a difference of success that would matter: the paper's best has .03 over plain co-training


@dataclass(frozen=True)
class Question:
    """One contrast of a finding: (coefficient, row) for each pair; wanted is its published sign."""

    name: str
    pairs: Sequence[Weighted]
    wanted: int = 1
    margin: float | None = None  # no contrast with zero: is the mean above -margin?


@dataclass(frozen=True)
class Answer:
    name: str
    wanted: int
    estimate: Contrast | Correlation
    p: float | None  # after Holm
    margin: float | None = None

    @property
    def sign(self) -> int:
        """+1 where the published sign is established, -1 where it is ruled out, else 0."""
        if self.margin is not None:
            return (self.estimate.low > -self.margin) - (self.estimate.high < -self.margin)
        low, high = sorted((self.wanted * self.estimate.low, self.wanted * self.estimate.high))
        if isinstance(self.estimate, Correlation):
            return (low > 0) - (high < 0)
        if self.p is not None and self.p <= LEVEL:
            return 1 if self.wanted * self.estimate.mean > 0 else -1
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
    """A published finding as questions to the cells, those of correlation answered already."""

    claim: str
    published: str
    questions: Callable[[Sequence[Result]], Sequence[Question | Answer]]
    family: str = ""  # claims of one family are corrected together for how many contrasts they have
    needed: int | None = None


def judged(claims: Sequence[Claim], results: Sequence[Result]) -> list[Finding]:
    """Every claim with its answers; contrasts of a family of claims, all of them unless said, are Holm's family too."""
    questions = {claim: claim.questions(results) for claim in claims}
    answers = {claim: [q for q in some if isinstance(q, Answer)] for claim, some in questions.items()}
    asked = [(c, q) for c, some in questions.items() for q in some if isinstance(q, Question) and len(q.pairs) > 1]
    for family in dict.fromkeys(claim.family for claim in claims):
        tested = [(c, q) for c, q in asked if c.family == family and q.margin is None]
        contrasts = [contrast(q.pairs, family=len(tested)) for _, q in tested]
        for (c, q), x, p in zip(tested, contrasts, holm([x.p for x in contrasts]), strict=True):
            answers[c].append(Answer(q.name, q.wanted, x, p))
    for c, q in asked:
        if q.margin is not None:  # not corrected: all of a claim's have to hold
            x = contrast(q.pairs, margin=q.margin)
            answers[c].append(Answer(q.name, q.wanted, x, x.p, q.margin))
    return [Finding(c.claim, c.published, answers[c], c.needed) for c in claims]


def select(results: Sequence[Result], **wanted: object) -> list[Result]:
    """The results of the cells that have these settings."""
    return [(c, row) for c, row in results if all(getattr(c, name) == value for name, value in wanted.items())]


def distinct(results: Sequence[Result], setting: str) -> list[Any]:
    """The values that a setting has over the cells, in order of first appearance."""
    return list(dict.fromkeys(getattr(cell, setting) for cell, _ in results))
