"""Alignment: how far apart the features of two domains lie.

    W(P, Q)   = inf_coupling sqrt( E |x - y|^2 )          exact transport, and its entropic divergence
    SW(P, Q)  = sqrt( d E_theta W(theta P, theta Q)^2 )   over directions theta of the unit sphere
    MMD(P, Q) = sqrt( E k(x,x') + E k(y,y') - 2 E k(x,y) )
    GW(P, Q)  = inf_coupling sqrt( E ( |x - x'| - |y - y'| )^2 )    widths may differ

W, SW and GW are in units of the pooled spread sqrt((s_P^2 + s_Q^2) / 2), s^2 = E |x - E x|^2: an overall scale
of the features cancels.  MMD has none (its bandwidth is the median distance).  The factor d makes a pure shift
read the same in SW as in W (Bonneel et al. 2015 define it without).  GW: Memoli 2011, with the distance, not its
square, as inner cost; a local minimum, hence an upper bound.

An empirical W is too large by an amount that falls only like n^(-1/d): two samples of *one* distribution are far
apart where d is large.  So every distance is measured between halves of the two domains, of one size and with no
episode in both, and beside it stands the distance between two halves of one domain:

    value       root of the mean of D(source half, target half)^2
    split_half  the same between two halves of the target
    multiple    value / split_half, about 1 under identical distributions
    debiased    root of  value^2 - (split_half of the target^2 + of the source^2) / 2

For a pure shift `debiased` is exact in expectation whatever d and n are; in general it errs low and `value` errs
high, so the truth lies between, up to the standard errors (compare Papp & Sherlock 2022).  Standard errors are
by half-samples (McCarthy 1969): the two pairs of halves of one halving are independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from .._core.distances import squared_distances
from ..terms.mmd import MMD
from .sides import Replicate

Squared = Callable[[Tensor, Tensor], float]
"""A squared distance between two samples."""

WIDE = 2.6
"""standard errors to each side of an interval: the 95 % quantile of t with 5 degrees of freedom, for few halvings."""


def spread(x: Tensor) -> float:
    """sqrt(E |x - E x|^2) of rows (n, d)."""
    return math.sqrt(float((x - x.mean(0)).square().sum(1).mean()))


def pooled_spread(source: Tensor, target: Tensor) -> float:
    """The two domains' own spreads, pooled with equal weight: sqrt((s_S^2 + s_T^2) / 2).

    >>> x = torch.tensor([[-1.0], [1.0]])
    >>> round(pooled_spread(x, x + 5.0), 3)
    1.0
    """
    return math.sqrt((spread(source) ** 2 + spread(target) ** 2) / 2)


def wasserstein(source: Tensor, target: Tensor) -> float:
    """The exact 2-Wasserstein distance of rows (n, d) and (m, d), in units of the features.

    Blind to order, common shifts and rotations.  Time about O(n^3) at worst, memory O(n m).

    >>> wasserstein(torch.zeros(3, 2), torch.ones(3, 2)) / 2**0.5
    1.0
    """
    return math.sqrt(squared_wasserstein(source, target))


def squared_wasserstein(source: Tensor, target: Tensor) -> float:
    """The optimal mean squared displacement: |E x - E y|^2 + W^2 between the centred sides.

    Taking the means apart first leaves the value as it is: solvers run up to ten times faster.
    """
    from ..terms.transport.exact import exact

    source, target = source.cpu().double(), target.cpu().double()
    shift = source.mean(0) - target.mean(0)
    cost = squared_distances(source - source.mean(0), target - target.mean(0)).numpy()
    a, b = (np.full(n, 1.0 / n) for n in cost.shape)
    return float(shift.square().sum()) + exact(cost, a, b).value()


def squared_sinkhorn(source: Tensor, target: Tensor, *, blur: float) -> float:
    """The entropic divergence on |x - y|^2, debiased: between W^2 (blur 0) and |E x - E y|^2 (blur large)."""
    from ..terms.transport import Sinkhorn

    with torch.no_grad():
        return max(2 * float(Sinkhorn(blur=blur)(source.float(), target.float())), 0.0)


def squared_sliced(source: Tensor, target: Tensor, *, projections: int = 256, seed: int = 0) -> float:
    """d times the mean over random directions of the exact one-dimensional W^2; any n and m, O(n log n) each.

    Directions come in whole orthogonal frames where d <= 512, which makes a pure shift exact; beyond, 512 orthogonal
    ones leave a relative error of at most 6 % on the square.
    """
    from ot import wasserstein_1d  # type: ignore[import-untyped]  # imports jax and tensorflow where installed, so only here

    x, y = (side.double() @ directions(source.shape[1], projections, seed) for side in (source, target))
    return source.shape[1] * float(wasserstein_1d(x, y, p=2).mean())


def directions(width: int, projections: int, seed: int) -> Tensor:
    """(width, p) unit vectors in orthogonal frames, p at least `projections` where the width allows no more."""
    generator, size = torch.Generator().manual_seed(seed), min(width, 512)
    frames = math.ceil(projections / size)
    drawn = (torch.randn(width, size, generator=generator, dtype=torch.float64) for _ in range(frames))
    return torch.cat([torch.linalg.qr(x).Q for x in drawn], 1)


def squared_gromov(source: Tensor, target: Tensor, *, rows: int = 96) -> float:
    """Gromov-Wasserstein between the first `rows` rows of each side, the lower of two starts of POT's solver."""
    import ot

    inner = [squared_distances(x[:rows], x[:rows]).sqrt().fill_diagonal_(0.0).numpy() for x in (source, target)]
    matched = ot.emd([], [], ot.dist(*(c.mean(1)[:, None] for c in inner)))
    starts = (None, matched)  # the product coupling, and eccentricities matched (Memoli's first lower bound)
    solve = partial(ot.gromov.gromov_wasserstein2, *inner, symmetric=True, max_iter=200, tol_rel=1e-6)
    return max(min(float(solve(G0=start)) for start in starts), 0.0)


def squared_mmd(source: Tensor, target: Tensor, *, bandwidth: float) -> float:
    """The biased estimate, never negative."""
    with torch.no_grad():
        return float(MMD(bandwidth, estimator="biased")(source, target))


def squared_measures(unit: float, bandwidth: float | None) -> dict[str, tuple[Squared, float]]:
    """Every measure for features of a pooled spread `unit`, with the unit it is given in; MMD where it has a kernel."""
    measures: dict[str, tuple[Squared, float]] = {
        "wasserstein": (squared_wasserstein, unit),
        "sinkhorn": (partial(squared_sinkhorn, blur=0.5 * unit), unit),
        "sliced_wasserstein": (squared_sliced, unit),
        "gromov_wasserstein": (squared_gromov, unit),  # the slowest: few rows, see there
    }
    return measures if bandwidth is None else measures | {"mmd": (partial(squared_mmd, bandwidth=bandwidth), 1.0)}


@dataclass(frozen=True)
class Estimate:
    """A distance between two domains beside the target's distance from itself; see the module for each part.

    >>> Estimate(1.1, 0.05, 0.4, 2.75, 1.0, (0.9, 1.1), (0.6, 1.2), rows=512).debiased
    1.0
    """

    value: float
    standard_error: float
    split_half: float
    multiple: float
    debiased: float
    debiased_interval: tuple[float, float]
    """WIDE standard errors around `debiased`, taken on squares."""
    interval: tuple[float, float]
    """[debiased, value], widened by as many: holds the population's distance."""
    rows: int
    """rows in each half."""

    def as_dict(self) -> dict[str, object]:
        """Plain numbers."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def estimate(measure: Squared, halvings: Iterable[Replicate], *, unit: float = 1.0) -> Estimate:
    """`measure` over halvings of the two domains, in units of `unit`."""
    halvings = list(halvings)
    sides = [((c, a), (d, b), (a, b), (c, d)) for (c, d), (a, b) in halvings]
    table = torch.tensor([[measure(x, y) for x, y in each] for each in sides], dtype=torch.float64) / unit**2
    pairs, own_target, own_source = table[:, :2], table[:, 2], table[:, 3]
    across, target = float(pairs.mean()), float(own_target.mean())
    error = float((pairs[:, 0] - pairs[:, 1]).square().mean().sqrt() / 2)
    between = (own_target + own_source) / 2
    debiased = across - float(between.mean())
    slack = math.hypot(error, float(between.std()) if len(halvings) > 1 else 0.0)
    value = math.sqrt(across)
    return Estimate(
        value=value,
        standard_error=error / (2 * value) if value > 0 else 0.0,
        split_half=math.sqrt(target),
        multiple=value / math.sqrt(target) if target > 0 else (1.0 if value == 0 else math.inf),
        debiased=_root(debiased),
        debiased_interval=(_root(debiased - WIDE * slack), _root(debiased + WIDE * slack)),
        interval=(_root(debiased - WIDE * slack), _root(across + WIDE * error)),
        rows=len(halvings[0].target[0]),
    )


def _root(squared: float) -> float:
    return math.sqrt(max(squared, 0.0))
