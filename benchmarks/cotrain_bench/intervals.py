"""Intervals for success rates.

Wilson's interval speaks of the episodes of ONE trained policy: it leaves out what another training seed or another
draw of demonstrations would give, which is often more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    """A range that holds the success rate with 95 % confidence."""

    low: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        """Whether two intervals share a point."""
        return self.low <= other.high and other.low <= self.high


def wilson(successes: int, episodes: int) -> Interval:
    """Wilson's 95 % score interval (Wilson 1927); never leaves [0, 1], also at 0 and at all successes.

    >>> [round(x, 3) for x in wilson(55, 100)]
    [0.452, 0.644]
    """
    from scipy.stats import binomtest  # type: ignore[import-untyped]

    found = binomtest(successes, episodes).proportion_ci(0.95, method="wilson")
    return Interval(float(found.low), float(found.high))


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> tuple[int, int, float]:
    """Paired outcomes: episodes only the first solves, only the second solves, exact two-sided p of no difference.

    McNemar's exact test: given the episodes on which the two differ, each is as likely to win (McNemar 1947).

    >>> mcnemar([True, True, False], [False, True, False])
    (1, 0, 1.0)
    """
    from scipy.stats import binomtest

    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    differing = only_first + only_second
    p = binomtest(only_first, differing).pvalue if differing else 1.0
    return only_first, only_second, float(p)
