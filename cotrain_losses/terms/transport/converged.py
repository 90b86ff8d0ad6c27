"""Whether a solution is the one that was asked for; the user is warned where it is not."""

from __future__ import annotations

import warnings

import torch

from ..._core.flags import Flags
from .fixed import ITERATIONS, Fixed
from .problem import Solution
from .settings import Settings


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
