"""Per-sample weights that trade a sample's loss against its discrepancy from the target.

    min_q  sum_i q_i (l_i + c d_i) + peak max_i q_i + sparse |q - p|_1 + smooth |q|^2
           0 <= q_i <= bound,   q_i >= floor on the target,   sum q = n_target + budget n_source

alternated with training at weights q: BEACON (2026), whose published settings are the defaults: p = 1 on the target
and 0 on the source, d a constant on the source, peak = weight decay * |parameters|^2 / 2.  A source sample is let in
when it is easy and near, and the budget says how much of the source in all.

The problem is convex and separable but for the sum and the maximum.  Given a cap c on q and a multiplier v of the sum,
q_i = clip(soft-threshold, floor_i, c) is explicit; v and c are found by Brent's methods (scipy).  O(N) a step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._core.checks import check_finite
from .._core.device import moved
from .hooks import indices
from .samples import Samples


class DiscrepancyWeights(nn.Module):
    """One weight per sample of the dataset, re-solved as losses come in.

    Args:
        is_target: (N,) bool over the whole dataset.
        discrepancy: (N,) d_i >= 0, or a number for every source sample; the target's are set to 0.  In the paper a
            constant, the distance to the nearest target features over their own, or a domain classifier's output.
        discrepancy_weight: c; `sparse`, `smooth`, `peak`, `bound`, `floor` and `budget` are as above.
        memory: beta in [0, 1): losses are averaged as beta old + (1 - beta) new; 0 keeps the latest.

    In training call `observe(index, losses)` every batch and `solve()` every epoch.  q and the losses are buffers.

    >>> weights = DiscrepancyWeights(torch.tensor([False, False, True]))
    >>> weights.observe(torch.tensor([0, 1, 2]), torch.tensor([3.0, 0.1, 0.1]))
    >>> weights.solve()
    """

    is_target: Tensor
    discrepancy: Tensor
    losses: Tensor
    seen: Tensor
    q: Tensor
    reads_time = False

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
        is_target = is_target.detach().cpu()
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
        d = torch.as_tensor(discrepancy, dtype=torch.float64).cpu().expand(len(is_target))
        check_finite("the discrepancies", d)
        begin = {"discrepancy": torch.where(is_target, 0.0, d), "losses": torch.zeros_like(d), "q": is_target.double()}
        begin |= {"is_target": is_target.detach(), "seen": torch.zeros_like(is_target)}
        for name, value in begin.items():
            self.register_buffer(name, value.clone())

    @torch.no_grad()
    def observe(self, index: Tensor, losses: Tensor) -> None:
        """Remember per-sample losses (b,) of the samples at `index` (b,)."""
        if losses.shape != index.shape or index.ndim != 1:
            raise ValueError(
                f"indices and losses are (samples,) each, got {tuple(index.shape)} and {tuple(losses.shape)}."
            )
        check_finite("the losses of DiscrepancyWeights", losses)
        index, losses = (moved(x.detach(), self.losses.device) for x in (index, losses))
        losses = losses.to(self.losses.dtype)
        kept = self.memory * self.seen[index].double()
        self.losses[index] = kept * self.losses[index] + (1 - kept) * losses
        self.seen[index] = True

    @torch.no_grad()
    def solve(self) -> None:
        """Set q to the optimum for the losses remembered; a sample never seen counts the mean of those seen."""
        if not self.seen.any():
            return
        cost = self._cost()
        lower = self.floor * self.is_target.double()
        cap = self.bound
        if self.peak > 0:
            from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]  # comes with POT, slow to import

            least = max(float(lower.max()), self.total / len(lower))
            value = lambda cap: self._objective(self._within(cost, lower, cap), cost) + self.peak * cap  # noqa: E731
            cap = min(minimize_scalar(value, bounds=(least, cap), options={"xatol": 1e-9}).x, least, cap, key=value)
        self.q.copy_(self._within(cost, lower, cap))

    def objective(self, q: Tensor) -> float:
        """What `solve` minimises, at any weights (N,)."""
        return self._objective(q, self._cost()) + self.peak * float(q.max())

    def forward(self, samples: Samples) -> Tensor:
        """(b,) q at the samples' indices."""
        return self.q.float()[moved(indices(samples, len(self.q), "DiscrepancyWeights"), self.q.device)]

    def _within(self, cost: Tensor, lower: Tensor, cap: float) -> Tensor:
        """The optimum with every weight at most `cap`, without the peak term."""
        from scipy.optimize import brentq

        prior = self.is_target.double()

        def weights(multiplier: float) -> Tensor:
            above, below = (-(cost + multiplier + sign * self.sparse) / (2 * self.smooth) for sign in (1, -1))
            free = torch.where(above > prior, above, torch.minimum(below, prior))
            return free.maximum(lower).clamp_max(cap)

        def excess(multiplier: float) -> float:
            return float(weights(multiplier).sum()) - self.total

        reach = float(cost.abs().max()) + self.sparse + 2 * self.smooth * (self.bound + 1)
        if excess(-reach) <= 0 or excess(reach) >= 0:  # all weights at one end
            return weights(-reach if excess(-reach) <= 0 else reach)
        return weights(brentq(excess, -reach, reach, xtol=1e-15))

    def _objective(self, q: Tensor, cost: Tensor) -> float:
        """Without the peak term."""
        parts = (q * cost).sum() + self.sparse * (q - self.is_target.double()).abs().sum()
        return float(parts + self.smooth * q.square().sum())

    def _cost(self) -> Tensor:
        losses = torch.where(self.seen, self.losses, self.losses[self.seen].mean())
        return losses + self.discrepancy_weight * self.discrepancy
