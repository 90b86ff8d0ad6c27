"""Least-squares density ratios: uLSIF and RuLSIF.

    r_a(x) = p_t(x) / (a p_t(x) + (1 - a) p_s(x))  ~  sum_l theta_l k(x, c_l)        k(x, c) = exp(-|x - c|^2 / 2 b^2)

    theta = max(0, (H + lambda I)^-1 h)      H = a mean_t[k k'] + (1 - a) mean_s[k k']        h = mean_t[k]

a = 0 is uLSIF, Kanamori et al. 2009, eq. 11; a > 0 is RuLSIF, Yamada et al. 2013, eq. 3-5: bounded by 1 / a, so
no sample can dominate.  Bandwidth and lambda are chosen by leave-one-out on

    J = a/2 mean_t[r^2] + (1 - a)/2 mean_s[r^2] - mean_t[r]                one pair (t_i, s_i) left out at a time

in closed form: leaving a pair out changes H by two outer products, so with one eigendecomposition per bandwidth each
(pair, lambda) costs inner products and one matrix product for all pairs together.  The clipping at zero is part of
the score (Kanamori et al., section 5.2).  With a = 0 this is the exact leave-one-out; with a > 0 and n != m, H's
target part is reweighed by n / (n - 1) instead of m / (m - 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from .._core.distances import squared_distances
from .ratio import DensityRatio, checked_sides, kernel_centres, median_distance

SCALES = tuple(2.0 ** (k / 2) for k in range(-4, 5))
PENALTIES = tuple(10.0 ** (k / 2) for k in range(-6, 3))


@dataclass(frozen=True)
class RuLSIF:
    """Relative unconstrained least-squares importance fitting.

    Args:
        alpha: a in [0, 1).  0 estimates p_t / p_s itself, more gives up resolution for a bound of 1 / a.
        bandwidths: kernel widths to choose from, in the units of the samples; None: the median distance times 1/4 to 4.
        penalties: values of lambda to choose from.
        centres: how many kernels, at target samples drawn with `seed`; or the centres themselves (k, d).
        pairs: at most how many pairs are left out, one at a time, in the choice.

    `fit(source (n, d), target (m, d))` costs O((n + m) k d) and, per bandwidth, O((n + m) k^2 + pairs k^2 |penalties|).
    The kernels share one width: bring dimensions to comparable units first.

    >>> x = torch.linspace(-2, 2, 50).unsqueeze(1)
    >>> ratio = RuLSIF().fit(x, x + 0.1)
    >>> bool(ratio(x).max() <= 10)
    True
    """

    alpha: float = 0.1
    bandwidths: Sequence[float] | None = None
    penalties: Sequence[float] = PENALTIES
    centres: int | Tensor = 100
    pairs: int = 5000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha < 1.0:
            raise ValueError(f"alpha is the target's share of the denominator and lies in [0, 1), got {self.alpha!r}.")
        if min(self.penalties) <= 0 or min(self.bandwidths or [1.0]) <= 0:
            raise ValueError(
                f"penalties and bandwidths are above 0, got {self.penalties} and {self.bandwidths}. "
                "A penalty of 1e-3 and the median distance are a start."
            )

    def fit(self, source: Tensor, target: Tensor) -> DensityRatio:
        """The relative ratio target / (a target + (1 - a) source)."""
        source, target = checked_sides(type(self).__name__, source, target)
        centres = self._centres(target)
        bandwidths = self.bandwidths or [median_distance(target, source) * scale for scale in SCALES]
        to_source, to_target = squared_distances(source, centres), squared_distances(target, centres)
        choices = (self._best(b, to_source, to_target) for b in bandwidths)
        score, bandwidth, penalty, theta = min(choices, key=lambda choice: choice[0])
        chosen = {"bandwidth": bandwidth, "penalty": penalty, "score": score}
        return kernel_ratio(centres, theta, bandwidth, to_source, chosen)

    def coefficients(self, source: Tensor, target: Tensor, *, bandwidth: float, penalty: float) -> Tensor:
        """(k,) theta at one bandwidth and penalty, for the centres this estimator uses."""
        source, target = checked_sides(type(self).__name__, source, target)
        centres = self._centres(target)
        phi_s, phi_t = (gaussian(squared_distances(x, centres), bandwidth) for x in (source, target))
        identity = torch.eye(len(centres), dtype=phi_s.dtype, device=phi_s.device)
        theta: Tensor = torch.linalg.solve(self._gram(phi_s, phi_t) + penalty * identity, phi_t.mean(0))
        return theta.clamp_min(0)

    def _centres(self, target: Tensor) -> Tensor:
        if isinstance(self.centres, Tensor):
            return self.centres.detach().to(target)
        return kernel_centres(target, self.centres, self.seed)

    def _gram(self, phi_s: Tensor, phi_t: Tensor) -> Tensor:
        return self.alpha * (phi_t.T @ phi_t) / len(phi_t) + (1 - self.alpha) * (phi_s.T @ phi_s) / len(phi_s)

    def _best(self, bandwidth: float, to_source: Tensor, to_target: Tensor) -> tuple[float, float, float, Tensor]:
        """The score, bandwidth, best penalty and its coefficients."""
        phi_s, phi_t = gaussian(to_source, bandwidth), gaussian(to_target, bandwidth)
        values, basis = torch.linalg.eigh(self._gram(phi_s, phi_t))
        values, h, n, m = values.clamp_min(0), phi_t.mean(0) @ basis, len(phi_s), len(phi_t)
        phi = phi_s[: (used := min(n, m, self.pairs))], phi_t[:used]
        s, t = phi[0] @ basis, phi[1] @ basis
        left_out = _LeaveOneOut(phi, (s, t), (s * s, s * t, t * t), values, basis, h, self.alpha, n, m)
        score, penalty = min((left_out.score(penalty), penalty) for penalty in self.penalties)
        return score, bandwidth, penalty, (basis @ (h / (values + penalty))).clamp_min(0)


@dataclass(frozen=True)
class ULSIF(RuLSIF):
    """Unconstrained least-squares importance fitting: `RuLSIF` with alpha = 0.

    >>> _ = torch.manual_seed(0)
    >>> ratio = ULSIF(centres=20).fit(torch.randn(200, 1), 0.5 + torch.randn(100, 1))
    >>> bool(ratio(torch.tensor([[1.0]])) > ratio(torch.tensor([[-1.0]])))
    True
    """

    alpha: float = 0.0


def kernel_ratio(
    centres: Tensor, theta: Tensor, bandwidth: float, to_source: Tensor, chosen: dict[str, float]
) -> DensityRatio:
    """The ratio sum_l theta_l k(x, c_l), from squared distances (n, k) of the source samples to the centres."""
    log_ratio = partial(_log_kernel_sum, centres=centres, theta=theta, bandwidth=bandwidth)
    return DensityRatio(log_ratio, gaussian(to_source, bandwidth) @ theta, chosen)


def _log_kernel_sum(x: Tensor, centres: Tensor, theta: Tensor, bandwidth: float) -> Tensor:
    return (gaussian(squared_distances(x, centres), bandwidth) @ theta).log()


class _LeaveOneOut(NamedTuple):
    """What the scores of all penalties share; phi are kernels of the pairs left out, s and t those in H's basis."""

    phi: tuple[Tensor, Tensor]
    st: tuple[Tensor, Tensor]
    products: tuple[Tensor, Tensor, Tensor]
    values: Tensor
    basis: Tensor
    h: Tensor
    alpha: float
    n: int
    m: int

    def score(self, penalty: float) -> float:
        """J with every pair judged by the coefficients of all others."""
        n, m, a, inverse = self.n, self.m, self.alpha, 1 / (self.values + penalty * (self.n - 1) / self.n)
        inner = self.h
        for side, change in zip(self.st, self._changes(inverse), strict=True):
            inner = torch.addcmul(inner, side, change.unsqueeze(1))
        theta = (inner @ (self.basis * inverse).T).clamp_min_(0) * ((n - 1) / n * m / (m - 1))
        at_source, at_target = (torch.linalg.vecdot(theta, phi) for phi in self.phi)
        return float((a / 2 * at_target.square() + (1 - a) / 2 * at_source.square() - at_target).mean())

    def _changes(self, inverse: Tensor) -> tuple[Tensor, Tensor]:
        """x, y with (H + l)^-1 (h + x s + y t) the solution without the pair: Woodbury's identity, two by two."""
        ss, st, tt = (product @ inverse for product in self.products)
        hs, ht = (side @ (inverse * self.h) for side in self.st)
        root_s, root_t = ((1 - self.alpha) / self.n) ** 0.5, (self.alpha / self.m) ** 0.5
        a, b, d = 1 - root_s**2 * ss, -root_s * root_t * st, 1 - root_t**2 * tt
        f, g = root_s * (hs - st / self.m), root_t * (ht - tt / self.m)
        determinant = a * d - b * b
        return root_s * (d * f - b * g) / determinant, root_t * (a * g - b * f) / determinant - 1 / self.m


def gaussian(squared: Tensor, bandwidth: float) -> Tensor:
    """exp(-squared / 2 b^2)."""
    return torch.exp(squared / (-2 * bandwidth**2))
