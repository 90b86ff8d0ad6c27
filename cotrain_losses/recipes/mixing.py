"""Methods that only mix: ratio by sampling, or by weights."""

from __future__ import annotations

from collections.abc import Mapping

from ..importance import RatioWeights
from ..method import Method

Ratio = float | Mapping[str, float] | None


def real_only() -> Method:
    """Train on the target alone: ratio 1."""
    return Method(ratio=1.0)


def cotraining(ratio: Ratio = 0.1) -> Method:
    """Mix at a ratio, nothing else.  Maddukuri et al. 2025 (their alpha is the share of *simulation*: ratio
    = 1 - alpha, best at 0.01 for 20 real and 1000 simulated); Wei et al. 2025; Lei et al. 2026, eq. of L_w."""
    return Method(ratio=ratio)


def reweighted(ratio: float = 0.1, *, share: float = 0.5) -> Method:
    """Co-training at a ratio by weighing samples that are drawn at another share: w / N for a target sample and
    (1 - w) / M for a source sample where `share` is the natural N / (N + M).  The gradient is co-training's in
    expectation, its variance larger.  Method.ratio is what the sampler draws."""
    return Method(ratio=share, weights=RatioWeights(ratio, share))
