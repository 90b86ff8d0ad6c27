"""Methods whose only choice is which samples share a batch."""

from __future__ import annotations

import math

import torch

from cotrain_losses import CoTrain, Method, MixedBatchSampler, recipes

from .case import Answer, case, gradients
from .draws import Draw
from .steps import data_of, policy_of, step_written


def cotraining(draw: Draw) -> Method:
    return recipes.cotraining(rows_of_a_batch(draw)[1] / sum(rows_of_a_batch(draw)))


def rows_of_a_batch(draw: Draw) -> tuple[int, int]:
    """Source and target rows of a batch; those of the larger domain divide it, so that an epoch passes it once."""
    n, m = len(draw.source), len(draw.target)
    other = round(12 * draw.ratio)
    return (_divisor(n), other) if n > m else (other, _divisor(m))


def _divisor(size: int) -> int:
    return max(k for k in range(1, size) if size % k == 0)


def at_the_sampler(draw: Draw, method: Method) -> Answer:
    """The mean step over as many batches as pass both domains a whole number of times."""
    batch, is_target = data_of(draw)
    policy = policy_of(draw, method)
    cotrain = CoTrain(policy, method)
    rows = rows_of_a_batch(draw) if method.ratio != 1.0 else (0, _divisor(len(draw.target)))
    sampler = MixedBatchSampler(is_target, sum(rows), method.ratio, seed=draw.seed)  # type: ignore[arg-type]
    passes = [size // math.gcd(size, k) for size, k in zip((len(draw.source), len(draw.target)), rows, strict=True)]
    each = []
    for number in range(math.lcm(*passes)):
        indices = sampler.batch(number)
        part = {name: value[indices] for name, value in batch.items()}
        each.append(cotrain(part, domain=is_target[indices]).total)
    mean = torch.stack(each).mean()
    return Answer(mean, (gradients(mean, list(policy.parameters())),))


@case("real_only", lambda draw: recipes.real_only(), measured=at_the_sampler)
def real_only_written(draw: Draw, method: Method) -> Answer:
    r"""training on the target against the full-batch loss

    \frac{1}{N} \sum_{i \in T} \ell_i

    Ratio 1.
    """
    return mixture_written(draw, method, 1.0)


@case("cotraining", cotraining, measured=at_the_sampler)
def cotraining_written(draw: Draw, method: Method) -> Answer:
    r"""Maddukuri et al. 2025; Wei et al. 2025; Lei et al. 2026 against the full-batch loss

    L_w = \frac{w}{N} \sum_{i \in T} \ell_i + \frac{1 - w}{M} \sum_{i \in S} \ell_i

    w is the share of target samples: Maddukuri's alpha, the share of simulation, is 1 - w; Wei's alpha is w. Batches
    are averaged over whole passes of both domains, where sampling equals weighting exactly.
    """
    source, target = rows_of_a_batch(draw)
    return mixture_written(draw, method, target / (source + target))


def mixture_written(draw: Draw, method: Method, ratio: float) -> Answer:
    """w mean over the target + (1 - w) mean over the source."""
    n, m = len(draw.source), len(draw.target)
    total, _, policy = step_written(draw, method, [(1 - ratio) * (n + m) / n] * n + [ratio * (n + m) / m] * m)
    return Answer(total, (gradients(total, list(policy.parameters())),))
