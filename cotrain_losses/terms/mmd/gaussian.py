"""Maximum mean discrepancy: align two sets of features by their kernel means.

    MMD^2(P, Q) = E k(x, x') + E k(y, y') - 2 E k(x, y)      x, x' ~ P    y, y' ~ Q

with the Gaussian kernel k(x, y) = mean_s exp(-|x - y|^2 / 2 (b s)^2), b the bandwidth and s the scales.
Zero exactly when P = Q.  Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, Lemma 6; a sum of kernels
over several bandwidths is Long et al., "Deep Adaptation Networks", ICML 2015; a product of kernels over
features and labels is their "Joint Adaptation Networks", ICML 2017.

The literature disagrees: some sum over the scales (here: the mean), some write exp(-|x - y|^2 / b), some
halve the whole.  A weight absorbs factors; bandwidths have to be converted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..._core import kernels
from ..._core.device import as_array
from ..._core.distances import squared_distances
from ..._core.rows import Rows
from ..gradients import with_gradients
from ..masses import first_those_of_mass
from ..pair import Pair
from ..pooled import poolable
from ..term import Term
from .fused import fused
from .launched import mean_embeddings
from .pairs import between, median_square, within


class MMD(Term):
    """Squared maximum mean discrepancy between source and target features.

    Args:
        bandwidth: kernel width, in the units of the features.  None takes the median distance between
            distinct rows of the batch (Gretton's heuristic), "mean" the root of the mean squared distance
            between them; both are treated as constants.
        scales: kernels are averaged over `bandwidth * scale`.
        estimator: "unbiased" (eq. 3 of Gretton et al.; may be slightly negative near alignment, and clamping
            would bias it back), "biased" (eq. 5, never negative), or "linear" (their section 6: disjoint pairs
            of consecutive rows, O((n + m) d), noisy; the larger side's surplus rows are not used).
        extras: names of extras whose kernels multiply that of the features, for alignment of the joint
            distribution.  Each takes the median (or mean) of its own distances for bandwidth.

    Shape:
        source (n, d), target (m, d) with n, m >= 2 (1 where biased), n and m free to differ -> scalar.

    Cost: O((n + m)^2 d) time, O((n + m)^2) memory, no (n, m, d) tensor.  First derivatives only on the CPU.

    >>> MMD(bandwidth=1.0)(torch.zeros(2, 3), torch.zeros(4, 3)).item()
    0.0
    """

    def __init__(
        self,
        bandwidth: float | str | None = None,
        *,
        scales: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0),
        estimator: str = "unbiased",
        extras: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        given = isinstance(bandwidth, (int, float))
        if not (bandwidth in (None, "mean") or (given and 0 < float(bandwidth or 0) < float("inf"))):
            raise ValueError(f'bandwidth is a distance between features > 0, None or "mean", got {bandwidth!r}.')
        if not scales or not min(scales) > 0:
            raise ValueError(f"scales multiply the bandwidth and must be > 0, got {scales}.")
        if estimator not in ("unbiased", "biased", "linear"):
            raise ValueError(f'estimator is "unbiased", "biased" or "linear", got {estimator!r}.')
        self.bandwidth, self.scales, self.estimator, self.extras = bandwidth, tuple(scales), estimator, tuple(extras)
        self.min_samples = 1 if estimator == "biased" else 2

    def compare(self, pair: Pair) -> Tensor:
        if self.estimator == "linear":
            return self._linear(pair)
        if pair.plain and not self.extras and pair.eager:
            return self._fused(pair.source.features, pair.target.features)
        distinct = self.estimator == "unbiased"
        if not self.extras and poolable(pair):
            widths = self.bandwidth, self.scales
            means = kernels.attempted(lambda: mean_embeddings(pair, *widths, distinct=distinct, least=self.min_samples))
            if means is not None:
                return means
        a, b = pair.masses(self.min_samples)
        n = len(a)
        kernel = self._kernel(pair.source, pair.target, None if pair.plain else _comparable(pair, a, b))
        same_source, same_target = pair.within
        of_source = within(a, same_source, distinct=distinct) * kernel[:n, :n]
        of_target = within(b, same_target, distinct=distinct) * kernel[n:, n:]
        across = between(a, b, pair.across) * kernel[:n, n:]
        return of_source.sum() + of_target.sum() - 2 * across.sum()

    def _fused(self, x: Tensor, y: Tensor) -> Tensor:
        bandwidth = float(mean_distance(x, y)) if isinstance(self.bandwidth, str) else self.bandwidth
        value, gradient = fused(as_array(x), as_array(y), bandwidth, self.scales, self.estimator == "unbiased")
        at = torch.from_numpy(gradient)
        return with_gradients(x.new_tensor(value), (x, at[: len(x)]), (y, at[len(x) :]))

    def _kernel(self, source: Rows, target: Rows, weights: Tensor | None) -> Tensor:
        """The (n + m, n + m) kernel matrix of all rows: a product over features and extras."""
        kernel = torch.ones((), dtype=source.features.dtype, device=source.features.device)
        for x, y, bandwidth in self._blocks(source, target):
            pooled = torch.cat([x, y])
            squared = squared_distances(pooled, pooled)
            square = median_square(squared.detach(), weights) if bandwidth is None else bandwidth**2
            kernel = kernel * self._mixture(squared, square)
        return kernel

    def _mixture(self, squared: Tensor, square: Tensor | float) -> Tensor:
        kernels = [torch.exp(squared / (-2.0 * scale**2 * square)) for scale in self.scales]
        return sum(kernels[1:], kernels[0]) / len(kernels)

    def _linear(self, pair: Pair) -> Tensor:
        """Gretton et al. 2012, section 6: the mean of h over disjoint pairs of consecutive rows of mass."""
        if pair.grouped:
            raise ValueError(
                'estimator="linear" compares consecutive rows one by one and knows no groups.\n'
                'Use estimator="unbiased".'
            )
        (first, second), weight = self._consecutive(pair)
        kernel: Tensor | float = 1.0
        for x, y, bandwidth in self._blocks(pair.source, pair.target):
            count, x, y = 2 * len(weight), x[first], y[second]
            x0, y0, x1, y1 = x[0:count:2], y[0:count:2], x[1:count:2], y[1:count:2]
            squared = torch.stack([(p - q).square().sum(1) for p, q in ((x0, x1), (y0, y1), (x0, y1), (x1, y0))])
            square = bandwidth**2 if bandwidth is not None else _median(squared.detach(), weight > 0)
            kernel = kernel * self._mixture(squared, square)
        assert isinstance(kernel, Tensor)  # there is at least the block of the features
        each = weight * (kernel[0] + kernel[1] - kernel[2] - kernel[3])
        return each.sum() / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)

    def _consecutive(self, pair: Pair) -> tuple[tuple[Any, Any], Tensor]:
        """The order of both sides' rows, those without mass last, and (k,) what each two pairs of rows count."""
        (a, b), count = pair.masses(), min(pair.n, pair.m) // 2 * 2
        order: tuple[Any, Any] = (slice(None), slice(None))
        if not pair.plain:
            order = first_those_of_mass(a), first_those_of_mass(b)
        a, b = pair.n * a[order[0]][:count], pair.m * b[order[1]][:count]
        return order, a[0::2] * a[1::2] * b[0::2] * b[1::2]

    def _blocks(self, source: Rows, target: Rows) -> list[tuple[Tensor, Tensor, float | Tensor | None]]:
        counts = _with_mass(source, target)
        width = None if self.bandwidth is None or isinstance(self.bandwidth, str) else float(self.bandwidth)
        held = [(source.features, target.features)]
        for name in self.extras:  # torch 2.4 compiles no comprehension here
            held.append((source.extra(name).flatten(1), target.extra(name).flatten(1)))
        blocks: list[tuple[Tensor, Tensor, float | Tensor | None]] = []
        for x, y in held:
            x, y = x.to(source.features), y.to(source.features)
            blocks.append((x, y, mean_distance(x, y, counts) if self.bandwidth == "mean" else width))
            width = None  # a bandwidth given is that of the features
        return blocks

    def extra_repr(self) -> str:
        return f"bandwidth={self.bandwidth}, scales={self.scales}, estimator={self.estimator!r}"


def mean_distance(x: Tensor, y: Tensor, counts: Tensor | None = None) -> Tensor:
    """The root of the mean squared distance between distinct rows of (n, d) and (m, d) together: sqrt(2 tr Cov).

    `counts` (n + m,) is 1 for the rows that count and 0 for the others; None counts all.
    """
    pooled = torch.cat([x, y]).detach()
    least = torch.finfo(pooled.dtype).tiny ** 0.5
    if counts is None:
        return (2 * pooled.var(0).sum()).clamp_min(least).sqrt()
    counts = counts.to(pooled)
    number = counts.sum()
    apart = pooled - (counts @ pooled) / number.clamp_min(1.0)
    return (2 * (counts @ apart.square()).sum() / (number - 1).clamp_min(1.0)).clamp_min(least).sqrt()


def _with_mass(source: Rows, target: Rows) -> Tensor | None:
    """(n + m,) which rows have mass; None where all have."""
    if source.mass is None and target.mass is None:
        return None
    sides = (source, target)
    return torch.cat([rows.features.new_ones(len(rows)) if rows.mass is None else rows.mass for rows in sides]) > 0


def _median(values: Tensor, present: Tensor) -> Tensor:
    """The lower median of values (4, k) at the k places that are present."""
    ordered = values.where(present, float("inf")).flatten().sort().values
    place = ((4 * present.sum() - 1) // 2).clamp_min(0)
    return ordered.gather(0, place[None]).squeeze(0).clamp_min(1e-30)


def _comparable(pair: Pair, a: Tensor, b: Tensor) -> Tensor:
    """(n + m, n + m): 1 for pairs of rows that both have mass and are of one group, else 0."""
    counts = torch.cat([a, b]) > 0
    both = counts[:, None] & counts
    (same_source, same_target), across = pair.within, pair.across
    if same_source is not None and same_target is not None and across is not None:
        blocks = torch.cat([same_source, across], 1), torch.cat([across.T, same_target], 1)
        both = both & torch.cat(blocks)
    return both.to(a)
