"""Which ratio to choose, and the weights that restore a ratio in the loss.

    natural    w = N / (N + M)                                                  N target frames, M source frames
    upper end  w = sqrt(N / M)  when M / N > 5,  else  N q / ((1 - q) M + N q)  q = .8, capped at .5
    crossing   w = sqrt(N) / (sqrt(N) + sqrt(M))

    sampling at share s and weighing by w / s, (1 - w) / (1 - s)  =  sampling at w,  in expectation

Lei et al. 2026, section on the mixing ratio.  Ratios are decimals and count the target.  The literature writes the
same thing in three ways: Lei et al. and Wei et al. 2025 count the target's share, Maddukuri et al. 2025 the
simulation's (their .99 is .01 here), others write odds ("9:1").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .domains import Domain, read_labels
from .shares import Ratio, factors


class RatioRange(NamedTuple):
    """Between which ratios to search.

    >>> RatioRange(0.1, 0.3).upper
    0.3
    """

    lower: float
    upper: float


def natural_ratio(*, source: int, target: int) -> float:
    """N / (N + M): the target's share when every frame counts alike.

    >>> round(natural_ratio(source=3000, target=50), 4)
    0.0164
    """
    _check_sizes(source, target, least=0)
    return target / (target + source)


def crossing_ratio(*, source: int, target: int) -> float:
    """sqrt(N) / (sqrt(N) + sqrt(M)): where the target's contribution g equals the source's share 1 - w.

    A target frame then weighs sqrt(M / N) source frames: the circles in the scaling figure of Lei et al. 2026.

    >>> round(crossing_ratio(source=100, target=1), 4)
    0.0909
    """
    _check_sizes(source, target, least=1)
    return math.sqrt(target) / (math.sqrt(target) + math.sqrt(source))


def ratio_range(*, source: int, target: int, contribution: float = 0.8) -> RatioRange:
    """The range in which Lei et al. 2026 search the ratio: from the natural one up.

    `contribution` is q in [.5, 1), the target's wanted share of the score at equal distances; read when M / N <= 5.
    Both ends are capped at .5.  Move them up for domains far apart: the authors' robot results reach .3, the rule .13.

    >>> lower, upper = ratio_range(source=3000, target=50)
    >>> round(lower, 4), round(upper, 4)
    (0.0164, 0.1291)
    """
    _check_sizes(source, target, least=1)
    if not 0.5 <= contribution < 1.0:
        raise ValueError(
            f"contribution is the target's wanted share of the score and lies in [0.5, 1), got {contribution!r}. "
            "Below 0.5 the upper end would fall under the natural ratio; the paper uses 0.8."
        )
    n, m, q = target, source, contribution
    upper = math.sqrt(n / m) if m > 5 * n else n * q / ((1 - q) * m + n * q)
    return RatioRange(min(natural_ratio(source=m, target=n), 0.5), min(upper, 0.5))


def ratio_weights(
    domain: Domain, *, ratio: Ratio, share: Ratio, domains: Sequence[str] | None = None, target: str = "target"
) -> Tensor:
    """(b,) float32, ratio_k / share_k for a sample of domain k: drawn at `share`, they train as if drawn at `ratio`.

    Args:
        domain: (b,) bool, True = target, or (b,) integers that index `domains`, or names.
        ratio: the target's share that the policy is to see, or a mapping name -> share.
        share: the share that is drawn, in the same form; for data read in its own order the `natural_ratio`.
        target: which of two domains a mask and a single number speak of.

    The mean under the draw is 1.  A domain that is to count but is never drawn raises ValueError.

    >>> ratio_weights([True, False], ratio=0.1, share=0.5)
    tensor([0.2000, 1.8000])
    """
    labels, names = read_labels(domain, domains, target)
    weights = torch.tensor(factors(ratio, share, names, target=target))[labels]
    return weights.to(domain.device) if isinstance(domain, Tensor) else weights


def _check_sizes(source: int, target: int, least: int) -> None:
    if min(source, target) < least or source + target < 1:
        raise ValueError(
            f"sizes are numbers of frames, at least {least} of each and one in all, got source={source} and "
            f"target={target}. Count the frames of both datasets."
        )
