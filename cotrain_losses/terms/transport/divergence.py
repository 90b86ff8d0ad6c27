"""The debiased Sinkhorn divergence.

    S(a, b) = OT(a, b) - 1/2 OT(a, a) - 1/2 OT(b, b),      cost |x - y|^2 / 2,   eps = blur^2,   rho = reach^2

OT being the entropic objective of optimal.py with R = a b'.  Zero exactly when the two sides are equal, positive
otherwise; blur -> 0 gives optimal transport, blur -> infinity the distance of the means, |mean x - mean y|^2 / 2.
Feydy et al., AISTATS 2019; unbalanced: Sejourne et al. 2019.  geomloss's SamplesLoss("sinkhorn", p=2) is the same
divergence with the same blur and reach.  POT's reg is 2 blur^2, its cost being |x - y|^2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..._core.device import as_array
from ..._core.distances import squared_distances
from ..gradients import check_followed, with_gradients
from ..pair import Pair
from ..term import Term
from . import launched
from .coupling import check_converged
from .direct import symmetric
from .elsewhere import costs, masses_at, planned, pulls
from .online import online, streamed
from .optimal import masses_of
from .settings import Settings, prices
from .squared import cross, own


class Sinkhorn(Term):
    """The debiased Sinkhorn divergence of source and target features.

    Args:
        blur: the length below which details are not seen, in feature units.
        reach: the length beyond which mass is left behind rather than moved, in feature units; None moves all.
        tolerance: on sum |P 1 - a| of each of the three plans; a solve that does not reach it warns.
        max_iterations: of Sinkhorn's method; where they promise too little, Newton's method finishes.

    Shape:
        source (n, d), target (m, d), n and m free -> scalar.  Masses are normalised to one and are constants.

    Cost: O(n^2 + n m + m^2) memory, as much times (d + iterations) in time; beyond 7,000 rows on a side O(n + m)
    memory by geomloss and KeOps where pykeops is installed, at their accuracy (see online.py).  Rounding can leave a
    value a little below zero, of the order of the tolerance squared.

    >>> x = torch.tensor([[0.0], [1.0]])
    >>> round(Sinkhorn(blur=0.1)(x, x + 2.0).item(), 4)
    2.0
    """

    def __init__(
        self, blur: float = 0.05, *, reach: float | None = None, tolerance: float = 1e-4, max_iterations: int = 1000
    ) -> None:
        super().__init__()
        if not 0 < blur < float("inf"):
            raise ValueError(f"blur is a length in feature units and must be > 0, got {blur}.")
        price = prices("reach", reach)[0]
        self.blur, self.reach = float(blur), reach
        self.settings = Settings(blur**2, (price**2, price**2), False, tolerance, max_iterations)

    def compare(self, pair: Pair) -> Tensor:
        if streamed(pair.n, pair.m, device=pair.device, grouped=pair.grouped):
            x, y = pair.source.features, pair.target.features
            a, b = (mass.to(x) for mass in pair.masses())
            return online(x, y, a, b, blur=self.blur, reach=self.reach)
        if pair.eager:
            return self._solved(pair.present())
        value = None
        if launched.holds(pair, self.settings):
            value = launched.evaluated("Sinkhorn", pair, pair.features, self.settings, scale=0.5, debiased=True)
        return self._elsewhere(pair) if value is None else value

    def _solved(self, pair: Pair) -> Tensor:
        x, y = (rows.features * 0.5**0.5 for rows in (pair.source, pair.target))
        (a, b), (same_x, same_y) = masses_of(pair), pair.within
        across = cross(self.settings, as_array(x), as_array(y), a, b, as_array(pair.across))
        check_converged("Sinkhorn", across.solution, self.settings)
        at_x, of_x = own(self.settings, as_array(x), a, as_array(same_x))
        at_y, of_y = own(self.settings, as_array(y), b, as_array(same_y))
        pulls = (x, torch.from_numpy(across.at_x - at_x)), (y, torch.from_numpy(across.at_y - at_y))
        return with_gradients(across.value - 0.5 * of_x - 0.5 * of_y, *pulls)

    def _elsewhere(self, pair: Pair) -> Tensor:
        check_followed(pair.source.features, pair.target.features)
        sides = tuple(rows.features * 0.5**0.5 for rows in (pair.source, pair.target))
        x, y, cost = costs(*sides)
        a, b = masses_at(pair, cost)
        across = planned("Sinkhorn", cost, a, b, self.settings, pair.across, pair.flags)
        value, at = across.value, pulls(across.plan, x, y)
        del cost, across  # matrices make room for the next ones
        moved = []
        for side, pull, z, mass, same in zip(sides, at, (x, y), (a, b), pair.within, strict=True):
            worth, half = self._own(z, mass, same)
            value = value - 0.5 * worth
            moved.append((side, (pull - half).to(side)))
        return with_gradients(value.to(sides[0].dtype), *moved)

    def _own(self, x: Tensor, mass: Tensor, same: Tensor | None) -> tuple[Tensor, Tensor]:
        """Transport from rows to themselves: its value, and half its gradient."""
        plan = symmetric(squared_distances(x, x).fill_diagonal_(0.0), mass, self.settings, same)
        return plan.value, pulls(plan.plan, x, x)[0]

    def extra_repr(self) -> str:
        return f"blur={self.blur}" + ("" if self.reach is None else f", reach={self.reach}")
