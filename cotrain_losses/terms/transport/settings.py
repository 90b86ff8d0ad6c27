"""What a transport term was asked to solve."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..._core.checks import whole
from .problem import INF

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
        object.__setattr__(self, "limit", whole("max_iterations", self.limit, 1))
        if not self.tolerance > 0:
            raise ValueError(f"tolerance bounds the marginals' error and is > 0, got {self.tolerance}.")

    @property
    def balanced(self) -> bool:
        """Whether all mass is carried."""
        return self.rho == (INF, INF)

    def turned(self, n: int, m: int) -> bool:
        """Whether the source's potentials are solved for, not the target's: what is free, then what is smaller."""
        fixed = [rho == INF for rho in self.rho]
        return fixed[1] > fixed[0] or (fixed[0] == fixed[1] and n < m)

    @property
    def transposed(self) -> Settings:
        """The same with the sides exchanged."""
        return replace(self, rho=self.rho[::-1])


def prices(name: str, unbalanced: float | tuple[float, float] | None) -> tuple[float, float]:
    """The price of mass left behind on each side; None is infinite."""
    pair = unbalanced if isinstance(unbalanced, tuple) else (unbalanced, unbalanced)
    source, target = (INF if price is None else float(price) for price in pair)
    if not (source > 0 and target > 0):
        raise ValueError(f"{name} is the price of mass left behind and must be > 0, got {unbalanced}. None moves all.")
    return source, target
