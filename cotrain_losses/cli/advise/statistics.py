"""One pass over a dataset: moments of every dimension, episode lengths, and a fair sample of frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from ...datasets import Demonstrations, Frames, Unreadable
from ...datasets.fields import Array
from .episodes import Collected, Episodes

SAMPLE = 3000
"""frames of each side that distances and overlaps are taken on"""
LARGEST = 1e100
"""of a number whose square is still one"""
STRETCH = 6000
"""consecutive frames, the first of a dataset, that are kept to compare actions with the states that follow"""


@dataclass
class Moments:
    """Count, mean, variance and range of each dimension; merged exactly (Chan et al. 1983)."""

    count: int
    mean: Array
    squared: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, values: Array) -> Moments:
        """Those of (n, d) values."""
        wide = values.astype(np.float64)
        mean = wide.mean(0)
        return cls(len(wide), mean, np.square(wide - mean).sum(0), wide.min(0), wide.max(0))

    def merged(self, other: Moments) -> Moments:
        """Those of both together."""
        count, step = self.count + other.count, other.mean - self.mean
        return Moments(
            count,
            self.mean + step * other.count / count,
            self.squared + other.squared + np.square(step) * self.count * other.count / count,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    @property
    def std(self) -> Array:
        """Population standard deviation."""
        return np.sqrt(self.squared / self.count)


@dataclass
class Summary:
    """What one pass over a dataset leaves behind."""

    demonstrations: Demonstrations
    action: Moments
    state: Moments | None
    sample_episode: Array
    sample_action: Array
    sample_state: Array | None
    action_episodes: Episodes
    state_episodes: Episodes | None
    stretch: Frames
    """the first STRETCH frames, in order"""

    @property
    def lengths(self) -> Array:
        """(episodes,) frames of each episode that has any."""
        return self.action_episodes.frames

    @property
    def frames(self) -> int:
        return self.action.count


def summarised(demonstrations: Demonstrations, *, sample: int, seed: int) -> Summary:
    """Read a dataset once, keeping moments, a table of its episodes, and `sample` frames drawn without replacement."""
    path = demonstrations.path
    if demonstrations.frames < 1:
        raise Unreadable(f"{path} is empty: {demonstrations.episodes} episodes, no frames. Record or convert it again.")
    chosen = np.zeros(demonstrations.frames, bool)
    chosen[np.random.default_rng(seed).permutation(demonstrations.frames)[:sample]] = True
    pieces, stretch, seen = list[Frames](), list[Frames](), 0
    moments, episodes = dict[str, Moments](), {"action": Collected(), "state": Collected()}
    for frames in demonstrations.read():
        if not len(frames.action):
            continue
        for what, values in (("action", frames.action), ("state", frames.state)):
            if values is not None:
                _check_finite(demonstrations, what, values, frames.episode, seen)
                moments[what] = _added(moments.get(what), values)
                episodes[what].add(frames.episode, values)
        kept = chosen[seen : seen + len(frames.action)].nonzero()[0]  # tables may hold more frames than they say
        pieces.append(_rows(frames, kept))
        stretch.append(_rows(frames, slice(0, max(STRETCH - seen, 0))))
        seen += len(frames.action)
    if not moments:
        raise Unreadable(f"{path} is empty: its tables hold no frames. Record or convert it again.")
    sample_of, state = _joined(pieces), moments.get("state")
    tables = episodes["action"].finished, None if state is None else episodes["state"].finished
    sampled = sample_of.episode, sample_of.action, sample_of.state
    return Summary(demonstrations, moments["action"], state, *sampled, *tables, _joined(stretch))


def _rows(frames: Frames, rows: Any) -> Frames:
    return Frames(frames.episode[rows], frames.action[rows], None if frames.state is None else frames.state[rows])


def _joined(pieces: Sequence[Frames]) -> Frames:
    states = [piece.state for piece in pieces if piece.state is not None]
    episode, action = (np.concatenate([getattr(piece, what) for piece in pieces]) for what in ("episode", "action"))
    return Frames(episode, action, np.concatenate(states) if states else None)


def pooled(moments: Sequence[Moments]) -> Moments:
    """Those of several datasets together."""
    return reduce(Moments.merged, moments)


def mixed(summaries: Sequence[Summary], what: str) -> Array:
    """At most SAMPLE frames of several datasets, each in proportion to its frames, in random order."""
    total = sum(summary.frames for summary in summaries)
    counts = [max(1, round(SAMPLE * summary.frames / total)) for summary in summaries]
    parts = [shuffled(getattr(s, what), 0)[:count] for s, count in zip(summaries, counts, strict=True)]
    return shuffled(np.concatenate(parts), 1)


def shuffled(rows: Array, seed: int) -> Array:
    """The rows in an order that depends on their number and the seed alone."""
    return rows[np.random.default_rng(seed).permutation(len(rows))]


def _added(total: Moments | None, values: Array) -> Moments:
    return Moments.of(values) if total is None else total.merged(Moments.of(values))


def _check_finite(demonstrations: Demonstrations, what: str, values: Array | None, episode: Array, seen: int) -> None:
    if values is None or (finite := np.abs(values) <= min(LARGEST, float(np.finfo(values.dtype).max))).all():
        return
    row = int(np.argmin(finite.all(1)))
    kind = "NaN or infinite" if not np.isfinite(values).all() else f"far too large (beyond {LARGEST:g})"
    raise Unreadable(
        f"{demonstrations.path} holds {int((~finite).sum())} {kind} {what} values near frame {seen + row} "
        f"(episode {episode[row]}, dimension {int(np.argmin(finite[row]))}). Remove or repair these frames: a policy "
        "cannot train on them."
    )
