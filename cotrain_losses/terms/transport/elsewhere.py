"""Transport on a device other than the CPU, and under torch.compile: plans, and what they do to the rows.

The compiler sees one operator, whose rounds run as they do without it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..._core.device import accurate
from ..._core.distances import squared_distances
from ..._core.flags import Flags, common
from ..pair import Pair
from . import launched
from .matrix import coupled
from .problem import INF
from .rounds import ROUNDS, Plan, solved
from .settings import Settings
from .telling import check_solution


def planned(
    name: str, cost: Tensor, a: Tensor, b: Tensor, settings: Settings, same: Tensor | None, flags: Flags
) -> Plan:
    """The plan at cost (n, m); where it is not the one asked for, a flag says so."""
    if torch.compiler.is_compiling():
        numbers = (settings.eps, *settings.rho, settings.ones, settings.tolerance, settings.limit)
        return Plan(*_operator(name, cost, a, b, same, *numbers))
    return _checked(name, cost, a, b, settings, same, flags)


def _checked(
    name: str, cost: Tensor, a: Tensor, b: Tensor, settings: Settings, same: Tensor | None, flags: Flags
) -> Plan:
    plan = launched.solved(cost, a, b, settings, same)
    done = f"{ROUNDS} rounds" if plan is None else launched.done()
    plan = solved(cost, a, b, settings, same) if plan is None else plan
    check_solution(name, plan.error, None if settings.balanced else plan.plan.sum(), settings, flags, done)
    return plan


@torch.library.custom_op(
    "cotrain_losses::transport",
    mutates_args=(),
    schema="(str name, Tensor cost, Tensor a, Tensor b, Tensor? same, float eps, float rho_a, float rho_b, bool ones, "
    "float tolerance, int limit) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _operator(
    name: str,
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    same: Tensor | None,
    eps: float,
    rho_a: float,
    rho_b: float,
    ones: bool,
    tolerance: float,
    limit: int,
) -> tuple[Tensor, ...]:
    settings = Settings(eps, (rho_a, rho_b), ones, tolerance, limit)
    plan = _checked(name, cost, a, b, settings, same, common)
    return tuple(x.contiguous().clone() for x in plan)


@_operator.register_fake
def _shapes(name: str, cost: Tensor, a: Tensor, b: Tensor, *rest: object) -> tuple[Tensor, ...]:
    return cost.new_empty(cost.shape), *(torch.empty_like(x) for x in (a, b)), *(cost.new_empty(()) for _ in range(3))


def exactly(cost: Tensor, a: Tensor, b: Tensor, settings: Settings, same: Tensor | None) -> Plan:
    """The exact plan, found on the CPU; the host waits for the device."""
    if torch.compiler.is_compiling():
        raise ValueError(
            "exact transport (reg=0) calls an external solver, which torch.compile cannot trace, got a compiled call.\n"
            "Use a small reg there, such as 0.01."
        )
    held = cost if same is None else cost.where(same, INF)
    matrix, of_a, of_b = (x.detach().cpu().double() for x in (held, a, b))
    i, j = (mass.nonzero()[:, 0] for mass in (of_a, of_b))
    if not (len(i) and len(j)):
        nothing = torch.zeros_like(cost)
        return Plan(nothing, torch.zeros_like(a), torch.zeros_like(b), *(nothing.sum() for _ in range(3)))
    present = matrix[i[:, None], j]
    bound = float(present.where(present < INF, 0.0).max())
    solution = coupled(present.numpy().astype, bound, of_a[i].numpy(), of_b[j].numpy(), settings, potentials=True)
    plan, f, g = matrix.new_zeros(matrix.shape), torch.zeros_like(of_a), torch.zeros_like(of_b)
    plan[i[:, None], j] = torch.from_numpy(solution.plan).to(plan)
    f[i], g[j] = torch.from_numpy(solution.f), torch.from_numpy(solution.g)
    numbers = (torch.tensor(x, dtype=torch.float64) for x in (solution.value(), solution.error, 0.0))
    return Plan(*(x.to(cost) for x in (plan, f, g, *numbers)))


def masses_at(pair: Pair, like: Tensor) -> tuple[Tensor, Tensor]:
    """The masses of both sides in the accurate type, of equal sums in every group to that type's rounding."""
    a, b = (mass.to(like) for mass in pair.masses())
    tiny = torch.finfo(like.dtype).tiny
    within, across = pair.within[1], pair.across
    if within is None or across is None:
        return a / a.sum().clamp_min(tiny), b / b.sum().clamp_min(tiny)
    return a, b * (across.T.to(a) @ a) / (within.to(b) @ b).clamp_min(tiny)


def pulls(plan: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of <P, |x - y|^2> at x and at y, the plan held fixed."""
    at_x = 2.0 * (plan.sum(1)[:, None] * x - plan @ y)
    at_y = 2.0 * (plan.sum(0)[:, None] * y - plan.T @ x)
    return at_x, at_y


def costs(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows as constants in the accurate type, and all |x_i - y_j|^2."""
    x, y = x.detach().to(accurate(x)), y.detach().to(accurate(y))
    return x, y, squared_distances(x, y)
