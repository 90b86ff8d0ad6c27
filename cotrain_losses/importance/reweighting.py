"""Per-sample weights that trade a sample's loss against its discrepancy from the target.

    min_q  sum_i q_i (l_i + c d_i) + peak max_i q_i + sparse |q - p|_1 + smooth |q|^2
           0 <= q_i <= bound,   q_i >= floor on the target,   sum q = n_target + budget n_source

alternated with training at weights q: BEACON (2026), whose published settings are the defaults: p = 1 on the target
and 0 on the source, d a constant on the source, peak = weight decay * |parameters|^2 / 2.  A source sample is let in
when it is easy and near, and the budget says how much of the source in all.

The problem is convex and separable but for the sum and the maximum.  Given a cap c on q and a multiplier v of the sum,
q_i = clip(soft-threshold, floor_i, c) is explicit; v is found by bisection, c by golden section.  O(N) a step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .._core.checks import check_finite
from .hooks import indices
from .samples import Samples


class DiscrepancyWeights(nn.Module):
    """One weight per sample of the dataset, re-solved as losses come in.

    Args:
        is_target: (N,) bool over the whole dataset.
        discrepancy: (N,) d_i >= 0, or a number for every source sample; the target's are set to 0.  In the paper a
            constant, the distance to the nearest target features over their own, or a domain classifier's output.
        discrepancy_weight: c.   sparse, smooth, peak: as above.
        bound, floor, budget: as above.
        memory: beta in [0, 1): losses are averaged as beta old + (1 - beta) new; 0 keeps the latest.

    In training call `observe(index, losses)` every batch and `solve()` every epoch; calling the module gives the
    batch's weights.  q and the losses are buffers.
    """

    is_target: Tensor
    discrepancy: Tensor
    losses: Tensor
    seen: Tensor
    q: Tensor

    def __init__(
        self,
        is_target: Tensor,
        *,
        discrepancy: Tensor | float = 1.0,
        discrepancy_weight: float = 0.1,
        sparse: float = 0.01,
        smooth: float = 0.001,
        peak: float = 0.0,
        bound: float = 5.0,
        floor: float = 1.0,
        budget: float = 0.5,
        memory: float = 0.0,
    ) -> None:
        super().__init__()
        total = int(is_target.sum()) + budget * int((~is_target).sum())
        least, most = floor * int(is_target.sum()), bound * len(is_target)
        if not least <= total <= most:
            raise ValueError(
                f"the weights sum to targets + budget * sources = {total:g}, which lies between {least:g} (the floor "
                f"on the target) and {most:g} (the bound), got floor={floor}, bound={bound}, budget={budget}."
            )
        if smooth <= 0 or min(sparse, peak, discrepancy_weight) < 0 or not 0.0 <= memory < 1.0:
            raise ValueError(
                "smooth is above 0 (it makes the weights unique), sparse, peak and discrepancy_weight at least 0, "
                f"memory in [0, 1), got {smooth}, {sparse}, {peak}, {discrepancy_weight}, {memory}."
            )
        self.discrepancy_weight, self.sparse, self.smooth, self.peak = discrepancy_weight, sparse, smooth, peak
        self.bound, self.floor, self.total, self.memory = bound, floor, total, memory
        d = torch.as_tensor(discrepancy, dtype=torch.float64).expand(len(is_target))
        check_finite("the discrepancies", d)
        self.register_buffer("is_target", is_target.detach().clone())
        self.register_buffer("discrepancy", torch.where(is_target, 0.0, d).clone())
        self.register_buffer("losses", torch.zeros(len(is_target), dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(len(is_target), dtype=torch.bool))
        self.register_buffer("q", is_target.double().clone())

    @torch.no_grad()
    def observe(self, index: Tensor, losses: Tensor) -> None:
        """Remember per-sample losses (b,) of the samples at `index` (b,)."""
        if losses.shape != index.shape or index.ndim != 1:
            raise ValueError(
                f"indices and losses are (samples,) each, got {tuple(index.shape)} and {tuple(losses.shape)}."
            )
        check_finite("the losses of DiscrepancyWeights", losses)
        index, losses = index.to(self.losses.device), losses.detach().to(self.losses)
        kept = self.memory * self.seen[index].double()
        self.losses[index] = kept * self.losses[index] + (1 - kept) * losses
        self.seen[index] = True

    @torch.no_grad()
    def solve(self) -> None:
        """Set q to the optimum for the losses remembered; a sample never seen counts the mean of those seen."""
        if not self.seen.any():
            return
        losses = torch.where(self.seen, self.losses, self.losses[self.seen].mean())
        cost = losses + self.discrepancy_weight * self.discrepancy
        lower = self.floor * self.is_target.double()
        least = max(float(lower.max()), self.total / len(lower))
        cap = self.bound
        if self.peak > 0:
            cap = _golden(lambda cap: self._objective(self._within(cost, lower, cap), cost), least, cap)
        self.q.copy_(self._within(cost, lower, cap))

    def forward(self, samples: Samples) -> Tensor:
        """(b,) q at the samples' indices."""
        return self.q.float()[indices(samples, len(self.q), "DiscrepancyWeights").to(self.q.device)]

    def _within(self, cost: Tensor, lower: Tensor, cap: float) -> Tensor:
        """The optimum with every weight at most `cap`, without the peak term."""
        prior = self.is_target.double()

        def weights(multiplier: float) -> Tensor:
            slope = cost + multiplier
            above = -(slope + self.sparse) / (2 * self.smooth)
            below = -(slope - self.sparse) / (2 * self.smooth)
            free = torch.where(above > prior, above, torch.where(below < prior, below, prior))
            return torch.minimum(torch.maximum(free, lower), lower.new_tensor(cap))

        reach = float(cost.abs().max()) + self.sparse + 2 * self.smooth * (self.bound + 1)
        low, high = -reach, reach
        for _ in range(200):
            middle = (low + high) / 2
            if float(weights(middle).sum()) > self.total:
                low = middle
            else:
                high = middle
        return _summing_to(self.total, weights(low), weights(high))

    def _objective(self, q: Tensor, cost: Tensor) -> float:
        prior = self.is_target.double()
        parts = (q * cost).sum() + self.sparse * (q - prior).abs().sum() + self.smooth * q.square().sum()
        return float(parts + self.peak * q.max())


def _summing_to(total: float, more: Tensor, fewer: Tensor) -> Tensor:
    """The point between two nearly equal solutions whose sum is exact."""
    gap = float((more - fewer).sum())
    return fewer if gap <= 0 else fewer + (total - float(fewer.sum())) / gap * (more - fewer)


def _golden(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a convex function of one variable is least."""
    shrink = (5**0.5 - 1) / 2
    left, right = high - shrink * (high - low), low + shrink * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(80):
        if at_left <= at_right:  # a tie lies where the cap no longer binds: go down
            high, right, at_right = right, left, at_left
            left = high - shrink * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + shrink * (high - low)
            at_right = function(right)
    return min((low, high, (low + high) / 2), key=function)
