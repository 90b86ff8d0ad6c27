"""Mixing: how target and source samples share a batch.

    L_w = w E_target[l] + (1 - w) E_source[l]                      w = ratio, the share of TARGET samples

`MixedBatchSampler` draws at a ratio, `ratio_weights` weighs at one, and `ratio_range` says where to search for it.
`mixed_loaders` mixes inside a script that builds its loaders.
"""

from .loaders import mixed_loaders
from .ratios import RatioRange, crossing_ratio, natural_ratio, ratio_range, ratio_weights
from .sampler import MixedBatchSampler

__all__ = [
    "MixedBatchSampler",
    "RatioRange",
    "crossing_ratio",
    "mixed_loaders",
    "natural_ratio",
    "ratio_range",
    "ratio_weights",
]
