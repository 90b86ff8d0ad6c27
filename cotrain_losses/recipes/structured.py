"""A method to start from, ours rather than published: aligned while the domain and the target allow it."""

from __future__ import annotations

import math

from ..method import Method
from ..mixing import ratio_range
from ..strength import balanced, relative
from ..terms.discriminator import DomainClassifier
from .guidance import cfg
from .mixing import Ratio


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
