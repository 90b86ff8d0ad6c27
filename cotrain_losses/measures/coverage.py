"""Where the source is and the target is not: the part of the source that no target row covers.

    d(x) = min_j |x - y_j|                                       to the nearest target row
    r    = the 95 % quantile of min_j |y_i - y_j| over i          j of another episode than i
    uncovered = P_source[d(x) > r]                               .05 where the domains cover the same

A policy is co-trained on such a region by the source alone: whether it does there what the source shows depends on what
carries over.  Where two domains lie apart as a whole everything is uncovered, and the regime says so.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .._core.distances import squared_distances
from .sides import Side, subsample

CERTAIN = 0.25
"""the share of the source from which a region is spoken of: five times what equal coverage gives"""


class Cut(NamedTuple):
    """The single dimension that shows the region best: below or above a value."""

    dimension: int
    above: bool
    value: float
    accuracy: float
    """balanced, of telling uncovered rows from covered ones"""


class Uncovered(NamedTuple):
    """The region of the source that has no target data.

    >>> Uncovered(share=0.4, episodes=0.35, cut=None).certain
    True
    """

    share: float
    """of the source's rows; about .05 where both domains cover the same"""
    episodes: float
    """share of the source's episodes most of whose rows are in the region"""
    cut: Cut | None

    @property
    def certain(self) -> bool:
        """Whether it is worth a word."""
        return self.share > CERTAIN


def uncovered(source: Side, target: Side, *, rows: int = 2000, seed: int = 0) -> Uncovered | None:
    """The part of the source that no target row covers; None for fewer than two target episodes.

    Blind to shifts and scales common to both.  At most `rows` rows of each domain; time O(rows^2 d).

    >>> x = torch.arange(100.0)
    >>> source, target = Side.of("source", x), Side.of("target", x[:50])
    >>> round(uncovered(source, target).share, 2), uncovered(source, target).cut[:3]
    (0.49, (0, True, 50.5))
    """
    generator = torch.Generator().manual_seed(seed)
    source, target = (subsample(side, rows, generator) for side in (source, target))
    if target.episodes < 2:
        return None
    own, all_rows = target.features.std(0), torch.cat([source.features, target.features]).std(0)
    scale = torch.where(own > 1e-9 * all_rows, own, all_rows)  # a dimension that the target holds still
    unit = torch.where(scale > 0, scale, 1.0)
    x, y = ((side.features - target.features.mean(0)) / unit for side in (source, target))
    nearest = squared_distances(y, y).masked_fill(target.groups[:, None] == target.groups, torch.inf).amin(1)
    outside = squared_distances(x, y).amin(1) > nearest.quantile(0.95)
    place = torch.unique(source.groups, return_inverse=True)[1]
    of_episode = torch.zeros(int(place.max()) + 1).index_add_(0, place, outside.float()) / place.bincount()
    return Uncovered(float(outside.float().mean()), float((of_episode > 0.5).float().mean()), _cut(source, outside))


def _cut(source: Side, outside: Tensor) -> Cut | None:
    n, k = len(outside), int(outside.sum())
    if not 0 < k < n:
        return None
    best: Cut | None = None
    for dimension in range(source.features.shape[1]):
        value, order = source.features[:, dimension].sort()
        caught = outside[order].double().cumsum(0) / k - (~outside[order]).double().cumsum(0) / (n - k)
        ends = torch.cat([value.diff() > 0, value.new_zeros(1, dtype=torch.bool)])
        gain, at = torch.where(ends, caught.abs(), -1.0).max(0)
        accuracy = (1 + float(gain)) / 2
        if best is None or accuracy > best.accuracy:
            middle = float(value[at] + value[min(int(at) + 1, n - 1)]) / 2
            best = Cut(dimension, bool(caught[at] < 0), middle, accuracy)
    return best
