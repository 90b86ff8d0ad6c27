"""The lattice: which setting turns one method into another, each edge checked on drawn inputs.

An equality holds to rounding, or to what two solves leave; a definition to the last bit, since at that setting one
method computes what the other does; a limit is taken at a large (or small) setting and holds to the tolerance stated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch

from cotrain_losses import Method

from .case import Answer, at_the_features, doubled, relative_error
from .draws import Draw, draw_of

Pair: TypeAlias = tuple[Answer, Answer]


@dataclass(frozen=True)
class Edge:
    """`start` becomes `end` by `setting`.

    Args:
        kind: "equality", "definition" or "limit".
        answers: what both are on a draw.
    """

    start: str
    end: str
    setting: str
    kind: str
    answers: Callable[[Draw], Pair]
    tolerance: float
    paired: bool = False

    def error(self, draws: int, seed: int = 0) -> float:
        """The worst relative difference of values and gradients over the draws."""
        return max(_difference(*self.answers(draw_of(seed + k, paired=self.paired))) for k in range(draws))


def _difference(first: Answer, second: Answer) -> float:
    groups = zip(first.gradients, second.gradients, strict=True)
    return max([relative_error([first.value], [second.value]), *(relative_error(*group) for group in groups)])


EDGES: list[Edge] = []
"""every edge, in the order of its definition"""


def edge(
    start: str, end: str, setting: str, *, kind: str = "equality", tolerance: float = 1e-9, paired: bool = False
) -> Callable[[Callable[[Draw], Pair]], Callable[[Draw], Pair]]:
    """Adds an edge to the lattice."""

    def add(answers: Callable[[Draw], Pair]) -> Callable[[Draw], Pair]:
        EDGES.append(Edge(start, end, setting, kind, answers, 0.0 if kind == "definition" else tolerance, paired))
        return answers

    return add


def made(draw: Draw, recipe: Callable[[], Method]) -> Method:
    """A recipe's method in float64, with the initial weights of the draw."""
    torch.manual_seed(draw.seed)
    return doubled(recipe(), draw)


def at(draw: Draw, method: Method) -> Answer:
    """Value and gradients at the features only."""
    whole = at_the_features(draw, method)
    return Answer(whole.value, whole.gradients[:1])
