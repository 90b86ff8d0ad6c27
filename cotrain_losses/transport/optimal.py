"""OptimalTransport."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..masses import balanced_masses
from ..term import Rows, Term
from .costs import Block, Callback, forbidden, total_cost
from .coupling import Coupling
from .entropic import entropic
from .exact import exact

INF = float("inf")


class OptimalTransport(Term):
    """What it costs to carry the source features onto the target features.

        <P, C> + reg KL(P | R) + unbalanced [KL(P 1 | a) + KL(P' 1 | b)]      KL(p | q) = sum p log(p / q) - p + q

    minimised over plans P >= 0 (balanced: with P 1 = a, P' 1 = b).

    Args:
        reg: eps of the entropy, in cost units.  0 is exact transport.
        unbalanced: price of a unit of mass left behind, in cost units: one number, or one for each side.
            None transports everything.
        cost: blocks that are summed, see `Block`; any function (source, target) -> (n, m) may stand among
            them.  None is |x - y|^2 of the features.
        reference: R: "product" a b', "ones" (plain negative entropy; POT before 0.9.5 in unbalanced
            problems) or "diagonal" (n = m, row i only to row i: paired batches).
        pairing: a function (source, target) -> (n, m), a factor on the cost; a constant.
        value: "objective" is the whole objective, "linear" only <P, C>.  Both have one gradient, that of the
            objective (envelope theorem): P held fixed, C differentiated.
        tolerance: on the marginals, sum |P 1 - a|; a solve that does not reach it warns.
        max_iterations: how long it tries.
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
        self.rho = _prices(unbalanced)
        if reg == 0 and self.rho != (INF, INF):
            raise ValueError("unbalanced transport is solved with entropy, got reg=0.\nUse a small reg, such as 0.01.")
        blocks: Sequence[Callback] = (Block(),) if cost is None else (cost,) if callable(cost) else tuple(cost)
        self.cost, self.pairing = blocks, pairing
        self.reg, self.reference, self.value = float(reg), reference, value
        self.tolerance, self.max_iterations = tolerance, max_iterations

    def compare(self, source: Rows, target: Rows) -> Tensor:
        cost = self._cost(source, target)
        coupling = self._solve(cost.detach(), source, target)
        if coupling.marginal_error > 10 * self.tolerance:
            warnings.warn(
                f"OptimalTransport did not converge: after {coupling.iterations} iterations the marginals are off by "
                f"{coupling.marginal_error:.1e} (tolerance {self.tolerance:.0e}). Raise reg or max_iterations.",
                stacklevel=4,
            )
        linear = (coupling.plan * cost).sum()
        return linear if self.value == "linear" else linear + (coupling.value - linear.detach())

    @torch.no_grad()
    def coupling(self, source: Rows | Tensor, target: Rows | Tensor) -> Coupling:
        """The plan with its potentials, value, marginal error, iterations and solver."""
        source, target = self.admit(source, target)
        return self._solve(self._cost(source, target), source, target)

    def _cost(self, source: Rows, target: Rows) -> Tensor:
        cost = total_cost(self.cost, source, target)
        return cost if self.pairing is None else cost * self.pairing(source, target).detach().to(cost)

    def _solve(self, cost: Tensor, source: Rows, target: Rows) -> Coupling:
        masses, banned = balanced_masses(source, target), forbidden(source, target)
        C, a, b = (x.double().cpu().numpy() for x in (cost, *masses))
        if banned is not None:
            C = np.where(banned.cpu().numpy(), 1e6 * (1.0 + np.abs(C).max()), C)
        rows, columns = a > 0, b > 0
        C, a, b = C[rows][:, columns], a[rows], b[columns]
        error, iterations = 0.0, 0
        if self.reg == 0:
            plan, f, g, solver = exact(C, a, b)
            value = (plan * C).sum()
        else:
            ones = self.reference == "ones"
            alpha, beta = (np.ones_like(a), np.ones_like(b)) if ones else (a, b)
            if self.reference == "diagonal":
                C = np.where(np.eye(len(a), dtype=bool), C, INF)
            f, g, plan, error, iterations = entropic(
                C,
                a / alpha,
                b / beta,
                alpha,
                beta,
                self.reg,
                self.rho,
                tolerance=self.tolerance,
                max_iterations=self.max_iterations,
            )
            solver = "Sinkhorn"
            value = (plan * np.where(plan > 0, C, 0)).sum() + self.reg * _kl(plan, alpha[:, None] * beta)
            for mass, held, rho in ((plan.sum(1), a, self.rho[0]), (plan.sum(0), b, self.rho[1])):
                value = value + (0.0 if rho == INF else rho * _kl(mass, held))
        whole = np.zeros((len(rows), len(columns)))
        whole[np.ix_(rows, columns)] = plan
        return Coupling(
            torch.from_numpy(whole).to(cost),
            (torch.from_numpy(f).to(cost), torch.from_numpy(g).to(cost)),
            torch.tensor(float(value), dtype=cost.dtype, device=cost.device),
            error,
            iterations,
            solver,
        )


def _prices(unbalanced: float | tuple[float, float] | None) -> tuple[float, float]:
    if unbalanced is None:
        return INF, INF
    prices = unbalanced if isinstance(unbalanced, tuple) else (unbalanced, unbalanced)
    if not all(0 < price for price in prices):
        raise ValueError(f"unbalanced is the price of mass left behind and must be > 0, got {unbalanced}.")
    return prices


def _kl(p: np.ndarray, q: np.ndarray) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float((np.where(p > 0, p * np.log(p / q), 0.0) - p + q).sum())
