"""Weights over training: functions of what is known of a batch, `weights(samples) -> (b,)`.

They go where a method takes its weights, `Method(weights=...)`, and act as given: no hook rescales another's.  All
state is buffers, so a checkpoint of the method resumes them.

    ratio    w_k / s_k                   samples drawn at share s train as if drawn at w
    table    u[index]                    one weight per sample of the dataset, from a density ratio or a curator
    time     1 if low <= t <= high       a domain counts at some noise levels only: Ambient Diffusion Policy (2026)
    product  w1(samples) w2(samples)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .._core.checks import check_finite
from .._core.device import eager, moved
from .._core.flags import common
from ..mixing.shares import Ratio, factors
from .samples import Samples, SampleWeights, reads_time

PAIR = ("source", "target")


class RatioWeights(nn.Module):
    """`ratio_weights` as a hook: the loss sees `ratio` where `share` was drawn.

    `ratio` and `share` are the share of `target`, or mappings over `domains`, the names that `samples.domain` indexes.

    >>> from cotrain_losses.importance import RatioWeights
    >>> weights = RatioWeights(ratio=0.1, share=0.5)  # half drawn, a tenth counted
    """

    factors: Tensor
    reads_time = False

    def __init__(self, ratio: Ratio, share: Ratio, *, domains: Sequence[str] = PAIR, target: str = "target") -> None:
        super().__init__()
        self.register_buffer("factors", torch.tensor(factors(ratio, share, domains, target=target)))

    def forward(self, samples: Samples) -> Tensor:
        """(b,) the factor of each sample's domain."""
        return self.factors[moved(samples.domain, self.factors.device)]


class TableWeights(nn.Module):
    """One weight per sample of the dataset, read by its index: (N,), non-negative, used as given.

    >>> ratio_at_source = torch.tensor([0.5, 1.5])
    >>> table = torch.cat([ratio_at_source, torch.ones(3)])  # source, then target
    >>> weights = TableWeights(table)
    """

    weights: Tensor
    reads_time = False

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        check_finite("the weights of samples", weights)
        if weights.ndim != 1 or not (weights >= 0).all():
            raise ValueError(
                f"one non-negative weight per sample, (samples,), got shape {tuple(weights.shape)} with least value "
                f"{float(weights.min()) if weights.numel() else float('nan'):g}. Clip at zero first."
            )
        self.register_buffer("weights", weights.detach().clone())

    def forward(self, samples: Samples) -> Tensor:
        """(b,) the weight of each sample."""
        return self.weights[moved(indices(samples, len(self.weights), "TableWeights"), self.weights.device)]


class TimeWindow(nn.Module):
    """A domain counts at some diffusion times only.

    Args:
        windows: name -> (low, high), both ends included, in the units of the time that the policy's head receives
            (diffusers: steps, noise grows with them; flow matching: [0, 1], which end is noise is the policy's choice).
            A domain not named counts at all times; `domains` are the names that `samples.domain` indexes.

    >>> from cotrain_losses.importance.samples import Samples
    >>> late = TimeWindow({"source": (50, 100)})
    >>> domain, is_target = torch.tensor([0, 0, 1]), torch.tensor([False, False, True])
    >>> late(Samples(domain, is_target, time=torch.tensor([10, 70, 10])))
    tensor([0., 1., 1.])
    """

    low: Tensor
    high: Tensor

    def __init__(self, windows: Mapping[str, tuple[float, float]], *, domains: Sequence[str] = PAIR) -> None:
        super().__init__()
        if unknown := sorted(set(windows) - set(domains)):
            raise ValueError(f"windows are for the domains {tuple(domains)}, got {unknown}.")
        ends = [windows.get(name, (-float("inf"), float("inf"))) for name in domains]
        if any(not low <= high for low, high in ends):
            raise ValueError(f"a window is (low, high) with low <= high, got {dict(windows)}.")
        self.register_buffer("low", torch.tensor([low for low, _ in ends]))
        self.register_buffer("high", torch.tensor([high for _, high in ends]))

    def forward(self, samples: Samples) -> Tensor:
        """(b,) 1 where the sample's time lies in its domain's window, else 0."""
        if samples.time is None:
            raise ValueError(
                "a TimeWindow reads each sample's diffusion time, got none. Name it at the seam: Seam(..., time=...), "
                "the argument in which the head receives it."
            )
        time, domain = samples.time, moved(samples.domain, self.low.device)
        low, high = (moved(end[domain], time.device) for end in (self.low, self.high))
        return ((low <= time) & (time <= high)).to(low.dtype)


class ProductWeights(nn.Module):
    """Several hooks at once, multiplied: `ProductWeights(RatioWeights(.1, .5), TimeWindow({"source": (50, 100)}))`.

    >>> from cotrain_losses.importance import ProductWeights, RatioWeights, TimeWindow
    >>> weights = ProductWeights(RatioWeights(0.1, 0.5), TimeWindow({"source": (50, 100)}))
    """

    def __init__(self, *hooks: SampleWeights) -> None:
        super().__init__()
        self.hooks = hooks
        self.parts = nn.ModuleList([hook for hook in hooks if isinstance(hook, nn.Module)])

    @property
    def reads_time(self) -> bool:
        """Whether a factor may depend on the samples' time."""
        return any(reads_time(hook) for hook in self.hooks)

    def forward(self, samples: Samples) -> Tensor:
        """(b,) the product."""
        product = torch.ones(len(samples.domain), device=samples.domain.device)
        for factor in (hook(samples) for hook in self.hooks):
            product = moved(product, factor.device) * factor
        return product


def indices(samples: Samples, size: int, name: str) -> Tensor:
    """The samples' places in the dataset, checked."""
    if samples.index is None:
        raise ValueError(
            f"{name} reads each sample's place in the dataset, got none. Let the dataset return it and pass it on: "
            "cotrain(batch, domain=..., index=batch['index'])."
        )
    index = samples.index
    if not eager(index):
        outside = torch.where((index < 0) | (index >= size), 1 + index.abs(), 0).sum()
        common.post(f"indices of {name}", outside, lambda _: _no_sample(name, size, "one outside"))
        return index.clamp(0, size - 1)
    if len(index) and not 0 <= int(index.min()) <= int(index.max()) < size:
        _no_sample(name, size, f"indices from {int(index.min())} to {int(index.max())}")
    return index


def _no_sample(name: str, size: int, received: str) -> None:
    raise ValueError(
        f"{name} has weights for samples 0 to {size - 1}, got {received}. Build it for the whole mixed dataset, in the "
        "order of its indices."
    )
