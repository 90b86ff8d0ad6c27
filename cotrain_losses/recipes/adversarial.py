"""Methods that play against a domain classifier.

Reversal is a negative strength: the encoder opposes the classifier, which learns at unit rate whatever the strength.
Target = 1, source = 0; others label the other way round, which only turns the logit's sign.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..method import Method
from ..strength.schedules import warmup
from ..terms.discriminator import DomainAdversary, DomainClassifier
from .mixing import Ratio


def adda(width: int, *, ratio: Ratio = 0.1, strength: float = 0.05) -> Method:
    """Co-training plus a domain classifier that the shared encoder opposes.  Lei et al. 2026 call this ADDA;
    in form it is DANN (reversal on a shared encoder) at the constant strength 0.05 of their regime study.

    >>> adda(width=32).regularizer.strengths()
    {'domain_classifier': -0.05}
    """
    return Method(ratio=ratio, regularizer=-strength * DomainClassifier(width))


def tzeng(width: int, *, ratio: Ratio = 0.1, strength: float = 0.05) -> Method:
    """Co-training plus the inverted-label adversary of ADDA proper (Tzeng et al. 2017, eq. 9), on one encoder.

    >>> tzeng(width=32).regularizer.strengths()
    {'domain_adversary': 0.05}
    """
    return Method(ratio=ratio, regularizer=strength * DomainAdversary(width))


def dann(width: int, *, ratio: Ratio = 0.1, steps: int, strength: float = 1.0) -> Method:
    """The classifier opposed with the warm-up of Ganin et al. 2016 (section 5.2.2, gamma 10, strength 1).

    >>> dann(width=32, steps=1000).regularizer.strengths(step=500)
    {'domain_classifier': -0.9866142981514305}
    """
    return Method(ratio=ratio, regularizer=warmup(-strength, steps) * DomainClassifier(width))


def cdan(width: int, conditional: Mapping[str, int], *, ratio: Ratio = 0.1, strength: float = 1.0) -> Method:
    """A classifier that reads features and extras multilinearly, opposed: CDAN (Long et al. 2018), actions in
    the place of its class probabilities: conditional={"action": h * d}.

    >>> cdan(32, {"action": 16 * 7}).regularizer.strengths()
    {'domain_classifier': -1.0}
    """
    classifier = DomainClassifier(width, conditional=conditional, combine="multilinear")
    return Method(ratio=ratio, regularizer=-strength * classifier)


def wei_adversarial(width: int, *, ratio: Ratio = 0.1, strength: float = 1.0) -> Method:
    """The minimax game of Wei et al. 2025 on observation features: hidden widths 64 and 64, strength 1.  Their
    cross-entropy weighs the positive class by n_real / n_sim, which is this one times twice the real share.

    >>> wei_adversarial(width=32).regularizer.strengths()
    {'domain_classifier': -1.0}
    """
    return Method(ratio=ratio, regularizer=-strength * DomainClassifier(width, hidden=(64, 64)))


def probe(width: int, *, ratio: Ratio = 0.1) -> Method:
    """Co-training watched by a domain classifier of strength zero: it learns, the encoder does not hear it.

    >>> probe(width=32).regularizer.strengths()
    {'domain_classifier': 0.0}
    """
    return Method(ratio=ratio, regularizer=0.0 * DomainClassifier(width))
