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
    """The b samples of one training batch.

    Args:
        domain: (b,) integers, the position of each sample's domain among the named domains.
        is_target: (b,) bool.
        index: (b,) integers, each sample's place in the dataset, when the caller gave it.
        time: (b,), each sample's diffusion or flow time as the head received it, when the seam names it.
        step: the optimizer step, when the caller gave it.
    """

    domain: Tensor
    is_target: Tensor
    index: Tensor | None = None
    time: Tensor | None = None
    step: int | None = None


SampleWeights = Callable[[Samples], Tensor]
