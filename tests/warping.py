"""Dynamic time warping as its recursion, in loops: the definition, and quick where tslearn would compile first."""

from __future__ import annotations

import math

import numpy as np


def recursion(x, y, gamma=0.0):
    """(n + 1, m + 1) r_ij = |x_i - y_j|^2 + min(r_i-1,j-1, r_i-1,j, r_i,j-1), softened by gamma."""
    r = np.full((len(x) + 1, len(y) + 1), math.inf)
    r[0, 0] = 0.0
    for i in range(len(x)):
        for j in range(len(y)):
            before = [v for v in (r[i, j], r[i, j + 1], r[i + 1, j]) if v < math.inf]
            low = min(before)
            if gamma:
                low -= gamma * math.log(sum(math.exp(-(v - low) / gamma) for v in before))
            r[i + 1, j + 1] = ((x[i] - y[j]) ** 2).sum() + low
    return r


def dtw_by_loops(x, y, gamma=0.0):
    """The recursion's end; its root if hard."""
    last = recursion(x, y, gamma)[-1, -1]
    return last if gamma else math.sqrt(last)


def dtw_path(x, y):
    """(pairs of frames, distance), as tslearn's function of that name."""
    r, (i, j) = recursion(x, y), (len(x), len(y))
    path = [(i - 1, j - 1)]
    while (i, j) != (1, 1):
        i, j = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda at: r[at])
        path.append((i - 1, j - 1))
    return path[::-1], math.sqrt(r[-1, -1])


def without_compiling(monkeypatch):
    """While a test runs, demonstrations are aligned by the loops."""
    monkeypatch.setattr("tslearn.metrics.dtw_path", dtw_path)
