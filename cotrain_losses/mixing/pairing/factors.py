"""Factors on a transport cost that make matched rows cheap to couple: `pairing` of `OptimalTransport`.

factor_ij = discount where i and j are matched, else 1          Punamiya et al. 2025 (EgoBridge)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..._core.device import moved
from ..._core.rows import Rows
from .alignments import Alignment, Places, checked_gamma
from .warping import warped


class AlignedPairs:
    """`pairing` of `OptimalTransport` from alignments: matched frames cost `discount` of what they would.

    Args:
        aligned, source, target: as in `PairedSampler`.
        discount: factor in [0, 1] on the cost of a matched pair.
        of: the extra (n,) that holds each row's dataset index.

    >>> path = np.array([[0, 0], [1, 1]])
    >>> aligned = [Alignment(source=0, target=0, distance=0.02, path=path)]
    >>> frames = {"source": [range(0, 2)], "target": [range(2, 4)]}
    >>> pairing = AlignedPairs(aligned, **frames, discount=0.5)
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
        self._pairs = torch.from_numpy(np.unique(rows * self._base + columns))

    def __call__(self, source: Rows, target: Rows) -> Tensor:
        """The (n, m) factors."""
        device = source.features.device
        rows, columns = (moved(side.extra(self.of).detach(), device).reshape(-1).long() for side in (source, target))
        known = torch.isin(rows[:, None] * self._base + columns, moved(self._pairs, device)) & (columns < self._base)
        return _factors(known, self.discount, source.features)


class NearestByDTW:
    """`pairing` of `OptimalTransport` found in the batch: the source row nearest to a target row by DTW is discounted.

        factor_ij = discount  if i = argmin_k DTW(x_k, y_j),  else 1        Punamiya et al. 2025

    Args:
        of: the extra (n, h, d) that is compared: action chunks, cut at their `valid` steps where rows have them.
        discount: factor in [0, 1] on the cost of each target row's nearest source row; 1 changes nothing.
        gamma: 0 is DTW; above, soft-DTW.

    Where no source row counts (no mass, no valid step) nothing is discounted.  Time O(n m h^2 d) where the rows are, in
    2 h - 1 passes of memory O(n m h) each; the host waits for nothing.

    >>> from cotrain_losses import OptimalTransport
    >>> term = OptimalTransport(0.1, pairing=NearestByDTW("action", discount=0.5))
    """

    def __init__(self, of: str = "action", *, discount: float = 0.5, gamma: float = 0.0) -> None:
        self.of, self.discount, self.gamma = of, _checked_discount(discount), checked_gamma(gamma)

    @torch.no_grad()
    def __call__(self, source: Rows, target: Rows) -> Tensor:
        """The (n, m) factors."""
        (x, ends), (y, stops) = self._chunks(source), self._chunks(target)
        if not len(x) * len(y):
            return source.features.new_ones(len(x), len(y))
        distances = warped(x, y, ends, stops, gamma=self.gamma)
        if source.mass is not None:
            distances = distances.masked_fill(moved(source.mass, x.device)[:, None] <= 0, torch.inf)
        least, place = distances.min(0)
        matched = (torch.arange(len(x), device=x.device)[:, None] == place) & least.isfinite()
        return _factors(matched, self.discount, source.features)

    def _chunks(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """(n, h, d) trajectories where the features are, valid steps first, and how many are valid (n,)."""
        value = moved(rows.extra(self.of).detach(), rows.features.device)
        if value.ndim != 3:
            raise ValueError(
                f"DTW compares trajectories, extras[{self.of!r}] of shape (rows, steps, width), got "
                f"{tuple(value.shape)}.\nKeep the action chunk's steps apart: CoTrain(extras=...) without flattening."
            )
        if rows.valid is None:
            return value, torch.full((len(value),), value.shape[1], device=value.device)
        valid = moved(rows.valid, value.device)
        order = (~valid).to(torch.uint8).argsort(dim=1, stable=True)
        return value.gather(1, order[..., None].expand_as(value)), valid.sum(1)


def _indices(demonstrations: Places, frames: list[tuple[int, NDArray[np.int64]]]) -> NDArray[np.int64]:
    parts = (np.asarray(demonstrations[number], np.int64)[places] for number, places in frames)
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _factors(matched: Tensor, discount: float, like: Tensor) -> Tensor:
    return like.new_ones(matched.shape).masked_fill(matched, discount)


def _checked_discount(discount: float) -> float:
    if not 0.0 <= discount <= 1.0:
        raise ValueError(f"discount is a factor on the cost of matched pairs and lies in [0, 1], got {discount}.")
    return float(discount)
