"""Samples of two Gaussians and their ratio."""

from __future__ import annotations

import torch

from tests.drawn import features

shift = 0.8


def gaussians(n: int, m: int, d: int = 1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """N(0, I) and N(shift e_1, I), with the true ratio at the source."""
    source, target = features(seed, n, m, d, shift=0.0)
    target[:, 0] += shift
    return source, target, torch.exp(shift * source[:, 0] - shift**2 / 2)
