"""A co-training method: four choices at one seam, and whose they are."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from .guidance import DomainGuidance
from .importance.samples import SampleWeights
from .terms.term import Regularizer, Term


class Method(NamedTuple):
    """How domains are mixed, what is asked of z, how the domain reaches the head, how much a sample counts.

    >>> plain = Method(ratio=0.1)
    >>> guided = plain._replace(guidance=DomainGuidance(width=8))
    """

    ratio: float | Mapping[str, float] | None = None
    """share of target samples in a batch, or a share for each named domain; read by the sampler only."""
    regularizer: Regularizer | Term | None = None
    """what is asked of the features: a weighted sum of terms (alignment)."""
    guidance: DomainGuidance | None = None
    """how the domain reaches the head (discernibility)."""
    weights: SampleWeights | None = None
    """how much each sample counts: `weights(samples) -> (b,)` (importance reweighting)."""

    def fresh(self) -> Method:
        """A copy with modules of its own, to attach to another policy."""
        return copy.deepcopy(self)

    def modules(self) -> list[nn.Module]:
        """The choices that hold state: discriminators, tokens, learned weights."""
        return [part for part in self[1:] if isinstance(part, nn.Module)]


def claim(method: Method, owner: Any) -> None:
    """Record that the method's modules serve `owner`; refuse those that serve another."""
    for part in method.modules():
        other = _owners.get(part, lambda: None)()
        if other is not None and other is not owner:
            raise RuntimeError(
                f"a method's modules belong to one policy, got a {type(part).__name__} that serves another "
                f"{type(other).__name__} already. Attach a copy, method.fresh(), or release it with unwrap()."
            )
    for part in method.modules():
        _owners[part] = weakref.ref(owner)


def release(method: Method) -> None:
    """Free the method's modules for another policy."""
    for part in method.modules():
        _owners.pop(part, None)


_owners: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Any]] = weakref.WeakKeyDictionary()
