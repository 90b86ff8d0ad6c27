"""What is known of the samples of a batch where they are weighed.

A weight is a function of it: `weights(samples) -> (b,)`, the one hook that importance ratios,
mixture weights, per-sample weights and diffusion-time masks share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """The b samples of one training batch: what the caller gave, and the time where the seam names it."""

    domain: Tensor
    """(b,) integers, the position of each sample's domain among the named domains"""
    is_target: Tensor
    """(b,) bool"""
    index: Tensor | None = None
    """(b,) integers, each sample's place in the dataset"""
    time: Tensor | None = None
    """(b,) each sample's diffusion or flow time as the head received it"""
    step: int | None = None


SampleWeights = Callable[[Samples], Tensor]


def reads_time(weights: SampleWeights) -> bool:
    """Whether weights may depend on the samples' time; a function that does not say so (`reads_time = False`) may."""
    return bool(getattr(weights, "reads_time", True))
