"""A co-training method: four choices at one seam.

    L = E_mix(ratio)[ weights * l_policy ]  +  sum_k lambda_k R_k(source, target)

Methods add, choice by choice: `adda + cfg` aligns as the one and guides as the other.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from ._core.checks import check_share
from .guidance import DomainGuidance
from .importance.samples import SampleWeights
from .terms.term import Regularizer, Term


@dataclass(frozen=True)
class Method:
    """How domains are mixed, what is asked of z, how the domain reaches the head, how much a sample counts.

    A sum takes each choice from the method that makes it.  Regularizers add up; ratios may be made twice if equal.

    Raises:
        TypeError: a regularizer, guidance or weights of another kind.
        ValueError: a ratio outside [0, 1]; a sum of methods that make one choice differently.

    >>> aligned = Method(ratio=0.1, regularizer=0.1 * Term())
    >>> both = aligned + Method(ratio=0.1, guidance=DomainGuidance(width=8))
    >>> both.ratio, both.regularizer is aligned.regularizer
    (0.1, True)
    """

    ratio: float | Mapping[str, float] | None = None
    """share of target samples in a batch, or a share for each named domain; read by the sampler only."""
    regularizer: Regularizer | Term | None = None
    """what is asked of the features: a sum of terms, each with its strength (alignment)."""
    guidance: DomainGuidance | None = None
    """how the domain reaches the head (discernibility)."""
    weights: SampleWeights | None = None
    """how much each sample counts: `weights(samples) -> (b,)` (importance reweighting)."""

    def __post_init__(self) -> None:
        for name, kind, remedy in _KINDS:
            value = getattr(self, name)
            if value is not None and (isinstance(value, type) or not kind(value)):
                received = value if isinstance(value, type | str | int | float) else type(value).__name__
                raise TypeError(f"Method({name}=...) takes {remedy}, got {received!r}.")
        if isinstance(self.ratio, Mapping):
            for name, share in self.ratio.items():
                check_share(f"ratio[{name!r}]", share)
        elif self.ratio is not None:
            check_share("ratio", self.ratio)

    def __add__(self, other: Method | int) -> Method:
        if isinstance(other, int) and other == 0:  # so that sum(...) works
            return self
        if not isinstance(other, Method):
            return NotImplemented
        chosen = {field.name: _either(field.name, self, other) for field in fields(self) if field.name != "regularizer"}
        terms = [each.regularizer for each in (self, other) if each.regularizer is not None]
        return Method(regularizer=terms[0] + terms[1] if len(terms) == 2 else terms[0] if terms else None, **chosen)

    __radd__ = __add__

    def fresh(self) -> Method:
        """A copy with modules of its own, to attach to another policy."""
        return copy.deepcopy(self)

    def parameters(self) -> list[nn.Parameter]:
        """What those learn."""
        return [parameter for part in self.modules() for parameter in part.parameters()]

    def modules(self) -> list[nn.Module]:
        """The choices that hold state: discriminators, tokens, learned weights."""
        return [part for part in (self.regularizer, self.guidance, self.weights) if isinstance(part, nn.Module)]


_KINDS = (
    (
        "regularizer",
        lambda x: isinstance(x, Regularizer | Term),
        "a sum of terms such as 0.1 * MMD(), or a method of that name: recipes.mmd()",
    ),
    ("guidance", lambda x: isinstance(x, DomainGuidance), "a DomainGuidance(...)"),
    ("weights", callable, "a function of the samples that gives one weight each, or a module such as TableWeights(w)"),
)


def _either(name: str, left: Method, right: Method) -> Any:
    """The choice that one of two methods makes."""
    made = [value for value in (getattr(left, name), getattr(right, name)) if value is not None]
    if len(made) == 2 and made[0] is not made[1] and not (name == "ratio" and made[0] == made[1]):
        received = f"{made[0]!r} and {made[1]!r}" if name == "ratio" else "two"
        raise ValueError(
            f"methods add where they choose different things or the same ratio, got {received} for {name}. "
            f"Leave one out: dataclasses.replace(method, {name}=None)."
        )
    return made[0] if made else None


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
