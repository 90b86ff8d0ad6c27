"""What one far row costs unbalanced transport, and whether the value is right beside it.

    python -m cotrain_bench.outlier [--rows 64] [--rows 256] [--repeats 9]

A row says: rows, reg, price, the median CPU time of a step (value and gradient, one thread, float32) with the first
source row at 1e5 over that without, in turn; and the largest relative error of both values against float64 at a
tolerance of 1e-10.  A solve that does not converge is counted: it warns.  The last line is the worst of all.
"""

from __future__ import annotations

import statistics
import time
import warnings
from typing import Annotated

import torch
import typer
from torch import Tensor

from cotrain_losses import OptimalTransport

FAR, WIDTH = 1e5, 16
SETTINGS = ((0.1, 1.0), (0.1, 10.0), (1.0, 1.0), (1.0, 10.0))
"""reg and price of what is left behind, in squared distances"""


def main(rows: Annotated[list[int] | None, typer.Option()] = None, repeats: int = 9) -> None:
    """Print a row for each size and setting, and the worst of all."""
    torch.set_num_threads(1)
    worst_time = worst_error = 0.0
    warned = 0
    for n in rows or [64, 256]:
        for reg, price in SETTINGS:
            slower, error, told = _row(n, reg, price, repeats)
            print(f"{n} rows, reg {reg:g}, price {price:g}: {slower:.2f} times, error {error:.1e}, {told} warnings")
            worst_time, worst_error, warned = max(worst_time, slower), max(worst_error, error), warned + told
    print(f"one row at {FAR:g}: at most {worst_time:.2f} times as long, error {worst_error:.1e}, {warned} warnings")


def _row(n: int, reg: float, price: float, repeats: int) -> tuple[float, float, int]:
    draws = torch.Generator().manual_seed(n)
    near, target = (torch.randn(n, WIDTH, generator=draws) / 4 + shift for shift in (0.0, 0.1))
    far = near.clone()
    far[0] = FAR
    times: list[tuple[float, float]] = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        term = OptimalTransport(reg, unbalanced=price)
        for _ in range(repeats + 1):  # the first warms up
            times.append((_seconds(term, near, target), _seconds(term, far, target)))
        errors = [_error(term, side, target, reg, price) for side in (near, far)]
    without, beside = (statistics.median(each) for each in zip(*times[1:], strict=True))
    return beside / without, max(errors), len(told)


def _seconds(term: OptimalTransport, source: Tensor, target: Tensor) -> float:
    features, start = source.clone().requires_grad_(), time.process_time()
    term(features, target).backward()
    return time.process_time() - start


def _error(term: OptimalTransport, source: Tensor, target: Tensor, reg: float, price: float) -> float:
    exact = OptimalTransport(reg, unbalanced=price, tolerance=1e-10, max_iterations=100_000)
    with torch.no_grad():
        right = float(exact(source.double(), target.double()))
        return abs(float(term(source, target)) - right) / abs(right)


if __name__ == "__main__":
    typer.run(main)
