"""The rows that are compared: features, and what is known of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

SIDES = ("source", "target")


@dataclass(frozen=True)
class Rows:
    """One side of a comparison: n samples and what is known of each.

    Args:
        features: (n, d), what is aligned.
        extras: named tensors of n rows (actions, states, predictions) that a term's cost may use.
        mass: (n,) non-negative; how much each row counts.  None counts all rows alike.
        group: (n,) integers; rows are only compared with rows of the same group.
        valid: (n, h) bool; which steps of an (n, h, ...) extra are real rather than padding.

    A bare tensor stands for `Rows(features)` wherever rows are expected.

    >>> extras = {"action": torch.zeros(4, 16, 7)}
    >>> rows = Rows(torch.zeros(4, 8), extras, mass=torch.ones(4))
    >>> rows.extra("action").shape
    torch.Size([4, 16, 7])
    """

    features: Tensor
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    mass: Tensor | None = None
    group: Tensor | None = None
    valid: Tensor | None = None

    def __post_init__(self) -> None:
        if type(self.extras) is dict and self.bare:
            return
        if not isinstance(self.extras, Mapping):
            raise TypeError(f"Rows(extras=...) maps names to tensors, got {type(self.extras).__name__}.")
        for name, value in self.parts():
            if not isinstance(value, Tensor):
                raise TypeError(f"every part of Rows is a tensor, got {name} of type {type(value).__name__}.")
            if value.ndim == 0 or len(value) != len(self.features):
                raise ValueError(
                    f"every part of Rows has one entry per row, got {name} of shape {tuple(value.shape)} "
                    f"beside features {tuple(self.features.shape)}.\nIndex it with the same mask as the features."
                )

    @classmethod
    def of(cls, rows: Rows | Tensor) -> Rows:
        """`rows` itself, or a bare feature matrix as rows."""
        if isinstance(rows, Rows):
            return rows
        if isinstance(rows, Tensor):
            return cls(rows)
        raise TypeError(
            f"a term compares tensors or Rows, got {type(rows).__name__}. "
            "Pass z (samples, width) or Rows(z, extras=...)."
        )

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """One after another, with all that is known of them."""
        first = parts[0]
        if len(parts) == 1:
            return first
        extras = {name: torch.cat([part.extras[name] for part in parts]) for name in first.extras}
        more = [[getattr(part, name) for part in parts] for name in ("mass", "group", "valid")]
        known = [None if each[0] is None else torch.cat(each) for each in more]
        return cls(torch.cat([part.features for part in parts]), extras, *known)

    def __len__(self) -> int:
        return self.features.shape[0]

    def __getitem__(self, index: Any) -> Rows:
        """The rows that a mask, a slice or an index tensor selects."""
        if self.bare:
            return Rows(self.features[index])
        return self.map(lambda x: x[index])

    def map(self, function: Callable[[Tensor], Tensor]) -> Rows:
        """`function` applied to every tensor held here."""
        return Rows(
            function(self.features),
            {name: function(value) for name, value in self.extras.items()},
            *(None if part is None else function(part) for part in (self.mass, self.group, self.valid)),
        )

    def map_features(self, function: Callable[[Tensor], Tensor]) -> Rows:
        """`function` applied to the features and to floating extras; mass, group and valid stay."""
        if self.bare:
            return Rows(function(self.features))
        extras = {name: function(x) if x.is_floating_point() else x for name, x in self.extras.items()}
        return Rows(function(self.features), extras, self.mass, self.group, self.valid)

    @property
    def bare(self) -> bool:
        """Whether there is nothing but features."""
        return self.mass is None and self.group is None and self.valid is None and not self.extras

    @property
    def plain(self) -> bool:
        """Whether all rows count alike and may be compared with any."""
        return self.mass is None and self.group is None

    def extra(self, name: str) -> Tensor:
        """The extra of that name."""
        if name not in self.extras:
            raise ValueError(
                f"this term reads rows.extras[{name!r}], got extras {sorted(self.extras)}.\n"
                f"Pass CoTrain(extras=lambda batch: {{{name!r}: ...}}), or Rows(z, extras={{{name!r}: ...}})."
            )
        return self.extras[name]

    def parts(self) -> Iterator[tuple[str, Tensor]]:
        """Everything held beside the features, with its name."""
        for name in ("mass", "group", "valid"):
            if (value := getattr(self, name)) is not None:
                yield name, value
        for name, value in self.extras.items():
            yield f"extras[{name!r}]", value

    def widened(self) -> Rows:
        """The same rows with every floating part in at least float32; itself where they are."""
        held = (self.features, *(value for _, value in self.parts()))
        return self.map(_widened) if any(narrow(x) for x in held) else self


def narrow(x: Tensor) -> bool:
    """Whether numbers are floating point of less than float32."""
    return x.is_floating_point() and x.dtype.itemsize < 4


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type that a value of rows of this type has: at least float32."""
    return torch.promote_types(dtype, torch.float32)


def _widened(x: Tensor) -> Tensor:
    return x.to(wide(x.dtype)) if x.is_floating_point() else x
