"""Published methods, one expression each: a ratio, a regularizer, a guidance, weights.

Defaults are the source's where it gives them, said in each docstring; a raw weight means another thing
for every term, width and feature scale, so look at `losses.raw` before trusting any.
"""

from __future__ import annotations

from collections.abc import Mapping

from .discriminator import DomainAdversary, DomainClassifier
from .guidance import DomainGuidance
from .method import Method
from .mmd import MMD
from .schedules import warmup
from .transport import Sinkhorn

Ratio = float | Mapping[str, float] | None


def real_only() -> Method:
    """Train on the target alone: ratio 1."""
    return Method(ratio=1.0)


def cotraining(ratio: Ratio = 0.1) -> Method:
    """Mix at a ratio, nothing else.  Maddukuri et al. 2025 (their alpha is the share of *simulation*: ratio
    = 1 - alpha, best at 0.01 for 20 real and 1000 simulated); Wei et al. 2025; Lei et al. 2026, eq. of L_w."""
    return Method(ratio=ratio)


def ot(ratio: Ratio = 0.1, *, weight: float = 0.1, blur: float = 0.05) -> Method:
    """Co-training plus a Sinkhorn divergence between the domains' features.  Lei et al. 2026 name the loss
    "OT" without its form or weight; blur 0.05 is geomloss's and EgoBridge's (Punamiya et al. 2025)."""
    return Method(ratio=ratio, regularizer=weight * Sinkhorn(blur=blur))


def mmd(ratio: Ratio = 0.1, *, weight: float = 0.1) -> Method:
    """Co-training plus a maximum mean discrepancy with five Gaussian kernels (Long et al. 2015).  Wei et al.
    2025 use the biased estimator at weight 0.001 and sweep 1e-4 to 1."""
    return Method(ratio=ratio, regularizer=weight * MMD())


def adda(width: int, ratio: Ratio = 0.1, *, weight: float = 0.05) -> Method:
    """Co-training plus a domain classifier that the shared encoder opposes.  Lei et al. 2026 call this ADDA;
    in form it is DANN (reversal on a shared encoder) at the constant weight 0.05 of their regime study."""
    return Method(ratio=ratio, regularizer=-weight * DomainClassifier(width))


def tzeng(width: int, ratio: Ratio = 0.1, *, weight: float = 0.05) -> Method:
    """Co-training plus the inverted-label adversary of ADDA proper (Tzeng et al. 2017, eq. 9), on one shared
    encoder rather than their two."""
    return Method(ratio=ratio, regularizer=weight * DomainAdversary(width))


def dann(width: int, ratio: Ratio = 0.1, *, steps: int, weight: float = 1.0) -> Method:
    """The same classifier opposed with Ganin's warm-up over `steps` optimizer steps (Ganin et al. 2016,
    section 5.2.2: gamma 10, weight 1)."""
    return Method(ratio=ratio, regularizer=warmup(-weight, steps) * DomainClassifier(width))


def cfg(width: int, ratio: Ratio = 0.1, *, drop: float = 0.2, scale: float = 0.5, domains: int = 2) -> Method:
    """Co-training plus domain guidance.  Lei et al. 2026: label dropped with probability 0.2, best lambda
    about -0.5, which is scale 0.5 here."""
    return Method(ratio=ratio, guidance=DomainGuidance(width, drop=drop, scale=scale, domains=domains))


def cfg_adda(width: int, ratio: Ratio = 0.1, *, weight: float = 0.05, drop: float = 0.2, scale: float = 0.5) -> Method:
    """Both, the method of Lei et al. 2026: features are aligned before the token, the token restores the domain."""
    return adda(width, ratio, weight=weight)._replace(guidance=cfg(width, drop=drop, scale=scale).guidance)


def probe(width: int, ratio: Ratio = 0.1) -> Method:
    """Co-training watched by a domain classifier of weight zero: it learns, the encoder does not hear it."""
    return Method(ratio=ratio, regularizer=0.0 * DomainClassifier(width))
