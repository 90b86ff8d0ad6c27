"""What a transport problem's solution is made of."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Coupling(NamedTuple):
    """How the source rows were coupled to the target rows."""

    plan: Tensor
    """(n, m), non-negative: how much of each source row goes to each target row."""
    potentials: tuple[Tensor, Tensor]
    """f (n,) and g (m,), in cost units: the dual solution."""
    value: Tensor
    """the term's objective at this plan, a scalar without gradient."""
    marginal_error: float
    """sum of absolute differences between the plan's marginals and what they have to be."""
    iterations: int
    """iterations of the solver; 0 where it is direct."""
    solver: str
    """which solver was used."""
