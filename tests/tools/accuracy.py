"""The gradients of all defaults through Triton's kernels, interpreted on the CPU: `python -m tests.tools.accuracy`.

Each is compared with the converged one in float64, for rows N(0, 1) in float32; a line for each that is worst.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported

from cotrain_losses import MMD, OptimalTransport, Rows, Sinkhorn, Term
from cotrain_losses.terms import Block, EnergyDistance
from tests.interpreted import interpreted, valued

WANTED = 1e-3
WIDTHS, SIZES = (32, 64, 512), ((58, 6), (64, 64))
BLOCKS = (Block(), Block("action", 0.5), Block("state", 0.2, detach=True))
Make = Callable[..., Term]
DEFAULTS: dict[str, Make] = {
    "MMD()": lambda **_: MMD(),
    "EnergyDistance()": lambda **_: EnergyDistance(),
    "Sinkhorn()": lambda **k: Sinkhorn(**k),
    "Sinkhorn(0.5, reach=1)": lambda **k: Sinkhorn(0.5, reach=1.0, **k),
    "OptimalTransport()": lambda **k: OptimalTransport(**k),
    "OptimalTransport(0.01)": lambda **k: OptimalTransport(0.01, **k),
    "OptimalTransport(unbalanced=1)": lambda **k: OptimalTransport(unbalanced=1.0, **k),
    "OptimalTransport, extras": lambda **k: OptimalTransport(cost=BLOCKS, **k),
    "OptimalTransport, groups": lambda **k: OptimalTransport(**k),
}
STEEP = {"C / eps = 1e4": 1e4, "C / eps = 1e5": 1e5}


def sides(n: int, m: int, d: int, *, grouped: bool = False) -> tuple[Rows, Rows]:
    """n source and m target rows of width d, with an action and a state."""
    made = []
    for count, seed, shift in ((n, 1, 0.0), (m, 2, 0.1)):
        draw = torch.Generator().manual_seed(seed)
        z, action, state = (torch.randn(count, *shape, generator=draw) for shape in ((d,), (4, 3), (5,)))
        group = torch.arange(count) % 2 if grouped else None
        made.append(Rows(z + shift, {"action": action, "state": state}, group=group))
    return made[0], made[1]


def tight(name: str) -> float:
    """The tolerance of the reference; a plan that carries next to nothing has marginals as small."""
    return 1e-14 if "unbalanced" in name or "reach" in name else 1e-9


def error(make: Make, source: Rows, target: Rows, tolerance: float) -> tuple[float, bool]:
    """|gradient - converged| / |converged| in float64, and whether a kernel was launched."""
    double = [side.map(lambda x: x.double() if x.is_floating_point() else x) for side in (source, target)]
    _, expected = valued(make(tolerance=tolerance), *double)
    with interpreted() as launched:
        _, found = valued(make(), source, target, eager=False)
    return float((found.double() - expected).norm() / expected.norm().clamp_min(1e-12)), bool(launched)


def cases(widths: tuple[int, ...], sizes: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, Make, tuple[Rows, Rows]]]:
    """Every default at every width and size, and transport at C / eps given."""
    for n, m in sizes:
        for d in widths:
            for name, make in DEFAULTS.items():
                yield f"{name}, {n} x {m}, d={d}", make, sides(n, m, d, grouped="groups" in name)
            source, target = sides(n, m, d)
            largest = float(torch.cdist(source.features, target.features).square().max())
            for name, steep in STEEP.items():
                yield (
                    f"{name}, {n} x {m}, d={d}",
                    lambda e=largest / steep, **k: OptimalTransport(e, **k),
                    (source, target),
                )


def measured(name: str, make: Make, pair: tuple[Rows, Rows]) -> dict[str, Any]:
    """A row: the error, whether a kernel was in use, seconds and warnings."""
    began = time.monotonic()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        off, launched = error(make, *pair, tolerance=tight(name))
    said = [str(each.message) for each in told if "converge" in str(each.message)]
    return {"what": name, "error": off, "kernels": launched, "seconds": time.monotonic() - began, "said": said}


def main() -> None:
    """Print a line for each case, and how many are within what is wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    widths, rows = parser.parse_args().widths, []
    for case in cases(tuple(widths), SIZES):
        row = measured(*case)
        rows.append(row)
        print(*(f"{value:.1e}" if isinstance(value, float) else value for value in row.values()), flush=True)
    kept = [row for row in rows if row["error"] <= WANTED and row["kernels"]]
    worst = max(rows, key=lambda row: row["error"])
    print(f"{len(kept)} of {len(rows)} gradients within {WANTED:g}; the worst {worst['error']:.1e} ({worst['what']})")
    sys.exit(len(kept) < len(rows))


if __name__ == "__main__":
    main()
