"""Methods that only mix, by sampling or by weights: expressions over the one hook `weights(samples) -> (b,)`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..importance import DiscrepancyWeights, GroupDRO, RatioWeights, TableWeights, TimeWindow
from ..method import Method

Ratio = float | Mapping[str, float] | None


def real_only() -> Method:
    """Train on the target alone: ratio 1.

    >>> real_only().ratio
    1.0
    """
    return Method(ratio=1.0)


def cotraining(ratio: Ratio = 0.1) -> Method:
    """Mix at a ratio, nothing else.  Maddukuri et al. 2025 (their alpha is the share of *simulation*: ratio
    = 1 - alpha, best at 0.01 for 20 real and 1000 simulated); Wei et al. 2025; Lei et al. 2026, eq. of L_w.

    >>> cotraining(0.3).ratio
    0.3
    """
    return Method(ratio=ratio)


def reweighted(ratio: float = 0.1, *, share: float = 0.5) -> Method:
    """Co-training at a ratio by weighing samples that are drawn at another share: w / N for a target sample and
    (1 - w) / M for a source sample where `share` is the natural N / (N + M).  The gradient is co-training's in
    expectation, its variance larger.  Method.ratio is what the sampler draws.

    >>> method = reweighted(0.1, share=0.5)
    >>> method.ratio  # what the sampler draws
    0.5
    """
    return Method(ratio=share, weights=RatioWeights(ratio, share))


def importance(weights: Tensor, *, ratio: Ratio = 0.1) -> Method:
    """One fixed weight for each sample of the dataset, (N,): a density ratio p_target / p_source at the source samples
    (Shimodaira 2000) and ones at the target's, or the scores of any data curation.  Pass index= to CoTrain.

    >>> import torch
    >>> method = importance(torch.tensor([0.2, 1.8, 1.0]))
    >>> method.ratio
    0.1
    """
    return Method(ratio=ratio, weights=TableWeights(weights))


def ambient(*, ratio: Ratio = 0.1, low: float, high: float = float("inf")) -> Method:
    """Source samples count at noise levels in [low, high] only: Wei et al. 2026, "Ambient Diffusion Policy".  Levels
    are in the units of the head's time, which the seam has to name: Seam(time=...).

    >>> ambient(low=0.5).ratio
    0.1
    """
    return Method(ratio=ratio, weights=TimeWindow({"source": (low, high)}))


def remix(prior: Mapping[str, float], *, share: Mapping[str, float] | None = None) -> Method:
    """Mixture weights of domains that follow the clipped excess loss: Hejna et al. 2024 (Re-Mix; DoReMi, Xie et al.
    2023), step size 1 and smoothing 5e-3 as released, `prior` the domains' sizes.  Call method.weights.update(...) with
    each batch's excess losses; then train the run that counts by cotraining(method.weights.shares()).

    >>> remix({"real": 0.1, "sim_a": 0.6, "sim_b": 0.3}).ratio
    {'real': 0.1, 'sim_a': 0.6, 'sim_b': 0.3}
    """
    return Method(ratio=share or prior, weights=GroupDRO(prior, share=share))


def beacon(is_target: Tensor, *, ratio: Ratio = 0.1, discrepancy: Tensor | float = 1.0) -> Method:
    """One weight per sample, small where its loss and its discrepancy from the target are large: BEACON (2026), with
    its released penalties 0.01, 0.001 and 0.1, box [0, 5] and budget 0.5.  Call method.weights.observe(index, losses)
    with each batch and .solve() each epoch, and pass index= to CoTrain.

    >>> import torch
    >>> method = beacon(torch.arange(50) >= 45)
    >>> method.weights.observe(torch.arange(50), torch.rand(50))
    """
    return Method(ratio=ratio, weights=DiscrepancyWeights(is_target, discrepancy=discrepancy))
