"""Time offsets between observation and action: how many frames later a state reaches what an action asked for.

    lag = argmax_L corr(a_t, q_(t+L))       over frames of one episode, means of each episode taken off

Asked where actions are targets of the states of the same width: each dimension's best lag, and their median.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ...datasets.fields import Array
from .views import Finding, View

LONGEST = 12


def lags(source: Mapping[str, View], target: Mapping[str, View]) -> Iterator[Finding]:
    """A finding where states follow actions after another time in the source than in the target."""
    here, there = (lag(side["action"], side["state"]) if "state" in side else None for side in (source, target))
    if here is None or there is None or abs(here - there) < 2:
        return
    action = source["action"]
    told = _told(here, action), _told(there, target["action"])
    do = "Shift the actions of one dataset so that both are recorded with one delay between observation and action."
    because = f"States follow actions after {told[0]} in {action.name} and after {told[1]} in the target."
    yield Finding("time offset", "action", action.name, (), 0.8, do, because)


def lag(action: View, state: View) -> float | None:
    """Frames after which states reach actions; None where actions are no targets of the states."""
    if action.width != state.width:
        return None
    asked = np.flatnonzero(action.moves & state.moves)
    correlations = np.array([_correlations(action.stretch, state.stretch, action.episode, by, asked) for by in _LAGS])
    if not len(asked) or not np.isfinite(correlations).any():
        return None
    best = np.nan_to_num(correlations, nan=-1.0)
    close = best.max(0) > 0.9
    return float(np.median(np.array(_LAGS)[best.argmax(0)][close])) if close.sum() >= max(1, len(asked) / 2) else None


_LAGS = tuple(range(-2, LONGEST + 1))


def _correlations(action: Array, state: Array, episode: Array, by: int, asked: Array) -> Array:
    """Of each dimension at one lag, within episodes; NaN where there are too few frames."""
    n = len(action) - abs(by)
    first, second = (0, by) if by >= 0 else (-by, 0)
    if n < 20:
        return np.full(len(asked), np.nan)
    same = episode[first : first + n] == episode[second : second + n]
    a, q, e = action[first : first + n][same], state[second : second + n][same], episode[first : first + n][same]
    if len(a) < 20:
        return np.full(len(asked), np.nan)
    a, q = (_centred(x[:, asked].astype(np.float64), e) for x in (a, q))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((a * q).sum(0) / np.sqrt(np.square(a).sum(0) * np.square(q).sum(0)))


def _centred(values: Array, episode: Array) -> Array:
    labels, place = np.unique(episode, return_inverse=True)
    counts = np.bincount(place)[:, None]
    sums = np.zeros((len(labels), values.shape[1]))
    np.add.at(sums, place, values)
    return np.asarray(values - (sums / counts)[place])


def _told(frames: float, action: View) -> str:
    return f"{frames:g} frames" + (f" ({frames / action.rate:.2g} s)" if action.rate else "")
