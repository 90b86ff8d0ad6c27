"""One pass over a dataset: moments of every dimension, episode lengths, and a fair sample of frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...datasets import Demonstrations, Unreadable
from ...datasets.demonstrations import Array


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
    lengths: Array
    """(episodes,) frames of each episode that has any."""
    action: Moments
    state: Moments | None
    sample_episode: Array
    sample_action: Array
    sample_state: Array | None

    @property
    def frames(self) -> int:
        return self.action.count


def summarised(demonstrations: Demonstrations, *, sample: int, seed: int) -> Summary:
    """Read a dataset once, keeping moments and `sample` frames drawn without replacement.

    Raises:
        Unreadable: when it is empty or holds NaN or infinite actions or states.
    """
    path = demonstrations.path
    if demonstrations.frames < 1:
        raise Unreadable(f"{path} is empty: {demonstrations.episodes} episodes, no frames. Record or convert it again.")
    chosen = np.zeros(demonstrations.frames, bool)
    order = np.random.default_rng(seed).permutation(demonstrations.frames)[:sample]
    chosen[order] = True
    pieces, lengths, seen = [], dict[int, int](), 0
    action, state = None, None
    for frames in demonstrations.read():
        if not len(frames.action):
            continue
        for what, values in (("action", frames.action), ("state", frames.state)):
            _check_finite(demonstrations, what, values, frames.episode, seen)
        action = _added(action, frames.action)
        state = None if frames.state is None else _added(state, frames.state)
        for episode, count in zip(*np.unique(frames.episode, return_counts=True), strict=True):
            lengths[int(episode)] = lengths.get(int(episode), 0) + int(count)
        kept = _padded(chosen, seen + len(frames.action))[seen : seen + len(frames.action)]
        pieces.append((frames.episode[kept], frames.action[kept], None if frames.state is None else frames.state[kept]))
        seen += len(frames.action)
    if action is None:
        raise Unreadable(f"{path} is empty: its tables hold no frames. Record or convert it again.")
    episodes, actions, states = zip(*pieces, strict=True)
    joined = None if state is None else np.concatenate([s for s in states if s is not None])
    return Summary(
        demonstrations,
        np.array([lengths[e] for e in sorted(lengths)]),
        action,
        state,
        np.concatenate(episodes),
        np.concatenate(actions),
        joined,
    )


def pooled(moments: Sequence[Moments]) -> Moments:
    """Those of several datasets together."""
    total = moments[0]
    for other in moments[1:]:
        total = total.merged(other)
    return total


def _added(total: Moments | None, values: Array) -> Moments:
    return Moments.of(values) if total is None else total.merged(Moments.of(values))


def _padded(chosen: Array, length: int) -> Array:
    return chosen if len(chosen) >= length else np.pad(chosen, (0, length - len(chosen)))


def _check_finite(demonstrations: Demonstrations, what: str, values: Array | None, episode: Array, seen: int) -> None:
    if values is None or (finite := np.isfinite(values)).all():
        return
    row = int(np.argmin(finite.all(1)))
    raise Unreadable(
        f"{demonstrations.path} holds {int((~finite).sum())} NaN or infinite {what} values near frame {seen + row} "
        f"(episode {episode[row]}, dimension {int(np.argmin(finite[row]))}). Remove or repair these frames: a policy "
        "cannot train on them."
    )
