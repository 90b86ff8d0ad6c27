"""Batches of matched rows.

    P(source demonstration k | target demonstration) ~ sigmoid(-sharpness (DTW_k - cutoff))
    source frame = one of those aligned with the target frame, moved by a uniform step in [-window, window)

Cheng et al. 2025, as public reproductions of it draw.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from .alignments import Alignment, Places


class PairedSampler(Sampler[list[int]]):
    """Batches of matched rows, source rows first: row i of the source half shows what row i of the target half does.

    Args:
        aligned: from `alignments`, or from anywhere else.
        source, target: the dataset indices of each demonstration's frames, in order: `range(first, last + 1)`.
        pairs: pairs in a batch, which so holds `2 * pairs` indices.
        sharpness: how strictly alike demonstrations are preferred; 0 draws them uniformly.
        cutoff: the distance at which a demonstration counts half.
        window: the matched source frame is moved by a uniform whole step in [-window, window) and kept inside its
            demonstration; 0 moves nothing, None takes any frame of the demonstration (no matching within it).
        seed, start: batch k is a function of the seed and k; `start` is how many were consumed before.

    An epoch passes every target frame once, the last batch filled from the next epoch.  Sharpness 10, cutoff .01 and
    window 10 are the settings of public reproductions of Cheng et al. 2025; `sharpness=0, window=None` is unpaired.
    Feed it to a loader of its own, beside the one the policy's loss is drawn from.

    Raises ValueError on a target demonstration without alignments, and on a path that leaves a target frame unmatched
    or runs outside its demonstrations.

    >>> path = np.array([[0, 0], [1, 1], [2, 1]])
    >>> aligned = [Alignment(0, 0, 0.0, path)]
    >>> sampler = PairedSampler(aligned, [range(3)], [range(3, 5)], pairs=2, window=0)
    >>> [sorted(batch[2:]) for batch in sampler]
    [[3, 4]]
    """

    def __init__(
        self,
        aligned: Sequence[Alignment],
        source: Places,
        target: Places,
        pairs: int,
        *,
        sharpness: float = 10.0,
        cutoff: float = 0.01,
        window: int | None = 10,
        seed: int = 0,
        start: int = 0,
    ) -> None:
        if pairs < 1 or (window is not None and window < 0) or sharpness < 0:
            raise ValueError(
                f"a paired batch holds at least one pair, sharpness and window are not negative, got pairs={pairs}, "
                f"sharpness={sharpness}, window={window}. window=0 takes the matched frame itself, None any frame."
            )
        self.pairs, self.window, self.seed, self._start = pairs, window, seed, start
        self._source = [np.asarray(frames, dtype=np.int64) for frames in source]
        self._target = [np.asarray(frames, dtype=np.int64) for frames in target]
        self._frames = [(j, frame) for j, frames in enumerate(self._target) for frame in range(len(frames))]
        self._matched, self.probabilities = [], list[NDArray[np.float64]]()
        for j, frames in enumerate(self._target):
            own = [a for a in aligned if a.target == j]
            self._matched.append([(a.source, _by_target_frame(a, len(frames), self._source)) for a in own])
            self.probabilities.append(_preferences([a.distance for a in own], sharpness, cutoff, j))

    def __len__(self) -> int:
        return math.ceil(len(self._frames) / self.pairs)

    def __iter__(self) -> Iterator[list[int]]:
        start, self._start = self._start, (self._start // len(self) + 1) * len(self)
        for number in range(start, self._start):
            yield self.batch(number)

    def batch(self, number: int) -> list[int]:
        """The dataset indices of one batch, by its number: `pairs` source rows, then their target rows."""
        draws = np.random.default_rng((self.seed, number))
        chosen = [self._frames[k] for k in self._target_frames(number)]
        return [self._match(j, frame, draws) for j, frame in chosen] + [int(self._target[j][f]) for j, f in chosen]

    def _target_frames(self, number: int) -> list[int]:
        first, n = number * self.pairs, len(self._frames)
        passes = range(first // n, (first + self.pairs - 1) // n + 1)
        order = np.concatenate([np.random.default_rng((self.seed, 1, k)).permutation(n) for k in passes])
        skipped = first - passes[0] * n
        return [int(k) for k in order[skipped : skipped + self.pairs]]

    def _match(self, j: int, frame: int, draws: np.random.Generator) -> int:
        demonstration, matched = self._matched[j][draws.choice(len(self._matched[j]), p=self.probabilities[j])]
        frames = self._source[demonstration]
        if self.window is None:
            return int(draws.choice(frames))
        step = int(draws.integers(-self.window, self.window)) if self.window else 0
        return int(frames[np.clip(draws.choice(matched[frame]) + step, 0, len(frames) - 1)])


def _preferences(distances: Sequence[float], sharpness: float, cutoff: float, target: int) -> NDArray[np.float64]:
    if not distances:
        raise ValueError(
            f"every target demonstration has an alignment, got none for target demonstration {target}. "
            "Align it with a source demonstration, or leave its frames out of `target`."
        )
    logits = -sharpness * (np.asarray(distances) - cutoff)
    log_p = -np.logaddexp(0.0, -logits)  # log sigmoid: demonstrations far beyond the cutoff keep their order
    p = np.exp(log_p - log_p.max())
    return np.asarray(p / p.sum())


def _by_target_frame(a: Alignment, frames: int, source: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    matched = [a.path[a.path[:, 1] == frame, 0] for frame in range(frames)]
    inside = 0 <= a.source < len(source) and 0 <= a.path.min() <= a.path[:, 0].max() < len(source[a.source])
    if not inside or a.path[:, 1].max() >= frames or not all(map(len, matched)):
        raise ValueError(
            "an alignment matches every frame of its target demonstration with frames of its source demonstration, got "
            f"one of source {a.source} and target {a.target} that does not (target frames {frames}, path up to "
            f"{a.path.max(0).tolist()}). Align the same demonstrations that `source` and `target` index."
        )
    return matched
