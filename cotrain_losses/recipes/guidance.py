"""Methods that tell the head its domain.  `scale` is 1 + w of Ho & Salimans and 1 + lambda of Lei et al.

`structured` is one to start from, ours rather than published: aligned while the domain and the target allow it.
"""

from __future__ import annotations

import math

from ..guidance import DomainGuidance
from ..method import Method
from ..mixing import ratio_range
from ..strength import balanced, relative
from ..terms.discriminator import DomainClassifier
from .adversarial import adda
from .mixing import Ratio


def one_hot(*, ratio: Ratio = 0.1, domains: int = 2) -> Method:
    """The domain as one-hot columns of the condition, never dropped: Wei et al. 2025.  The head has to be built with
    `domains` more columns; at test the target's code is given (scale 1).

    >>> one_hot().guidance.scale
    1.0
    """
    return Method(ratio=ratio, guidance=DomainGuidance(drop=0.0, scale=1.0, domains=domains, one_hot=True))


def cfg(width: int, *, ratio: Ratio = 0.1, drop: float = 0.2, scale: float = 1.0, domains: int = 2) -> Method:
    """Co-training plus domain guidance.  Lei et al. 2026: label dropped with probability 0.2, best lambda
    about -0.5, which is scale=0.5 here; the default is the label alone, .08 [.02, .14] better in docs/studies.md.

    >>> cfg(width=32, scale=0.5).guidance.scale
    0.5
    """
    return Method(ratio=ratio, guidance=DomainGuidance(width, drop=drop, scale=scale, domains=domains))


def wei_cfg(*, ratio: Ratio = 0.1, domains: int = 2) -> Method:
    """One-hot columns dropped with probability 0.1 and guided at w = 1, that is scale 2: Wei et al. 2025.  They drop
    whole batches; here each sample is dropped by itself, which has the same expected loss.

    >>> wei_cfg().guidance.scale
    2.0
    """
    return Method(ratio=ratio, guidance=DomainGuidance(drop=0.1, scale=2.0, domains=domains, one_hot=True))


def cfg_adda(
    width: int, *, ratio: Ratio = 0.1, strength: float = 0.05, drop: float = 0.2, scale: float = 1.0
) -> Method:
    """Both, the method of Lei et al. 2026: features are aligned before the token, the token restores the domain.
    Theirs is scale=0.5.

    >>> method = cfg_adda(width=32)
    >>> method.regularizer.strengths(), method.guidance.scale
    ({'domain_classifier': -0.05}, 1.0)
    """
    return adda(width, ratio=ratio, strength=strength) + cfg(width, ratio=ratio, drop=drop, scale=scale)


def structured(
    width: int, *, ratio: Ratio = None, frames: tuple[int, int] | None = None, fraction: float = 0.1
) -> Method:
    """CFG-ADDA of Lei et al. 2026 with a measured strength for its raw one: an adversary that may send the encoder at
    most `fraction` of the policy's own gradient, held so that a domain probe still reads .9, and domain guidance. Ours.

    Args:
        ratio: the target's share; None takes the middle, on a logarithmic scale, of the range in which Lei et al.
            search (`mixing.ratio_range`), from `frames`, how many (source, target) there are.
        fraction: the most the adversary may send to the encoder, as a share of what the policy's loss sends it.

    It helps where the same observation asks for another command in each domain, and is not shown to help elsewhere; it
    was not .05 worse than plain co-training under any of four gaps.  The label is given whole (scale 1) and the
    adversary's slope has no penalty: chosen among eight trials on one task (docs/balance-study.md).

    Give held-out target episodes to `cotrain.hold_out(batch)`: the adversary is silent until then, and is turned down
    when the policy's loss on them rises.  After some two fifths of the steps train on them too:
    `cotrain.release_held_out()`.

    >>> method = structured(width=16, frames=(60_000, 2_000))
    >>> round(method.ratio, 3)
    0.077
    """
    ratio = _middle(frames) if ratio is None else ratio
    adversary = balanced(-relative(fraction)) * DomainClassifier(width)
    return Method(regularizer=adversary) + cfg(width, ratio=ratio, scale=1.0)


def _middle(frames: tuple[int, int] | None) -> float:
    if frames is None:
        raise ValueError(
            "the ratio follows from how many frames each domain has, got neither. Pass "
            "structured(width, frames=(source_frames, target_frames)), or the ratio itself."
        )
    return math.sqrt(math.prod(ratio_range(source=frames[0], target=frames[1])))
