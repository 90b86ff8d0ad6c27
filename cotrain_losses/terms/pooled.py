"""Terms as sums over pairs of pooled rows, by Triton kernels.

    z = [x; y]  (k, d), the sources first,   masses (k,)        at_i = sum_j W_ij (z_i - z_j),   W (k, k)

A kernel of a term turns the squared distances of all pairs into W and the parts of its value; tiles of rows that have
no mass are left out, as the device finds them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .._core import kernels
from .._core.checks import post_counts
from .._core.rows import SIDES
from .gradients import with_gradients
from .pair import Pair

TILE, WIDE = 16, 32
MOST = 32768  # rows in all: a matrix of theirs has fewer entries than int32 counts


class Pooled(NamedTuple):
    """Both sides' rows, one after the other, in the type they came in, their masses, and what tells of bad rows."""

    pair: Pair
    rows: Tensor
    mass: Tensor
    bad: Tensor
    own: bool
    """whether the rows are the pair's features"""

    @classmethod
    def of(cls, pair: Pair, least: int = 1, sides: tuple[Tensor, Tensor] | None = None) -> Pooled:
        """The features of a pair, or what a cost reads in their place; `least` as in `Pair.masses`."""
        rows = torch.cat(pair.features if sides is None else sides)
        own = sides is None or all(x is z for x, z in zip(sides, pair.features, strict=True))
        return cls(pair, rows, pair.pooled_mass(least), rows.new_empty(len(rows), dtype=torch.float32), own)

    def __len__(self) -> int:
        return self.rows.shape[0]

    def distances(self, scale: float, dtype: torch.dtype, *, within: bool, cleared: Tensor | None = None) -> Tensor:
        """(k, k) scale |z_i - z_j|^2; pairs of one side only where `within`, of rows without mass not defined.

        Counts of values that are not finite go into `bad`; `cleared` (int32) is set to zero.
        """
        from .triton_rows import distances

        k, d = self.rows.shape
        out, tiles = self.rows.new_empty(k, k, dtype=dtype), -(-k // TILE)
        held = self.rows.detach(), self.mass, out, self.bad, self.bad if cleared is None else cleared
        clear = 0 if cleared is None else cleared.numel()
        sizes = {"WITHIN": within, "CLEAR": clear, "TILE": TILE, "STEP": WIDE}
        kernels.launch(distances, (tiles, tiles), *held, self.pair.n, k, d, scale, warps=8, **sizes)
        return out

    def valued(self, weights: Tensor, parts: Tensor, factor: float, *, within: bool = True) -> Tensor:
        """The sum of `parts`, with factor sum_j W_ij (z_i - z_j) as its gradient at the rows of either side.

        Pairs of one side count only where `within`.  Where a row is not finite the value is NaN, and the flags tell.
        """
        from .triton_rows import pull

        pair, (k, d) = self.pair, self.rows.shape
        at, value = (self.rows.new_empty(size, dtype=torch.float32) for size in ((k, d), ()))
        held = self.rows.detach(), self.mass, weights, parts, self.bad, at, value, pair.n, k, d, parts.numel(), factor
        kernels.launch(pull, (-(-k // WIDE), -(-d // WIDE)), *held, WITHIN=within, TILE=WIDE, STEP=WIDE)
        found = with_gradients(value, (self.rows, at))
        if self.own:
            for side, bad in zip(SIDES, (self.bad[: pair.n], self.bad[pair.n :]), strict=True):
                post_counts(f"{pair.name}: the {side} features", bad, pair.flags)
            pair.finished = found if pair.plain or pair.weighable else None
        return found


def poolable(pair: Pair) -> bool:
    """Whether the kernels take this pair: rows without groups, on a device that has kernels."""
    some = min(pair.n, pair.m) > 0
    return some and pair.n + pair.m <= MOST and not (pair.eager or pair.grouped) and kernels.readable(*pair.features)
