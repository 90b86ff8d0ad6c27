"""Group distributionally robust optimisation: mixture weights of domains that follow what is still to be learned.

    e_k      = mean over the domain's samples of max(0, l - l_ref)                 clipped excess loss
    alpha_k <- alpha_k exp(eta e_k) / sum,     alpha <- (1 - c) alpha + c prior    smoothing
    output   = the average of alpha over updates

Sagawa et al. 2020, algorithm 1, with the excess of Xie et al. 2023 (DoReMi), algorithm 1; on robot data with these
defaults, eta = 1 and c = 5e-3, Hejna et al. 2024 (Re-Mix), whose prior is the domains' sizes.  The weights act on the
unclipped excess, whose gradient is that of the loss itself; the clipping is for the update only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from .._core.checks import check_finite
from .._core.device import moved
from ..mixing.shares import shares
from .samples import Samples

Shares: TypeAlias = Mapping[str, float]


class GroupDRO(nn.Module):
    """Mixture weights over domains, learned along the training; a hook for the samples' weights meanwhile.

    Args:
        prior: name -> share: where alpha begins and what smoothing pulls to; its order is the order of the labels.
        share: name -> share that is drawn; None: the prior.  A sample of domain k counts alpha_k / share_k.
        step_size, smoothing: eta, and c in [0, 1].

    After each batch call `update(losses - reference_losses, domain)`.  At the end `shares()` is the mixture for
    `MixedBatchSampler(ratio=...)` of the run that counts.  alpha, its average and the number of updates are buffers.

    >>> dro = GroupDRO({"real": 0.5, "sim": 0.5}, smoothing=0.0)
    >>> dro.update(torch.tensor([1.0, 0.0]), torch.tensor([0, 1]))
    >>> {name: round(share, 3) for name, share in dro.shares().items()}
    {'real': 0.731, 'sim': 0.269}
    """

    alpha: Tensor
    total: Tensor
    updates: Tensor
    prior: Tensor
    share: Tensor
    reads_time = False

    def __init__(
        self, prior: Shares, *, share: Shares | None = None, step_size: float = 1.0, smoothing: float = 5e-3
    ) -> None:
        super().__init__()
        if not (step_size > 0 and 0.0 <= smoothing <= 1.0):
            received = f"got {step_size!r} and {smoothing!r}. Re-Mix uses 1.0 and 5e-3."
            raise ValueError(f"step_size is above 0 and smoothing lies in [0, 1], {received}")
        self.names: Sequence[str] = tuple(prior)
        self.step_size, self.smoothing = step_size, smoothing
        named = {"prior": prior, "share": prior if share is None else share}
        begin, sampled = (torch.tensor(shares(n, x, self.names), dtype=torch.float64) for n, x in named.items())
        if not ((begin > 0) & (sampled > 0)).all():
            raise ValueError(
                f"every domain has a prior and a share above 0, got {prior} and {share}. Leave out what is not drawn."
            )
        for name, value in {"prior": begin, "share": sampled, "alpha": begin, "total": torch.zeros_like(begin)}.items():
            self.register_buffer(name, value.clone())
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update(self, excess: Tensor, domain: Tensor) -> None:
        """One step from per-sample excess losses (b,) and labels (b,); a domain without samples changes none."""
        if excess.ndim != 1 or excess.shape != domain.shape:
            raise ValueError(
                f"excess losses and labels are (samples,) each, got {tuple(excess.shape)} and {tuple(domain.shape)}. "
                "Reduce losses over time and action, not samples."
            )
        check_finite("the excess losses of GroupDRO", excess)
        excess, domain = moved(excess.detach(), self.alpha.device), moved(domain.long(), self.alpha.device)
        excess = excess.to(self.alpha.dtype).clamp_min(0)
        count = torch.zeros_like(self.alpha).index_add_(0, domain, torch.ones_like(excess))
        mean = torch.zeros_like(self.alpha).index_add_(0, domain, excess) / count.clamp_min(1)
        grown = (self.alpha.log() + self.step_size * mean).softmax(0)
        self.alpha.copy_((1 - self.smoothing) * grown + self.smoothing * self.prior)
        self.total += self.alpha
        self.updates += 1

    def forward(self, samples: Samples) -> Tensor:
        """(b,) alpha_k / share_k."""
        return (self.alpha / self.share).float()[moved(samples.domain, self.alpha.device)]

    def shares(self) -> dict[str, float]:
        """The mixture: alpha averaged over all updates (before the first: the prior)."""
        mean = self.total / self.updates if self.updates else self.prior
        return dict(zip(self.names, mean.tolist(), strict=True))
