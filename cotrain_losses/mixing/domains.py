"""Domains: named places that samples come from, one of them the target.

A label is a bool (True = target), the position of a name, or the name itself.  Comparisons are of the
target with the sources, all together or each in turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from .._core.rows import Rows


@dataclass(frozen=True)
class Domains:
    """The domains of a run: their names, which is the target, and how sources are compared with it."""

    names: tuple[str, ...]
    target: str
    sources: str = "pooled"

    @classmethod
    def named(cls, names: Sequence[str], target: str | None, sources: str) -> Domains:
        """Checked domains; of the default pair the target is the last."""
        names = tuple(names)
        if len(names) < 2 or len(set(names)) != len(names) or isinstance(names, str):
            raise ValueError(f"co-training mixes two or more domains of different names, got {names}.")
        if target is None and names == ("source", "target"):
            target = "target"
        if target not in names:
            raise ValueError(
                f"target is one of the domains {', '.join(names)}, got {target!r}. "
                f"Pass CoTrain(..., target={names[0]!r})."
            )
        if sources not in ("pooled", "each"):
            raise ValueError(f"sources is 'pooled' or 'each', got {sources!r}.")
        return cls(names, target, sources)

    def __len__(self) -> int:
        return len(self.names)

    def position(self, name: str) -> int:
        """The integer label of a name."""
        if name not in self.names:
            raise ValueError(f"domain is one of {', '.join(self.names)}, got {name!r}.")
        return self.names.index(name)

    def is_target(self, labels: Tensor) -> Tensor:
        """(b,) bool."""
        return labels == self.position(self.target)

    def counts(self, labels: Tensor) -> dict[str, int]:
        """Samples of each domain."""
        found = torch.bincount(labels, minlength=len(self)).tolist()
        return dict(zip(self.names, found, strict=True))

    def shares(self, labels: Tensor, valid: Tensor | None = None) -> dict[str, float]:
        """Each domain's share of the samples, or of the (b, h) steps marked valid."""
        steps = torch.ones(len(labels)) if valid is None else valid.detach().cpu().float().flatten(1).sum(1)
        total = torch.zeros(len(self)).index_add_(0, labels, steps)
        return dict(zip(self.names, (total / total.sum().clamp_min(1.0)).tolist(), strict=True))

    def labels(self, domain: Any, batch: Any = None) -> Tensor:
        """(b,) integer labels on the CPU, checked against the batch they label."""
        labels = self._integers(domain)
        rows = {len(x) for x in tree_leaves(batch) if isinstance(x, Tensor) and x.ndim}
        if labels.ndim != 1 or (rows and len(labels) not in rows):
            raise ValueError(
                f"domain has one label per sample, got shape {tuple(labels.shape)} for a batch whose tensors have "
                f"{' or '.join(map(str, sorted(rows)))} rows. Index it with the samples: it must travel with the batch."
            )
        if len(labels) and not (labels >= 0).logical_and(labels < len(self)).all():
            raise ValueError(
                f"integer labels are positions among the domains {', '.join(self.names)}, got values from "
                f"{int(labels.min())} to {int(labels.max())}. Name them all: CoTrain(..., domains=(...), target=...)."
            )
        return labels

    def sides(self, rows: Rows, labels: Tensor) -> list[tuple[str, Rows, Rows]]:
        """(name, source rows, target rows) for each comparison."""
        target = rows[_places(self.is_target(labels), rows)]
        if self.sources == "pooled":
            return [("sources", rows[_places(~self.is_target(labels), rows)], target)]
        others = [name for name in self.names if name != self.target]
        return [(name, rows[_places(labels == self.position(name), rows)], target) for name in others]

    def _integers(self, domain: Any) -> Tensor:
        if isinstance(domain, str) or not isinstance(domain, (Tensor, Iterable)):
            raise TypeError(
                f"domain labels the samples, (b,) bool (True = target), integers or names, got {type(domain).__name__}."
            )
        if not isinstance(domain, Tensor):
            listed = list(domain)
            named = bool(listed) and all(isinstance(name, str) for name in listed)
            domain = torch.as_tensor([self.position(name) for name in listed] if named else listed)
        if domain.dtype == torch.bool:
            return self._from_mask(domain)
        if domain.is_floating_point() and domain.numel():
            raise TypeError(
                "domain labels are bool (True = target), integers or names, got "
                f"{str(domain.dtype).removeprefix('torch.')}. Convert a float mask with domain > 0.5."
            )
        labels: Tensor = domain
        return labels.detach().to("cpu", torch.long)

    def _from_mask(self, mask: Tensor) -> Tensor:
        if len(self) != 2:
            raise TypeError(
                f"a bool label tells target from source, got one for {len(self)} domains ({', '.join(self.names)}). "
                "Label the samples with integers or names."
            )
        target = self.position(self.target)
        return torch.where(mask.detach().cpu(), target, 1 - target)


def _places(mask: Tensor, rows: Rows) -> Tensor:
    """Positions of True, found on the CPU so that no device is waited for."""
    return mask.nonzero().squeeze(1).to(rows.features.device, non_blocking=True)
