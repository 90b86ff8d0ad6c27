"""What is said of a batch: the labels that travel beside it, and the functions that read more from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, SupportsIndex

from torch import Tensor

from .._core.checks import whole
from .._core.device import moved
from .._core.rows import Rows, wide


@dataclass(frozen=True)
class Labels:
    """What travels beside a batch: domains, weights, places in the dataset, the optimizer step, which rows can be
    learned from."""

    domain: Any
    weight: Tensor | None = None
    index: Tensor | None = None
    step: int | None = None
    has_action: Tensor | None = None

    def __post_init__(self) -> None:
        step = self.step
        if not (step is None or isinstance(step, (int, SupportsIndex))):  # whose number a device may hold; int is quick
            object.__setattr__(self, "step", whole("step", step))


@dataclass(frozen=True)
class LabelReaders:
    """Functions of the batch that give its `Labels`; `step` gives the optimizer step.  Each may be left out."""

    domain: Callable[[Any], Any] | None = None
    weight: Callable[[Any], Tensor] | None = None
    index: Callable[[Any], Tensor] | None = None
    step: Callable[[], int] | None = None
    has_action: Callable[[Any], Tensor] | None = None

    def __post_init__(self) -> None:
        _refuse_what_is_no_function(self, "install")


@dataclass(frozen=True)
class BatchReaders:
    """Functions of the batch that say more of its rows, for the terms."""

    extras: Callable[[Any], Mapping[str, Tensor]] | None = None
    groups: Callable[[Any], Tensor] | None = None
    valid: Callable[[Any], Tensor] | None = None
    mass: Callable[[Any], Tensor] | None = None

    def __post_init__(self) -> None:
        _refuse_what_is_no_function(self, "CoTrain")

    def rows(self, features: Tensor, batch: Any) -> Rows:
        """The features with all that is said of them, on their device."""
        mass, *more = (None if part is None else part(batch) for part in (self.mass, self.groups, self.valid))
        if mass is not None and not mass.is_floating_point():
            mass = mass.to(wide(features.dtype))
        rows = Rows(features, self.extras(batch) if self.extras else {}, mass, *more)
        here = all(part.device == features.device for _, part in rows.parts())
        return rows if here else rows.map(lambda part: moved(part, features.device))


def _refuse_what_is_no_function(readers: LabelReaders | BatchReaders, owner: str) -> None:
    for name, read in vars(readers).items():
        if not (read is None or callable(read)):
            given = "lambda: ..." if name == "step" else "lambda batch: ..."
            raise TypeError(f"{owner}({name}=...) is a function, got {read!r}. Write {owner}({name}={given}).")
