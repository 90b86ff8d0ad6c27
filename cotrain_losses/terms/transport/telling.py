"""What is told of a plan that is not the one asked for, or that is next to nothing."""

from __future__ import annotations

import warnings
from functools import lru_cache

import torch
from torch import Tensor

from ..._core.flags import Flags, Rule
from .settings import Settings


def check_solution(
    name: str, error: Tensor, carried: Tensor | None, settings: Settings, flags: Flags, done: str
) -> None:
    """Flags for a plan whose marginals are off, or that carries next to nothing of what it may leave behind."""
    off = beyond(settings.tolerance)
    flags.post(f"{name} error", error, lambda error: not_converged(name, error, done, settings), off)
    if carried is not None:
        flags.post(f"{name} carries", carried, lambda inverse: leaves_behind(name, 1e-3 / inverse), _left_behind)


@lru_cache(maxsize=64)
def beyond(tolerance: float) -> Rule:
    """The largest of the errors above a tolerance; 0 where none is, and of NaN."""
    return lambda errors: torch.where(errors > tolerance, errors, 0.0).amax()


def _left_behind(carried: Tensor) -> Tensor:
    """1e-3 over the least mass carried; 0 where it is nothing at all or 1e-3 and more."""
    return torch.where((carried > 0) & (carried < 1e-3), 1e-3 / carried.clamp_min(1e-30), 0.0).amax()


def not_converged(name: str, error: float, done: str, settings: Settings, remedy: str = "") -> None:
    """The warning of a solve that stopped before its tolerance; `remedy` is one more than those of every solver."""
    warnings.warn(
        f"{name} did not converge: after {done} the plan's marginals are off by {error:.1e} in sum (tolerance "
        f"{settings.tolerance:.0e}). Raise reg or blur, {remedy}or loosen the tolerance.",
        stacklevel=2,
    )


def leaves_behind(name: str, carried: float) -> None:
    """The warning of a plan that is next to nothing."""
    warnings.warn(
        f"{name} leaves nearly all mass behind: the plan carries {carried:.1e} of it, so hardly any gradient is "
        "left. The sides are farther apart than the price of leaving pays for: raise unbalanced or reach.",
        stacklevel=2,
    )
