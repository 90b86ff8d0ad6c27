"""How many more jobs two workers compute than one: `python -m cotrain_bench.workers [--rounds 3]`.

    ratio = time of 2 k jobs by one worker / time of 2 k jobs by two

A cell of the suite stands beside two jobs that show what the machine allows: a loop of Python, which needs no memory,
and products of matrices that fit a cache.  Workers are started before the clock, and rounds alternate.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from .executors import executor

JOBS = 4  # in a round


def loop() -> None:
    """About two seconds of Python."""
    total = 0
    for k in range(30_000_000):
        total += k


def products() -> None:
    """About two seconds of products of matrices (256, 256)."""
    x = torch.randn(256, 256)
    for _ in range(4000):
        x = (x @ x).clamp(-1, 1)


def cell() -> None:
    """Training, evaluation and measures of a small cell; its demonstrations come from the cache."""
    from .sim2sim.batches import Budget
    from .sim2sim.cell import Cell
    from .sim2sim.compute import compute

    compute(Cell(source_demos=50, episodes=20, budget=Budget(steps=400)), lambda share: None)


JOBS_OF = {"loop": loop, "products": products, "cell": cell}


def took(pool: Any, job: Callable[[], None]) -> float:
    """Seconds of JOBS jobs."""
    start = time.perf_counter()
    for answer in [pool.submit(job) for _ in range(JOBS)]:
        answer.result()
    return time.perf_counter() - start


def main(rounds: int) -> None:
    """Print the ratio of each job: the median over rounds, the least and the largest."""
    with executor("local", 1) as one, executor("local", 2) as two:
        for name, job in JOBS_OF.items():
            took(one, job), took(two, job)  # imports, and the cache
            ratios = [took(one, job) / took(two, job) for _ in range(rounds)]
            print(f"{name}: {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[sys.argv.index("--rounds") + 1]) if "--rounds" in sys.argv else 3)
