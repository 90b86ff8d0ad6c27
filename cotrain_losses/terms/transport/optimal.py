"""Optimal transport with its slots: cost, entropy, unbalance, reference, pairing.

    min over P >= 0 of   <P, C> + reg KL(P | R) + unbalanced [KL(P 1 | a) + KL(P' 1 | b)]

    KL(p | q) = sum p log(p / q) - p + q

Balanced (unbalanced = None): with P 1 = a, P' 1 = b in place of the last term.  The gradient is that of the
objective: C differentiated, P held fixed (envelope theorem).  Settings of it are DeepJDOT (Damodaran et al., ECCV
2018: reg 0), JUMBOT (Fatras et al., ICML 2021: unbalanced), Cheng et al. 2025 and EgoBridge (Punamiya et al. 2025).

Where libraries differ: POT's cost is |x - y|^2 as here, geomloss's |x - y|^2 / 2.  In unbalanced problems POT
before 0.9.5 took R = 1 1' ("ones"), since then a b' ("product").
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..._core import kernels
from ..._core.device import accurate, as_array
from ..._core.rows import Rows
from ..gradients import check_followed, with_gradients
from ..masses import first_those_of_mass
from ..pair import Pair
from ..term import Term
from . import launched
from .costs import Block, Callback, joined_rows, total_cost
from .coupling import Coupling, check_converged, spread_out
from .direct import diagonal
from .elsewhere import costs, exactly, masses_at, planned, pulls
from .matrix import coupled
from .problem import INF, Array, Solution
from .rounds import Plan
from .settings import Settings, prices
from .squared import cross
from .telling import check_solution


class OptimalTransport(Term):
    """What it costs to carry the source rows onto the target rows.

    Args:
        reg: weight of the entropy, in cost units.  0 is exact, on the CPU wherever the rows are, and not compiled.
        unbalanced: price of a unit of mass left behind, in cost units; a pair prices (source, target) apart.
            None carries everything.
        cost: blocks that are summed, see `Block`; any function (source, target) -> (n, m) may be one of them.
            None is |x - y|^2 of the features.
        reference: R, "product" a b', "ones" 1 1', or "diagonal": row i goes to row i or nowhere (n = m, paired
            batches), which has a closed form.
        pairing: a function (source, target) -> (n, m), a constant factor on the cost: below 1 where rows are known
            to belong together.
        value: "objective", or "linear" for <P, C> alone.  Both have the gradient of the objective.
        tolerance: on sum |P 1 - a|; a solve that does not reach it warns with its marginal error.
        max_iterations: of Sinkhorn's method; where they promise too little, Newton's method finishes.

    Shape:
        source (n, d), target (m, d), n and m free -> scalar.  Masses are normalised to one and are constants.

    Cost: O(n m) memory; O(n m (d + iterations)) time, O(n^3) where exact.  Accurate while max C / reg <= 1e6:
    beyond 1e3 the solver runs in float64, beyond 1e6 the exact plan is taken; `coupling` tells which.

    >>> x = torch.tensor([[0.0], [1.0]])
    >>> OptimalTransport(reg=0)(x, x + 2.0).item()
    4.0
    """

    def __init__(
        self,
        reg: float = 0.1,
        *,
        unbalanced: float | tuple[float, float] | None = None,
        cost: Sequence[Callback] | Callback | None = None,
        reference: str = "product",
        pairing: Callback | None = None,
        value: str = "objective",
        tolerance: float = 1e-4,
        max_iterations: int = 1000,
    ) -> None:
        super().__init__()
        if not 0 <= reg < INF:
            raise ValueError(f"reg is the entropy's weight in cost units and must be >= 0, got {reg}. 0 is exact.")
        if reference not in ("product", "ones", "diagonal"):
            raise ValueError(f'reference is "product", "ones" or "diagonal", got {reference!r}.')
        if value not in ("objective", "linear"):
            raise ValueError(f'value is "objective" or "linear", got {value!r}.')
        rho = prices("unbalanced", unbalanced)
        self.settings = Settings(float(reg), rho, reference == "ones", tolerance, max_iterations)
        blocks: Sequence[Callback] = (Block(),) if cost is None else (cost,) if callable(cost) else tuple(cost)
        if not all(callable(each) for each in (*blocks, *([] if pairing is None else [pairing]))):
            raise TypeError(
                f"cost and pairing are functions (source, target) -> (n, m), got cost={cost!r} and pairing={pairing!r}."
            )
        self.cost, self.reference, self.pairing, self.value = blocks, reference, pairing, value
        self._told = False

    def compare(self, pair: Pair) -> Tensor:
        if (value := self._launched(pair)) is not None:
            return value
        value, solution = self._solve(pair)
        if isinstance(solution, Solution):
            check_converged("OptimalTransport", solution, self.settings)
        return value

    @torch.no_grad()
    def coupling(self, source: Rows | Tensor, target: Rows | Tensor) -> Coupling:
        """The plan, with its potentials, value, marginal error, iterations and solver.

        Raises:
            ValueError: when a side is empty, or no group is on both sides.
        """
        pair = Pair.of("OptimalTransport", source, target)
        if pair.enough(self.min_samples) is False:
            raise ValueError(
                f"a coupling needs rows that can be compared on both sides, got {pair.n} source and "
                f"{pair.m} target rows.\nCheck the mask, the masses and the groups."
            )
        value, solution = self._solve(pair, potentials=True)
        return spread_out(solution, value, *pair.masses())

    def _solve(self, pair: Pair, *, potentials: bool = False) -> tuple[Tensor, Solution | Plan]:
        if self.reference == "diagonal":
            return self._diagonal(pair)
        if not pair.eager:
            check_followed(pair.source.features, pair.target.features)
            return self._elsewhere(pair)
        pair = pair.present()
        rows = None if self.pairing else joined_rows(self.cost, pair.source, pair.target)
        if rows is None:
            return self._matrix(pair, potentials)
        x, y = rows
        a, b = masses_of(pair)
        same, linear = as_array(pair.across), self.value == "linear"
        moved = cross(self.settings, as_array(x), as_array(y), a, b, same, linear=linear, potentials=potentials)
        pulls = (x, torch.from_numpy(moved.at_x)), (y, torch.from_numpy(moved.at_y))
        return with_gradients(moved.value, *pulls), moved.solution

    def _matrix(self, pair: Pair, potentials: bool) -> tuple[Tensor, Solution | Plan]:
        cost, same, (a, b) = self._cost(pair), pair.across, masses_of(pair)
        held = cost.detach() if same is None else cost.detach().where(same, cost.new_tensor(INF))
        matrix, bound = held.numpy(), float(cost.detach().max())
        a, b = a.astype(matrix.dtype, copy=False), b.astype(matrix.dtype, copy=False)
        solution = coupled(matrix.astype, bound, a, b, self.settings, potentials=potentials)
        plan = torch.from_numpy(np.ascontiguousarray(solution.plan)).to(cost)
        value = cost.new_tensor(solution.value()) if self.value == "objective" else (plan * cost.detach()).sum()
        return with_gradients(value, (cost, plan)), solution

    def _elsewhere(self, pair: Pair) -> tuple[Tensor, Plan]:
        rows = None if self.pairing else joined_rows(self.cost, pair.source, pair.target)
        if rows is not None:
            x, y, cost = costs(*rows)
            solution = self._planned(cost, pair)
            each = zip(rows, pulls(solution.plan, x, y), strict=True)
            known = [(side, pull.to(side)) for side, pull in each]
        else:
            held = self._cost(pair)
            cost = held.detach().to(accurate(held))
            solution = self._planned(cost, pair)
            known = [(held, solution.plan.to(held))]
        value = solution.value if self.value == "objective" else (solution.plan * cost).sum()
        return with_gradients(value.to(pair.source.features.dtype), *known), solution

    def _launched(self, pair: Pair) -> Tensor | None:
        """The value from Triton kernels; None where they do not take this problem."""
        if self.pairing or self.reference == "diagonal" or not launched.holds(pair, self.settings):
            return None
        as_they_are = self.cost == (Block(),)
        rows = pair.features if as_they_are else joined_rows(self.cost, pair.source, pair.target)
        if rows is None or not kernels.readable(*rows):
            return None
        linear = self.value == "linear"
        return launched.evaluated("OptimalTransport", pair, rows, self.settings, linear=linear)

    def _planned(self, cost: Tensor, pair: Pair) -> Plan:
        a, b = masses_at(pair, cost)
        if self.settings.eps > 0:
            return planned("OptimalTransport", cost, a, b, self.settings, pair.across, pair.flags)
        plan = exactly(cost, a, b, self.settings, pair.across)
        if not self._told:
            self._told = True
            warnings.warn(
                "OptimalTransport(reg=0) is exact and is solved on the CPU: every step waits for the device. "
                "A small reg, such as 0.01, is solved where the features are.",
                stacklevel=2,
            )
        return plan

    def _diagonal(self, pair: Pair) -> tuple[Tensor, Solution | Plan]:
        n, m = pair.n, pair.m
        if n != m:
            raise ValueError(
                'reference="diagonal" sends row i to row i and needs paired sides, '
                f'got {n} source and {m} target rows.\nUse reference="product".'
            )
        cost, (a, b) = self._cost(pair), pair.masses()
        if not (pair.plain or pair.eager):  # rows of no mass go last, so that pairs meet
            first, second = first_those_of_mass(a), first_those_of_mass(b)
            cost, a, b = cost[first][:, second], a[first], b[second]
        cost = cost.diagonal()
        solution = diagonal(cost.detach(), a.to(cost), b.to(cost), self.settings)
        check_solution("OptimalTransport", solution.error, None, self.settings, pair.flags, "a closed form")
        paired = solution.plan.diagonal()
        value = solution.value if self.value == "objective" else (paired * cost.detach()).sum()
        return with_gradients(value, (cost, paired)), solution

    def _cost(self, pair: Pair) -> Tensor:
        cost = total_cost(self.cost, pair.source, pair.target)
        return cost if self.pairing is None else cost * self.pairing(pair.source, pair.target).detach().to(cost)

    def extra_repr(self) -> str:
        rho = "" if self.settings.balanced else f", unbalanced={self.settings.rho}"
        return f"reg={self.settings.eps}{rho}, reference={self.reference!r}, value={self.value!r}"


def masses_of(pair: Pair) -> tuple[Array, Array]:
    """The masses of both sides, on the CPU."""
    if pair.plain:
        dtype = pair.source.features.dtype
        return uniform(pair.n, dtype), uniform(pair.m, dtype)
    a, b = pair.masses()
    return as_array(a), as_array(b)


@lru_cache(maxsize=64)
def uniform(n: int, dtype: torch.dtype) -> Array:
    """(n,) equal masses that sum to one, the same array every time."""
    return np.full(n, 1.0 / n, np.float64 if dtype == torch.float64 else np.float32)
