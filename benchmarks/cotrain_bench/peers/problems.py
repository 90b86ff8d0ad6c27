"""The problems that every library solves, and how long a job takes.

Run by each library's own interpreter, so it imports numpy and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

EPS, RHO = 0.1, 1.0  # entropy and price of mass left behind, for the cost |x - y|^2
LOSSES = ("balanced", "unbalanced", "divergence", "exact", "mmd")


def sides(n: int, d: int, seed: int = 0) -> tuple[Array, Array]:
    """n source and n target rows of width d, of length about one, the target moved by half a unit; float32."""
    random = np.random.default_rng([seed, n, d])
    x, y = random.standard_normal((2, n, d)) / d**0.5
    return x.astype("float32"), (y + 0.5 / d**0.5).astype("float32")


def pull(x: Array, y: Array, coupling: Array) -> Array:
    """2 (r_i x_i - sum_j P_ij y_j)."""
    return np.asarray(2 * (coupling.sum(1)[:, None] * x - coupling @ y))


def seconds(job: Callable[[], Any], device: str) -> float:
    """CPU time of the process; on a GPU the time from an idle device to an idle device."""
    if device == "cpu":
        started = time.process_time()
        job()
        return time.process_time() - started
    import torch

    torch.cuda.synchronize()
    started = time.perf_counter()
    job()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def repeat(job: Callable[[], Any], times: int) -> None:
    """Run a job several times."""
    for _ in range(times):
        job()


def alternating(jobs: Sequence[Callable[[], Any]], repeats: int, device: str) -> list[tuple[float, float]]:
    """(first, second) seconds of neighbouring runs, after one of each that is not counted; the order alternates."""
    for job in jobs:
        job()
    pairs = []
    for k in range(repeats):
        order = (0, 1) if k % 2 == 0 else (1, 0)
        took = {which: seconds(jobs[which], device) for which in order}
        pairs.append((took[0], took[1]))
    return pairs
