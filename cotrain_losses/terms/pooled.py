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
from .pair import Pair

TILE, WIDE = 16, 32
MOST = 32768  # rows in all: a matrix of theirs has fewer entries than int32 counts


class Pooled(NamedTuple):
    """Both sides' rows as constants, one after the other, with their masses."""

    rows: Tensor
    mass: Tensor
    n: int
    m: int

    @classmethod
    def of(cls, x: Tensor, y: Tensor, masses: tuple[Tensor, Tensor]) -> Pooled:
        """Rows x (n, d) and y (m, d)."""
        return cls(torch.cat([x, y]).detach(), torch.cat(masses), len(x), len(y))

    def __len__(self) -> int:
        return self.n + self.m

    def distances(self, scale: float, dtype: torch.dtype, *, within: bool) -> Tensor:
        """(k, k) scale |z_i - z_j|^2; pairs of one side only where `within`, of rows without mass not defined."""
        from .triton_rows import distances

        k, d = self.rows.shape
        out, tiles = self.rows.new_empty(k, k, dtype=dtype), -(-k // TILE)
        held = self.rows, self.mass, out, self.n, k, d, scale
        kernels.launch(distances, (tiles, tiles), *held, warps=8, WITHIN=within, TILE=TILE, STEP=WIDE)
        return out

    def pulled(self, weights: Tensor, parts: Tensor, factor: float) -> tuple[Tensor, Tensor, Tensor]:
        """The sum of `parts`, and factor sum_j W_ij (z_i - z_j) at the rows of either side."""
        from .triton_rows import pull

        k, d = self.rows.shape
        at, value = torch.empty_like(self.rows), self.rows.new_empty(())
        held = self.rows, self.mass, weights, parts, at, value, k, d, parts.numel(), factor
        kernels.launch(pull, (-(-k // WIDE), -(-d // WIDE)), *held, TILE=WIDE, STEP=WIDE)
        return value, at[: self.n], at[self.n :]


def poolable(pair: Pair) -> bool:
    """Whether the kernels take this pair: rows without groups, on a device that has kernels."""
    features, some = (pair.source.features, pair.target.features), min(pair.n, pair.m) > 0
    return some and pair.n + pair.m <= MOST and not (pair.eager or pair.grouped) and kernels.usable(*features)
