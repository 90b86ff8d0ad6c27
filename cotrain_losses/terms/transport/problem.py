"""The entropic transport problem, and a solution of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
INF = float("inf")
LEAST = -690.0  # beyond, exp leaves the normal numbers of float64 and takes up to fifty times as long


@dataclass(frozen=True)
class Problem:
    """min <P, C> + eps KL(P | alpha beta') + rho_a KL(P 1 | a) + rho_b KL(P' 1 | b); rho = inf is a constraint."""

    a: Array
    b: Array
    alpha: Array
    beta: Array
    eps: float
    rho: tuple[float, float] = (INF, INF)

    def at(self, eps: float) -> Problem:
        """The same problem with another eps."""
        return replace(self, eps=eps)

    def to(self, dtype: Any) -> Problem:
        """The same problem in another precision."""
        a, b, alpha, beta = (x.astype(dtype, copy=False) for x in (self.a, self.b, self.alpha, self.beta))
        return replace(self, a=a, b=b, alpha=alpha, beta=beta)

    @property
    def transposed(self) -> Problem:
        """The same problem with the sides exchanged."""
        return Problem(self.b, self.a, self.beta, self.alpha, self.eps, self.rho[::-1])


class Start(NamedTuple):
    """Potentials to start from, with the exponent of their kernel, within the range of exp."""

    exponent: Array
    """(f0 + g0 - C) / eps, (n, m); it is overwritten."""
    f0: Array | float = 0.0
    g0: Array | float = 0.0


@dataclass
class Solution:
    """P = u K v, with K = exp((f0 + g0 - C) / eps), the marginals' error, and what it took."""

    problem: Problem
    kernel: Array
    u: Array
    v: Array
    f0: Array | float = 0.0
    g0: Array | float = 0.0
    error: float = INF
    iterations: int = 0
    solver: str = "Sinkhorn"
    objective: float | None = None
    old: Array | None = None
    """v one iteration ago, while iterating"""

    @property
    def f(self) -> Array:
        """(n,) potential of the source: f0 + eps log(u / alpha)."""
        return np.asarray(self.f0 + self.problem.eps * np.log(self.u / self.problem.alpha))

    @property
    def g(self) -> Array:
        """(m,) potential of the target."""
        return np.asarray(self.g0 + self.problem.eps * np.log(self.v / self.problem.beta))

    @property
    def plan(self) -> Array:
        """(n, m) coupling."""
        return self.u[:, None] * self.kernel * self.v

    def mass(self) -> float:
        """How much the plan carries in all."""
        return float(self.u.dot(self.kernel.dot(self.v)))

    def value(self) -> float:
        """The objective, as its dual: a lower bound whose error is second order in that of the potentials."""
        if self.objective is not None:
            return self.objective
        return dual_value(self.problem, self.f.astype(float), self.g.astype(float), self.mass())


def exponential(f: Array, g: Array, cost: Array, eps: float) -> Array:
    """exp((f + g - C) / eps), (n, m)."""
    kernel = np.subtract(f[:, None], cost)
    kernel += g
    kernel *= 1.0 / eps
    if kernel.itemsize < 8 or not kernel.size or kernel.min() > LEAST:
        return np.exp(kernel, out=kernel)
    nothing = kernel < LEAST
    np.exp(np.maximum(kernel, LEAST, out=kernel), out=kernel)
    kernel[nothing] = 0.0
    return kernel


def dual_value(problem: Problem, f: Array, g: Array, mass: float) -> float:
    """sum of what both sides hold - eps (mass of the plan - mass of the reference)."""
    reference = problem.alpha.sum(dtype=float) * problem.beta.sum(dtype=float)
    held = _held(f, problem.a, problem.rho[0]) + _held(g, problem.b, problem.rho[1])
    return float(held + problem.eps * (reference - mass))


def wanted(f: Array, a: Array, rho: float) -> Array:
    """The marginal that a potential asks for: a where it is a constraint, else a exp(-f / rho)."""
    return a if rho == INF else a * np.exp(-f / rho)


def _held(f: Array, a: Array, rho: float) -> float:
    return float(a @ f) if rho == INF else float(-rho * (a @ np.expm1(-f / rho)))
