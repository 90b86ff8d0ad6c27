"""What each episode of a dataset is like.  Its frames resemble each other: what is independent is an episode.

mean       of its frames                       deviation  of its frames from that mean
step       root mean square change of a frame  jump       the largest change
first      frame                               low, high  the least and the largest value
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...datasets.fields import Array


@dataclass(frozen=True)
class Episodes:
    """(episodes,) frames, and (episodes, d) of every dimension."""

    frames: Array
    mean: Array
    deviation: Array
    step: Array
    jump: Array
    first: Array
    low: Array
    high: Array

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows: Any) -> Episodes:
        return Episodes(*(getattr(self, part)[rows] for part in self.__dataclass_fields__))

    def of(self, dimensions: Array) -> Episodes:
        """The same episodes, of some dimensions."""
        _, *parts = (getattr(self, part) for part in self.__dataclass_fields__)
        return Episodes(self.frames, *(part[:, dimensions] for part in parts))


@dataclass
class Collected:
    """Sums over the pieces of a dataset: `add` each piece, then `finished` is the table of its episodes."""

    reference: Any = None
    labels: list[Array] = field(default_factory=list)
    sums: list[Array] = field(default_factory=list)
    """of each stretch of one episode: [count, changes, sum, sum of squares, sum of squared changes]"""
    extremes: list[Array] = field(default_factory=list)
    """[first, least, largest, largest change]"""

    def add(self, episode: Array, values: Array) -> None:
        """A piece: (n,) episodes and (n, d) values."""
        x = values.astype(np.float64)
        self.reference = x[0] if self.reference is None else self.reference
        starts = np.flatnonzero(np.r_[True, episode[1:] != episode[:-1]])
        x = x - self.reference
        change = np.abs(np.diff(x, axis=0, prepend=x[:1]))
        change[starts] = 0.0
        count = np.diff(np.r_[starts, len(x)])[:, None] * np.ones_like(x[0])
        total = (np.add.reduceat(part, starts) for part in (x, np.square(x), np.square(change)))
        self.sums.append(np.stack([count, count - 1, *total], 1))
        ends = np.minimum.reduceat(x, starts), *(np.maximum.reduceat(part, starts) for part in (x, change))
        self.extremes.append(np.stack([x[starts], *ends], 1))
        self.labels.append(episode[starts])

    @property
    def finished(self) -> Episodes:
        """The table, in the order of the episodes' labels."""
        labels, sums, extremes = (np.concatenate(part) for part in (self.labels, self.sums, self.extremes))
        order = np.argsort(labels, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(labels[order]) != 0])
        count, changes, x, square, moved = (np.add.reduceat(sums[order, k], starts) for k in range(5))
        mean = x / count
        variance = square / count - np.square(mean)
        variance[variance <= 1e-12 * square / count] = 0.0  # what rounding leaves of a constant
        step = np.sqrt(moved / np.maximum(changes, 1))
        first, low, high, jump = np.moveaxis(extremes[order], 1, 0)
        low, high, jump = np.minimum.reduceat(low, starts), *(np.maximum.reduceat(x, starts) for x in (high, jump))
        places = (place + self.reference for place in (first[starts], low, high))
        return Episodes(count[:, 0].astype(int), mean + self.reference, np.sqrt(variance), step, jump, *places)
