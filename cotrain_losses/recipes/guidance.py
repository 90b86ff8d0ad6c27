"""Methods that tell the head its domain.  `scale` is 1 + w of Ho & Salimans and 1 + lambda of Lei et al."""

from __future__ import annotations

from ..guidance import DomainGuidance
from ..method import Method
from .adversarial import adda
from .mixing import Ratio


def one_hot(*, ratio: Ratio = 0.1, domains: int = 2) -> Method:
    """The domain as one-hot columns of the condition, never dropped: Wei et al. 2025.  The head has to be built with
    `domains` more columns; at test the target's code is given (scale 1)."""
    return Method(ratio=ratio, guidance=DomainGuidance(drop=0.0, scale=1.0, domains=domains, one_hot=True))


def cfg(width: int, *, ratio: Ratio = 0.1, drop: float = 0.2, scale: float = 0.5, domains: int = 2) -> Method:
    """Co-training plus domain guidance.  Lei et al. 2026: label dropped with probability 0.2, best lambda
    about -0.5, which is scale 0.5 here."""
    return Method(ratio=ratio, guidance=DomainGuidance(width, drop=drop, scale=scale, domains=domains))


def wei_cfg(*, ratio: Ratio = 0.1, domains: int = 2) -> Method:
    """One-hot columns dropped with probability 0.1 and guided at w = 1, that is scale 2: Wei et al. 2025.  They drop
    whole batches; here each sample is dropped by itself, which has the same expected loss."""
    return Method(ratio=ratio, guidance=DomainGuidance(drop=0.1, scale=2.0, domains=domains, one_hot=True))


def cfg_adda(
    width: int, *, ratio: Ratio = 0.1, strength: float = 0.05, drop: float = 0.2, scale: float = 0.5
) -> Method:
    """Both, the method of Lei et al. 2026: features are aligned before the token, the token restores the domain."""
    return adda(width, ratio=ratio, strength=strength) + cfg(width, ratio=ratio, drop=drop, scale=scale)
