"""The energy distance: align two sets of features without a bandwidth.

    E(P, Q) = 2 E|x - y| - E|x - x'| - E|y - y'|

Zero exactly when P = Q (Szekely & Rizzo 2004); it is MMD^2 with the kernel -|x - y| (Sejdinovic et al. 2013).
geomloss's SamplesLoss("energy") is half of it.  As in both, all pairs count, a row with itself included.
"""

from __future__ import annotations

from torch import Tensor

from ..._core import kernels
from ..._core.distances import distances
from ..pair import Pair
from ..pooled import poolable
from ..term import Term
from .launched import energy
from .pairs import between, within


class EnergyDistance(Term):
    """2 E|x - y| - E|x - x'| - E|y - y'|, in feature units, never negative.

    Shape:
        source (n, d), target (m, d), n and m free -> scalar.  The slope of |x - y| at x = y is taken as zero.

    Cost: O((n + m)^2 d) time, O((n + m)^2) memory.

    >>> import torch
    >>> round(EnergyDistance()(torch.zeros(4, 1), torch.ones(2, 1)).item(), 5)
    2.0
    """

    def compare(self, pair: Pair) -> Tensor:
        if poolable(pair) and (value := kernels.attempted(lambda: energy(pair))) is not None:
            return value
        a, b = pair.masses()
        x, y = pair.source.features, pair.target.features
        same_source, same_target = pair.within
        across = (between(a, b, pair.across) * distances(x, y)).sum()
        of_source = (within(a, same_source, distinct=False) * distances(x, x)).sum()
        of_target = (within(b, same_target, distinct=False) * distances(y, y)).sum()
        return 2 * across - of_source - of_target
