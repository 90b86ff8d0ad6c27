"""How long a diagnosis takes and what it holds in memory; exact transport beside POT's emd2.

    python -m cotrain_bench.diagnose_speed [--rows 4096] [--width 512] [--repeats 5]

CPU seconds of this process, one thread, the two solvers interleaved, medians.
"""

from __future__ import annotations

import resource
import statistics
import time

import torch
import typer

from cotrain_losses.measures import diagnosis
from cotrain_losses.measures.alignment import squared_wasserstein


def main(rows: int = 4096, width: int = 512, repeats: int = 5) -> None:
    """Print both measurements."""
    torch.set_num_threads(1)
    source, target = torch.randn(rows, width), torch.randn(rows, width) + 0.1
    seconds, wall = time.process_time(), time.perf_counter()
    diagnosis(source, target)
    seconds, wall = time.process_time() - seconds, time.perf_counter() - wall
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"diagnosis: {seconds:.1f} CPU s, {wall:.1f} s wall, {memory:.2f} GiB resident")
    for n, d in ((256, 64), (1024, 4), (1024, 512), (2048, 4), (2048, 64)):
        ours, pot, gap = transport_times(n, d, repeats)
        print(f"exact transport n = {n}, d = {d}: ours {ours:.3f} s, emd2 {pot:.3f} s, relative difference {gap:.1e}")


def transport_times(n: int, d: int, repeats: int) -> tuple[float, float, float]:
    """Median CPU seconds of ours and of POT's emd2, cost matrix included, and how far the values differ."""
    import ot  # type: ignore[import-untyped]

    times: tuple[list[float], list[float]] = ([], [])
    gap = 0.0
    for seed in range(repeats):
        x, y = torch.randn(2, n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        y = y + 1.0
        started = time.process_time()
        ours = squared_wasserstein(x, y)
        between = time.process_time()
        theirs = ot.emd2([], [], ot.dist(x.numpy(), y.numpy()), numItermax=10_000_000)
        times[0].append(between - started)
        times[1].append(time.process_time() - between)
        gap = max(gap, abs(ours - theirs) / theirs)
    return statistics.median(times[0]), statistics.median(times[1]), gap


if __name__ == "__main__":
    typer.run(main)
