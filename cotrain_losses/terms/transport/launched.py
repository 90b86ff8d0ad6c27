"""Transport by one launch of Triton: a program solves a problem, three of them a divergence."""

from __future__ import annotations

import torch
from torch import Tensor

from ..._core import kernels
from ..pair import Pair
from ..pooled import Pooled, poolable
from .rounds import Plan
from .settings import Settings
from .telling import check_solution

WIDEST = 512  # rows on either side: one program works on a problem
FINEST = 1e-6  # the least tolerance: plans are float32
TILES = {16: (2, 16), 32: (4, 32), 64: (8, 64), 128: (16, 32), 256: (32, 16), 512: (32, 16)}
"""warps and rows of a tile by its width, as measured on an H200 (docs/gpu.md)"""
PASSES = 3000  # at most; rows N(0, 1) at C / eps = 3e5 take a few hundred
Found = tuple[Tensor, Tensor, Tensor]


def done() -> str:
    """How far a kernel goes at most."""
    return f"{PASSES} passes"


def holds(pair: Pair, settings: Settings) -> bool:
    """Whether the kernels take the rows of a pair at their squared distances."""
    return poolable(pair) and _fits(pair.n, pair.m, settings)


def evaluated(
    name: str,
    pair: Pair,
    rows: tuple[Tensor, Tensor],
    settings: Settings,
    *,
    scale: float = 1.0,
    debiased: bool = False,
    linear: bool = False,
) -> Tensor | None:
    """Transport at cost scale |x - y|^2 with its gradients, debiased: less half of each side's own; None: not here."""
    found = kernels.attempted(lambda: _moved(pair, rows, settings, scale, debiased, linear))
    if found is None:
        return None
    value, error, carried = found
    check_solution(name, error, None if settings.balanced else carried, settings, pair.flags, done())
    return value


def solved(cost: Tensor, a: Tensor, b: Tensor, settings: Settings, same: Tensor | None) -> Plan | None:
    """As rounds.solved; None where the kernel does not take the problem."""
    n, m = cost.shape
    if not (kernels.runs_on(cost.device) and _fits(n, m, settings)):
        return None
    if settings.turned(n, m):
        back = solved(cost.T.contiguous(), b, a, settings.transposed, None if same is None else same.T)
        return None if back is None else back._replace(plan=back.plan.T, f=back.g, g=back.f)
    held, plan = cost if same is None else cost.where(same, 1e30), torch.zeros_like(cost, dtype=torch.float32)
    found = kernels.attempted(
        lambda: _solved(held, plan, torch.cat([a, b]), (n, m), ((0, 0), (0, n)), m, settings, 1, False)
    )
    if found is None:
        return None
    f, g = torch.split(found[2].to(cost), [n, m])
    value, _, error, _, rounds = found[1][0].to(cost).unbind()
    return Plan(plan.to(cost), f, g, value, error, rounds)


def _moved(
    pair: Pair, rows: tuple[Tensor, Tensor], settings: Settings, scale: float, debiased: bool, linear: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The value, the marginals' error and the mass carried."""
    pooled = Pooled.of(pair, sides=rows)
    n, m, k = pair.n, pair.m, len(pooled)
    cost = pooled.distances(scale, torch.float64, within=debiased)
    plan = torch.empty_like(cost, dtype=torch.float32)
    places = (n, n * k), (0, n)
    if settings.turned(n, m):
        settings, n, m, places = settings.transposed, m, n, ((n * k, n), (n, 0))
    parts, told, _ = _solved(cost, plan, pooled.mass, (n, m), places, k, settings, 1 + 2 * debiased, linear)
    return pooled.valued(plan, parts, 2.0 * scale, within=debiased), told[0, 2], told[0, 3]


def _solved(
    cost: Tensor,
    plan: Tensor,
    mass: Tensor,
    sizes: tuple[int, int],
    places: tuple[tuple[int, int], tuple[int, int]],
    stride: int,
    settings: Settings,
    problems: int,
    linear: bool,
) -> Found:
    """The parts of the value, what each program tells, and the potentials; `plan` is filled.

    Args:
        sizes: rows and columns of the problem; it is solved for the columns.
        places: where the plan and its transpose begin in matrices of this stride, and where both sides' masses do.
    """
    from .triton_solve import solve

    (n, m), (where, masses), (rho_a, rho_b) = sizes, places, settings.rho
    wide, pooled = kernels.power_of_two(max(n, m)), where[0] != where[1]
    warps, tile = TILES[wide]
    made = torch.empty if pooled else torch.zeros  # whose potentials nobody reads, those of rows without mass too
    shapes = (problems,), (problems, 5), (n + m,), (problems, 10, wide)
    parts, told, potentials, vectors = [made(shape, dtype=torch.float64, device=cost.device) for shape in shapes]
    kernels.launch(
        solve, (problems,), cost, plan, mass, potentials, vectors, parts, told, n, m, *masses, *where, stride,
        settings.eps, 1.0 / rho_a, 1.0 / rho_b, settings.tolerance, settings.limit, warps=warps,
        ONES=settings.ones, LINEAR=linear, POOLED=pooled, PASSES=PASSES,
        ROWS=tile, M=wide,
    )  # fmt: skip
    return parts, told, potentials


def _fits(n: int, m: int, settings: Settings) -> bool:
    return min(n, m) > 0 and max(n, m) <= WIDEST and settings.tolerance >= FINEST and settings.eps > 0
