"""Factors on a transport cost that make matched rows cheap to couple.

factor_ij = discount where i and j are matched, else 1          Punamiya et al. 2025 (EgoBridge)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..._core.rows import Rows
from .alignments import Alignment, Places, checked_gamma, dtw_distances


class AlignedPairs:
    """`pairing` of `OptimalTransport` from alignments: matched frames cost `discount` of what they would.

    Args:
        aligned, source, target: as in `PairedSampler`.
        discount: factor in [0, 1] on the cost of a matched pair.
        of: the extra (n,) that holds each row's dataset index.
    """

    def __init__(
        self,
        aligned: Sequence[Alignment],
        source: Places,
        target: Places,
        *,
        discount: float = 0.5,
        of: str = "index",
    ) -> None:
        self.discount, self.of = _checked_discount(discount), of
        rows = _indices(source, [(a.source, a.path[:, 0]) for a in aligned])
        columns = _indices(target, [(a.target, a.path[:, 1]) for a in aligned])
        self._base = int(columns.max(initial=0)) + 1
        self._pairs = np.unique(rows * self._base + columns)

    def __call__(self, source: Rows, target: Rows) -> Tensor:
        """The (n, m) factors."""
        rows, columns = (side.extra(self.of).detach().cpu().reshape(-1).long().numpy() for side in (source, target))
        known = np.isin(rows[:, None] * self._base + columns, self._pairs) & (columns < self._base)
        return _factors(torch.from_numpy(known), self.discount, source.features)


class NearestByDTW:
    """`pairing` of `OptimalTransport` found in the batch: the source row nearest to a target row by DTW is discounted.

        factor_ij = discount  if i = argmin_k DTW(x_k, y_j),  else 1        Punamiya et al. 2025

    Args:
        of: the extra (n, h, d) that is compared: action chunks, cut at their `valid` steps where rows have them.
        discount: factor in [0, 1] on the cost of each target row's nearest source row; 1 changes nothing.
        gamma: 0 is DTW; above, soft-DTW.

    Cost O(n m h^2 d) on the CPU at every call.
    """

    def __init__(self, of: str = "action", *, discount: float = 0.5, gamma: float = 0.0) -> None:
        self.of, self.discount, self.gamma = of, _checked_discount(discount), checked_gamma(gamma)

    def __call__(self, source: Rows, target: Rows) -> Tensor:
        """The (n, m) factors."""
        distances = dtw_distances(self._chunks(source), self._chunks(target), gamma=self.gamma)
        matched = torch.zeros(distances.shape, dtype=torch.bool)
        matched[torch.from_numpy(distances.argmin(0)), torch.arange(distances.shape[1])] = True
        return _factors(matched, self.discount, source.features)

    def _chunks(self, rows: Rows) -> list[NDArray[np.float64]]:
        value = rows.extra(self.of).detach().cpu()
        if value.ndim != 3:
            raise ValueError(
                f"DTW compares trajectories, extras[{self.of!r}] of shape (rows, steps, width), got "
                f"{tuple(value.shape)}.\nKeep the action chunk's steps apart: CoTrain(extras=...) without flattening."
            )
        if rows.valid is None:
            return list(value.numpy())
        return [chunk[keep].numpy() for chunk, keep in zip(value, rows.valid.cpu(), strict=True)]


def _indices(demonstrations: Places, frames: list[tuple[int, NDArray[np.int64]]]) -> NDArray[np.int64]:
    parts = (np.asarray(demonstrations[number], np.int64)[places] for number, places in frames)
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _factors(matched: Tensor, discount: float, like: Tensor) -> Tensor:
    return like.new_ones(matched.shape).masked_fill(matched.to(like.device), discount)


def _checked_discount(discount: float) -> float:
    if not 0.0 <= discount <= 1.0:
        raise ValueError(f"discount is a factor on the cost of matched pairs and lies in [0, 1], got {discount}.")
    return float(discount)
