"""What a transport term was asked to solve, and how well."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from .problem import INF, Solution

EXACT_ABOVE = 1e6  # C / eps beyond which entropy is below float64's rounding and the exact plan is taken
DOUBLE_ABOVE = 1e3  # C / eps beyond which float32 loses the plan's third digit

OUT_OF_REACH = 300.0  # C / (rho + rho + eps) beyond which a plan is below exp(-300): nothing is carried


@dataclass(frozen=True)
class Settings:
    """eps of the entropy, prices of mass left behind, the reference, and the stopping rule."""

    eps: float
    rho: tuple[float, float] = (INF, INF)
    ones: bool = False
    tolerance: float = 1e-4
    limit: int = 1000

    def __post_init__(self) -> None:
        if not self.tolerance > 0 or self.limit < 1:
            raise ValueError(
                "tolerance bounds the marginals' error and max_iterations counts, both are > 0, "
                f"got {self.tolerance} and {self.limit}."
            )

    @property
    def balanced(self) -> bool:
        """Whether all mass is carried."""
        return self.rho == (INF, INF)


def prices(name: str, unbalanced: float | tuple[float, float] | None) -> tuple[float, float]:
    """The price of mass left behind on each side; None is infinite."""
    pair = unbalanced if isinstance(unbalanced, tuple) else (unbalanced, unbalanced)
    source, target = (INF if price is None else float(price) for price in pair)
    if not (source > 0 and target > 0):
        raise ValueError(f"{name} is the price of mass left behind and must be > 0, got {unbalanced}. None moves all.")
    return source, target


def warn_unless_converged(name: str, solution: Solution, settings: Settings) -> None:
    """Say that the plan is not the one asked for, or that it is next to nothing, with the numbers that matter."""
    if solution.error > settings.tolerance:
        warnings.warn(
            f"{name} did not converge: after {solution.iterations} iterations the plan's marginals are off by "
            f"{solution.error:.1e} in sum (tolerance {settings.tolerance:.0e}). Raise reg or blur, raise "
            "max_iterations, or loosen the tolerance.",
            stacklevel=2,
        )
    if not settings.balanced and (carried := solution.mass()) < 1e-3:
        warnings.warn(
            f"{name} leaves nearly all mass behind: the plan carries {carried:.1e} of it, so hardly any gradient is "
            "left. The sides are farther apart than the price of leaving pays for: raise unbalanced or reach.",
            stacklevel=2,
        )
