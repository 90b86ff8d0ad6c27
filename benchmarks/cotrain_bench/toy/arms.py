"""What is done about the distance of the planes: every arm of the study `grid`.

    x -> (x - shift) / scale        z = f(x)        v(a_t, t | z + E[domain]) ~ a - eps        + lambda R(z_s, z_t)

An arm is how inputs are normalised, what is asked of z, and whether the head is told the domain.  `moved` is what no
method can have: the target's plane put onto the source's, row by row the right one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

import cotrain_losses as ctl
from cotrain_losses.strength import balanced, relative

WIDTH = 16  # of z
HIDDEN = (64, 64)  # of the domain classifier

Affine: TypeAlias = "tuple[Tensor, Tensor]"
"""shift and scale, (2, 3) each: the source's row and the target's"""


def raw(source: Tensor, target: Tensor) -> Affine:
    """Inputs as they are."""
    return torch.zeros(2, 3), torch.ones(2, 3)


def pooled(source: Tensor, target: Tensor) -> Affine:
    """Mean 0 and deviation 1 over the samples of both domains, as most data sets are normalised."""
    both = torch.cat([source, target])
    return both.mean(0).expand(2, 3), _spread(both).expand(2, 3)


def ranged(source: Tensor, target: Tensor) -> Affine:
    """Least -1 and greatest 1 over the samples of both domains, as in diffusion policy."""
    low, high = torch.cat([source, target]).aminmax(dim=0)
    return ((low + high) / 2).expand(2, 3), ((high - low) / 2).clamp_min(1e-4).expand(2, 3)


def by_domain(source: Tensor, target: Tensor) -> Affine:
    """Mean 0 and deviation 1 over the samples of each domain."""
    sides = (source, target)
    return torch.stack([side.mean(0) for side in sides]), torch.stack([_spread(side) for side in sides])


def moved(source: Tensor, target: Tensor) -> Affine:
    """The target's plane put onto the source's; nothing else is changed."""
    shift = torch.zeros(2, 3)
    shift[1, 2] = target[:, 2].mean() - source[:, 2].mean()
    return shift, torch.ones(2, 3)


def _spread(x: Tensor) -> Tensor:
    return x.std(0).clamp_min(1e-4)


@dataclass(frozen=True)
class Arm:
    """One arm; its entry in ARMS is all that adds one."""

    title: str
    inputs: Callable[[Tensor, Tensor], Affine] = raw
    asks: Callable[[float], ctl.Regularizer] | None = None  # what is asked of z, at a strength
    strength: float = 1.0
    scales: tuple[float, ...] = ()  # at which it is guided; () is without a label
    holds_out: float = 0.0  # share of the steps in which a fifth of the target's samples is held out

    @property
    def blind(self) -> bool:
        """Whether the normalised inputs are the same whatever dz is, so that one dz says all."""
        return self.inputs is not raw


def _ot(strength: float) -> ctl.Regularizer:
    return strength * ctl.Sinkhorn(blur=0.05, tolerance=1e-4)


def _mmd(strength: float) -> ctl.Regularizer:
    return strength * ctl.MMD()


def _adda(strength: float) -> ctl.Regularizer:
    return -strength * ctl.DomainClassifier(WIDTH, hidden=HIDDEN)


def _structured(strength: float) -> ctl.Regularizer:
    term: ctl.Regularizer = balanced(-strength * relative(0.1)) * ctl.DomainClassifier(WIDTH, hidden=HIDDEN)
    return term


LABEL = (1.0, 0.5)
ARMS: dict[str, Arm] = {
    "plain": Arm("plain"),
    "pooled": Arm("pooled deviation", pooled),
    "ranged": Arm("pooled range", ranged),
    "by_domain": Arm("own mean, deviation", by_domain),
    "moved": Arm("planes moved together", moved),
    "ot": Arm("OT", asks=_ot, strength=0.1),
    "mmd": Arm("MMD", asks=_mmd, strength=0.1),
    "adda": Arm("ADDA", asks=_adda, strength=0.05),
    "cfg": Arm("label (CFG)", scales=LABEL),
    "cfg_adda": Arm("CFG-ADDA", asks=_adda, strength=0.05, scales=LABEL),
    "structured": Arm("structured (ours)", asks=_structured, scales=(1.0,), holds_out=0.4),
    "by_domain_label": Arm("own mean, deviation + label", by_domain, scales=LABEL),
    "moved_label": Arm("planes moved + label", moved, scales=LABEL),
}
