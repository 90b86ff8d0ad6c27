"""What it costs to move a source row onto a target row: a sum of blocks.

    C_ij = [ sum_k weight_k |x^k_i - y^k_j|^2 ] * factor_ij

A block compares the features or an extra, squared and summed over all its entries.  An extra of shape
(n, h, ...) with `valid` (n, h) is compared over the steps that are real on both sides, as their mean times
h: padding changes nothing, and without padding it is the plain sum.  Two rows that share no real step
differ by nothing in that block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ..._core.distances import squared_distances
from ..._core.rows import Rows

Callback: TypeAlias = "Callable[[Rows, Rows], Tensor]"


@dataclass(frozen=True)
class Block:
    """One summand of a cost: weight * |x - y|^2 of the features or of an extra.

    Args:
        of: "features", or the name of an extra.
        weight: in cost units per squared unit of what is compared.
        detach: whether the block shapes the coupling only and sends no gradient.

    >>> Block("action", weight=0.5, detach=True)
    Block(of='action', weight=0.5, detach=True)
    """

    of: str = "features"
    weight: float = 1.0
    detach: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"a cost block's weight is finite and must be >= 0, got {self.weight} for {self.of!r}.")

    def __call__(self, source: Rows, target: Rows) -> Tensor:
        """The (n, m) matrix of this block."""
        if self.masked(source, target):
            return self.weight * _over_valid(*self._sides(source, target), source, target)
        return squared_distances(*self.scaled(source, target))

    def scaled(self, source: Rows, target: Rows) -> tuple[Tensor, Tensor]:
        """What is compared, flattened to (n, k) and (m, k), times the root of the weight."""
        x, y = self._sides(source, target)
        if x.ndim > 2:
            x, y = x.flatten(1), y.flatten(1)
        return (x, y) if self.weight == 1.0 else (self.weight**0.5 * x, self.weight**0.5 * y)

    def masked(self, source: Rows, target: Rows) -> bool:
        """Whether padding has to be left out of this block."""
        if self.of == "features" or (source.valid is None and target.valid is None):
            return False
        return self._read(source).ndim >= 3

    def _sides(self, source: Rows, target: Rows) -> tuple[Tensor, Tensor]:
        x, y = self._read(source), self._read(target)
        if x.shape[1:] != y.shape[1:]:
            raise ValueError(
                f"a cost block compares extras of one shape per row, got {self.of!r} of shape {tuple(x.shape)} in the "
                f"source and {tuple(y.shape)} in the target.\nPad or resample them to one length (with valid=...)."
            )
        return x, y

    def _read(self, rows: Rows) -> Tensor:
        value = rows.features if self.of == "features" else rows.extra(self.of)
        value = value if value.is_floating_point() else value.to(rows.features)
        value = value.unsqueeze(1) if value.ndim == 1 else value
        return value.detach() if self.detach else value


def total_cost(blocks: Sequence[Callback], source: Rows, target: Rows) -> Tensor:
    """The sum of all blocks, (n, m); a block may be any function of the two sides."""
    total = source.features.new_zeros(len(source), len(target))
    for block in blocks:
        part = block(source, target)
        if part.shape != total.shape:
            raise ValueError(
                f"a cost gives one entry per pair of rows, expected {tuple(total.shape)} and got {tuple(part.shape)}.\n"
                "Return a matrix (source rows, target rows)."
            )
        total = total + part
    return total


def joined_rows(blocks: Sequence[Callback], source: Rows, target: Rows) -> tuple[Tensor, Tensor] | None:
    """Rows x, y with total cost |x_i - y_j|^2, where every block is a plain squared distance; else None."""
    sides = []
    for block in blocks:  # torch 2.4 compiles no generator here
        if not isinstance(block, Block) or block.masked(source, target):
            return None
        sides.append(block.scaled(source, target))
    return (sides[0][0], sides[0][1]) if len(sides) == 1 else (_cat(x for x, _ in sides), _cat(y for _, y in sides))


def _cat(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat(list(parts), 1)


def _over_valid(x: Tensor, y: Tensor, source: Rows, target: Rows) -> Tensor:
    """h times the mean over common real steps of |x_i,t - y_j,t|^2, by matrix products only."""
    x, y = x.flatten(2), y.flatten(2)
    v, w = (_mask(rows, value) for rows, value in ((source, x), (target, y)))
    x, y = x.where(v[..., None] > 0, x.new_zeros(())), y.where(w[..., None] > 0, y.new_zeros(()))
    common = v @ w.T
    squared = x.square().sum(2) @ w.T + v @ y.square().sum(2).T - 2.0 * x.flatten(1) @ y.flatten(1).T
    return (x.shape[1] / common.clamp_min(1.0)) * squared.clamp_min(0.0)


def _mask(rows: Rows, value: Tensor) -> Tensor:
    if rows.valid is None:
        return torch.ones_like(value[..., 0])
    if rows.valid.shape != value.shape[:2]:
        raise ValueError(
            f"valid marks the real steps of chunks (n, h, ...), expected {tuple(value.shape[:2])} and got "
            f"{tuple(rows.valid.shape)}.\nPass the mask of the chunk that the cost compares."
        )
    return rows.valid.to(value)
