"""What a transport problem's solution is made of, and whether it is the one that was asked for."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from ..._core.flags import Flags
from .fixed import ITERATIONS, Fixed
from .problem import Solution
from .settings import Settings


class Coupling(NamedTuple):
    """How the source rows were coupled to the target rows."""

    plan: Tensor
    """(n, m), non-negative: how much of each source row goes to each target row."""
    potentials: tuple[Tensor, Tensor]
    """f (n,) and g (m,), in cost units: the dual solution; zero for rows of no mass."""
    value: Tensor
    """what the term is worth, a scalar."""
    marginal_error: float
    """sum of absolute differences between the plan's marginals and what they have to be."""
    iterations: int
    """iterations of the solver; 0 where it is direct, -1 where the budget was fixed beforehand."""
    solver: str
    """which solver was used."""


def spread_out(solution: Solution | Fixed, value: Tensor, a: Tensor, b: Tensor) -> Coupling:
    """The solution for all rows, those without mass included."""
    if isinstance(solution, Fixed):
        return Coupling(solution.plan, (solution.f, solution.g), value, float(solution.error), -1, "fixed budget")
    plan, f, g = value.new_zeros(len(a), len(b)), value.new_zeros(len(a)), value.new_zeros(len(b))
    i, j = (a > 0).nonzero()[:, 0], (b > 0).nonzero()[:, 0]
    plan[i[:, None], j] = torch.from_numpy(solution.plan).to(plan)
    f[i], g[j] = (torch.from_numpy(potential).to(plan) for potential in (solution.f, solution.g))
    return Coupling(plan, (f, g), value, solution.error, solution.iterations, solution.solver)


def check_converged(name: str, solution: Solution | Fixed, settings: Settings, flags: Flags) -> None:
    """Warn that the plan is not the one asked for, or that it is next to nothing, with the numbers that matter."""
    if isinstance(solution, Fixed):
        off = torch.where(solution.error > settings.tolerance, solution.error, 0.0)
        flags.post(f"{name} error", off, lambda error: _not_converged(name, error, ITERATIONS, settings))
        return
    if solution.error > settings.tolerance:
        _not_converged(name, solution.error, solution.iterations, settings)
    if not settings.balanced and (carried := solution.mass()) < 1e-3:
        warnings.warn(
            f"{name} leaves nearly all mass behind: the plan carries {carried:.1e} of it, so hardly any gradient is "
            "left. The sides are farther apart than the price of leaving pays for: raise unbalanced or reach.",
            stacklevel=2,
        )


def _not_converged(name: str, error: float, iterations: int, settings: Settings) -> None:
    warnings.warn(
        f"{name} did not converge: after {iterations} iterations the plan's marginals are off by "
        f"{error:.1e} in sum (tolerance {settings.tolerance:.0e}). Raise reg or blur, raise "
        "max_iterations, or loosen the tolerance.",
        stacklevel=2,
    )
