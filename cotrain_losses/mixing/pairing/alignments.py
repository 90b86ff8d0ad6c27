"""Alignments of demonstrations in time, once before training.

    DTW(x, y) = min over monotone paths of [ sum_(i,j) |x_i - y_j|^2 ]^(1/2)           Sakoe & Chiba 1978
    soft-DTW  = the same with min -> -gamma log sum exp(- . / gamma), and no root      Cuturi & Blondel 2017, eq. 1

Both are tslearn's: pip install "cotrain-losses[dtw]".  The literature disagrees on the root and on what the distance
is divided by; here it keeps the root (tslearn's) and is divided by the longer arc length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Places: TypeAlias = Sequence[Sequence[int]]
"""the dataset indices of each demonstration's frames, in order"""


class Alignment(NamedTuple):
    """How source demonstration number `source` runs along target demonstration number `target`.

    >>> path = np.array([[0, 0], [1, 1], [2, 1], [3, 2]])  # (source frame, target frame)
    >>> Alignment(source=0, target=0, distance=0.02, path=path).path.shape
    (4, 2)
    """

    source: int
    target: int
    distance: float
    """how unlike they are; what `cutoff` is compared with."""
    path: NDArray[np.int64]
    """(k, 2): matched frames (source frame, target frame), counted within their demonstrations."""


def alignments(
    source: Sequence[Any], target: Sequence[Any], *, gamma: float = 0.0, normalise: bool = True
) -> list[Alignment]:
    """Every source demonstration aligned with every target demonstration.

    Args:
        source, target: trajectories (frames, d), of any lengths, in the same units (end-effector positions).
        gamma: 0 is DTW; above, soft-DTW with that smoothing, in squared units: a target frame is then matched with
            the source frame of the largest expected alignment.
        normalise: divide each distance by the larger arc length of the two trajectories, so that it has no unit.

    Time O(frames^2 d) for each pair, once.  ValueError: a trajectory empty or not finite, widths that differ, two
    trajectories at different places neither of which moves, with `normalise`.
    """
    checked_gamma(gamma)
    for side, demonstrations in (("source", source), ("target", target)):
        for number, x in enumerate(demonstrations):
            _check_trajectory(side, number, np.asarray(x), np.asarray(target[0]).shape[-1:])
    xs, ys = ([np.asarray(x, np.float64) for x in side] for side in (source, target))
    return [_aligned(k, j, x, y, gamma, normalise) for j, y in enumerate(ys) for k, x in enumerate(xs)]


def dtw_distances(source: Sequence[Any], target: Sequence[Any], *, gamma: float = 0.0) -> NDArray[np.float64]:
    """DTW (gamma 0) or soft-DTW of all trajectories, (n, m); soft-DTW can be negative."""
    checked_gamma(gamma)
    metrics = _tslearn()
    x, y = ([np.asarray(t, np.float64) for t in side] for side in (source, target))
    distances = metrics.cdist_soft_dtw(x, y, gamma=gamma) if gamma else metrics.cdist_dtw(x, y)
    return np.asarray(distances, dtype=np.float64).reshape(len(x), len(y))


def checked_gamma(gamma: float) -> float:
    """A smoothing of soft-DTW, at least 0."""
    if not 0.0 <= gamma < float("inf"):
        raise ValueError(f"gamma smooths soft-DTW and is at least 0, got {gamma}. 0 is DTW itself.")
    return float(gamma)


def _aligned(
    source: int, target: int, x: NDArray[np.float64], y: NDArray[np.float64], gamma: float, normalise: bool
) -> Alignment:
    metrics = _tslearn()
    if gamma:
        expected, distance = metrics.soft_dtw_alignment(x, y, gamma=gamma)
        path = np.stack([np.asarray(expected).argmax(0), np.arange(len(y))], 1)
    else:
        pairs, distance = metrics.dtw_path(x, y)
        path = np.array(pairs)
    arcs = (float(np.linalg.norm(np.diff(t, axis=0), axis=1).sum()) for t in (x, y))
    length = max(arcs) if normalise else 1.0
    if not length and distance:
        raise ValueError(
            "a distance is divided by the larger arc length of two trajectories, got source demonstration "
            f"{source} and target demonstration {target}, neither of which moves. "
            "Leave such demonstrations out, or pass normalise=False."
        )
    return Alignment(source, target, float(distance) / (length or 1.0), path.astype(np.int64))


def _check_trajectory(side: str, number: int, x: NDArray[Any], width: tuple[int, ...]) -> None:
    if x.ndim != 2 or len(x) == 0 or x.shape[1:] != width or not np.isfinite(x).all():
        raise ValueError(
            f"DTW aligns trajectories (frames, d) of one width, finite and not empty, got {side} demonstration "
            f"{number} of shape {x.shape}{'' if np.isfinite(x).all() else ' with NaN or infinite values'}. "
            "Compare the same quantity of both domains, such as end-effector positions."
        )


def _tslearn() -> Any:
    try:
        from tslearn import metrics  # type: ignore[import-untyped]  # compiles with numba, so only here
    except ModuleNotFoundError as error:
        sentence = 'dynamic time warping is tslearn\'s: pip install "cotrain-losses[dtw]"'
        raise ModuleNotFoundError(sentence, name="tslearn") from error
    return metrics
