"""What a transport problem's solution is made of, and whether it is the one that was asked for."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .problem import Solution
from .rounds import Plan
from .settings import Settings
from .telling import leaves_behind, not_converged


class Coupling(NamedTuple):
    """How the source rows were coupled to the target rows.

    >>> from cotrain_losses import OptimalTransport
    >>> found = OptimalTransport(reg=0)
    >>> source, target = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.1], [0.1]])
    >>> found.coupling(source, target).plan
    tensor([[0.0000, 0.5000],
            [0.5000, 0.0000]])
    """

    plan: Tensor
    """(n, m), non-negative: how much of each source row goes to each target row."""
    potentials: tuple[Tensor, Tensor]
    """f (n,) and g (m,), in cost units: the dual solution; zero for rows of no mass."""
    value: Tensor
    """what the term is worth, a scalar."""
    marginal_error: float
    """sum of absolute differences between the plan's marginals and what they have to be."""
    iterations: int
    """iterations of the solver, rounds on a device; 0 where it is direct."""
    solver: str
    """which solver was used."""


def spread_out(solution: Solution | Plan, value: Tensor, a: Tensor, b: Tensor) -> Coupling:
    """The solution for all rows, those without mass included."""
    if isinstance(solution, Plan):
        error, rounds = float(solution.error), int(solution.rounds)
        return Coupling(solution.plan, (solution.f, solution.g), value, error, rounds, "Sinkhorn and Newton in rounds")
    plan, f, g = value.new_zeros(len(a), len(b)), value.new_zeros(len(a)), value.new_zeros(len(b))
    i, j = (a > 0).nonzero()[:, 0], (b > 0).nonzero()[:, 0]
    plan[i[:, None], j] = torch.from_numpy(solution.plan).to(plan)
    f[i], g[j] = (torch.from_numpy(potential).to(plan) for potential in (solution.f, solution.g))
    return Coupling(plan, (f, g), value, solution.error, solution.iterations, solution.solver)


def check_converged(name: str, solution: Solution, settings: Settings) -> None:
    """Warn that the plan is not the one asked for, or that it is next to nothing, with the numbers that matter."""
    if solution.error > settings.tolerance:
        done = f"{solution.iterations} iterations"
        not_converged(name, solution.error, done, settings, "raise max_iterations, ")
    if not settings.balanced and (carried := solution.mass()) < 1e-3:
        leaves_behind(name, carried)
