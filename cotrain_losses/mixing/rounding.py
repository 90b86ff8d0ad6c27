"""Exact shares in whole rows: how many rows of each domain a batch holds.

    count_k = floor(b C_k + U) - floor(b C_(k-1) + U)         C_k cumulated shares, U uniform in [0, 1): Madow 1949

Each count is the floor or the ceiling of b s_k, they sum to b, and their expectation over U is b s_k.  U turns by a
fixed angle from batch to batch, so sums over batches stay near their expectation too: with two domains the turn is
b s_1, which puts every prefix of batches within one row of it; with more it is the golden angle, within a few.
Everything is an integer in units of 2^-48 rows, so batch number 10^9 is as exact as batch 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

ONE = 1 << 48
_GOLDEN = round(ONE * (math.sqrt(5) - 1) / 2)


class Counts:
    """Rows per domain: `counts.of(number)` in one batch, `counts.before(number)` in all batches before it.

    `shares` are one per domain and sum to 1, `rows` is b, `phase` in [0, 2^48) is where U begins.
    """

    def __init__(self, shares: Sequence[float], rows: int, phase: int) -> None:
        cumulated = [math.fsum(shares[: k + 1]) for k in range(len(shares) - 1)]
        self._edges = [round(round(rows * c, 9) * ONE) for c in cumulated] + [rows * ONE]
        self._turn = self._edges[0] % ONE if len(shares) == 2 else _GOLDEN
        self._phase = phase

    def of(self, number: int) -> list[int]:
        """The rows of each domain in batch `number`."""
        angle = (self._phase + number * self._turn) % ONE
        return _differences([(edge + angle) // ONE for edge in self._edges])

    def before(self, number: int) -> list[int]:
        """The rows of each domain in batches 0 to number - 1, in closed form: O(log) whatever the number."""
        turned = floor_sum(number, ONE, self._turn, self._phase)
        summed = [floor_sum(number, ONE, self._turn, self._phase + edge) - turned for edge in self._edges]
        return _differences(summed)


def floor_sum(n: int, m: int, a: int, b: int) -> int:
    """sum over i < n of floor((a i + b) / m), by Euclid's algorithm in O(log m) steps.

    >>> floor_sum(4, 3, 2, 1), sum((2 * i + 1) // 3 for i in range(4))
    (4, 4)
    """
    total = 0
    while n > 0:
        total += n * (n - 1) // 2 * (a // m) + n * (b // m)
        n, b = divmod(a % m * n + b % m, m)
        a, m = m, a % m
    return total


def _differences(cumulated: list[int]) -> list[int]:
    return [after - before for before, after in zip([0, *cumulated[:-1]], cumulated, strict=True)]
