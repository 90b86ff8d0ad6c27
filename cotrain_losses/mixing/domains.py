"""Domains: named places that samples come from, one of them the target; and the one reader of their labels.

    bool      True = target, of two domains          integers   positions among the names          names   themselves

Labels come as a tensor, an array or a list, all of one kind.  Whatever reads labels (CoTrain, samplers, weights,
collected features) reads them here, so that one array means the same domains everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_leaves

from .._core.device import eager, moved
from .._core.flags import common
from .._core.rows import Rows, wide

Domain: TypeAlias = "Tensor | NDArray[Any] | Sequence[Any]"
"""labels of samples, one each"""


@dataclass(frozen=True)
class Domains:
    """The domains of a run: their names, which is the target, and how sources are compared with it."""

    names: tuple[str, ...]
    target: str
    sources: str = "pooled"

    @classmethod
    def named(cls, names: Sequence[str], target: str | None, sources: str = "pooled") -> Domains:
        """Checked domains; of the default pair the target is the last."""
        names = tuple(names)
        if len(names) < 2 or len(set(names)) != len(names) or isinstance(names, str):
            raise ValueError(f"co-training mixes two or more domains of different names, got {names}.")
        if target is None and names == ("source", "target"):
            target = "target"
        if target not in names:
            received = f"got {target!r}. Say which holds the real data: CoTrain(..., target=...)."
            raise ValueError(f"target is one of the domains {', '.join(names)}, {received}")
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
        return labels == self.names.index(self.target)

    def counts(self, labels: Tensor) -> dict[str, Any]:
        """Samples of each domain: numbers, or scalars on the labels' device, which is not waited for."""
        if labels.device.type != "cpu":
            return self._summed(labels, torch.ones_like(labels))
        return dict(zip(self.names, np.bincount(labels.numpy(), minlength=len(self.names)).tolist(), strict=True))

    def steps(self, labels: Tensor, valid: Tensor) -> dict[str, Any]:
        """Each domain's steps that (b, h) marks valid: numbers, or scalars on their device."""
        return self._summed(moved(labels, valid.device), valid.detach().float().flatten(1).sum(1))

    def _summed(self, labels: Tensor, each: Tensor) -> dict[str, Any]:
        sums = each.new_zeros(len(self.names)).index_add_(0, labels, each)
        return dict(zip(self.names, sums.tolist() if sums.device.type == "cpu" else sums.unbind(), strict=True))

    def labels(self, domain: Any, batch: Any = None) -> Tensor:
        """(b,) integer labels on the device they came on, checked against the batch they label."""
        labels, _ = read_labels(domain, self.names, self.target, stay=True)
        rows = _rows(batch)
        if rows and len(labels) not in rows:
            raise ValueError(
                f"domain has one label per sample, got shape {tuple(labels.shape)} for a batch of "
                f"{' or '.join(map(str, sorted(rows)))} rows. Index it with the samples: it must travel with the batch."
            )
        return labels

    def sides(self, rows: Rows, labels: Tensor) -> list[tuple[str, Rows, Rows]]:
        """(name, source rows, target rows) for each comparison.

        Off the CPU and under torch.compile each side holds all rows of the batch in one order, sources first, with a
        mass of zero where a row is not of that side: one shape, whatever the labels.
        """
        masks = {name: labels == position for position, name in enumerate(self.names)}
        of_target = masks.pop(self.target)
        if self.sources == "pooled":
            masks = {"sources": ~of_target}
        if not (eager(rows.features) and labels.device.type == "cpu"):
            return [(name, *_whole(rows, mask, of_target)) for name, mask in masks.items()]
        target, *sources = [rows[mask.nonzero().squeeze(1)] for mask in (of_target, *masks.values())]
        return [(name, source, target) for name, source in zip(masks, sources, strict=True)]


def _whole(rows: Rows, of_source: Tensor, of_target: Tensor) -> tuple[Rows, Rows]:
    """All rows twice, in a stable order by side, with the masses of either side."""
    order = torch.argsort((~of_source).to(torch.uint8) + of_target, stable=True)
    placed = torch.stack([order, of_source[order], of_target[order]])
    placed = moved(placed, rows.features.device)  # one copy
    held, masks = rows[placed[0]], placed[1:].to(wide(rows.features.dtype))
    own = masks if held.mass is None else masks * held.mass
    source, target = (replace(held, mass=mass) for mass in own)
    return source, target


def _rows(batch: Any) -> set[int]:
    """How many samples a batch may have: the items of a list of samples, else what its tensors count."""
    if isinstance(batch, list | tuple) and batch and all(isinstance(sample, Mapping) for sample in batch):
        return {len(batch)}
    return {len(x) for x in tree_leaves(batch) if isinstance(x, Tensor) and x.ndim}


def read_labels(
    domain: Domain, names: Sequence[str] | None = None, target: str | None = "target", *, stay: bool = False
) -> tuple[Tensor, tuple[str, ...]]:
    """(n,) integer labels on the CPU, and the names that they index.

    Without `names` a mask has (source, target), and names those that occur, sorted; `target` is what True stands for.
    With `stay` labels stay on the device they are on; one of no domain is then told later, when flags are read.
    Raises TypeError on labels of another kind or of several, on integers without names, on a mask for other than two
    domains; ValueError on more than one dimension, or a label of no domain.
    """
    given = domain if isinstance(domain, Tensor) else _array(domain)
    if given.ndim != 1:
        raise ValueError(
            f"domain has one label per sample, got shape {tuple(given.shape)}. Of a column take domain[:, 0], of "
            "one-hot rows domain.argmax(1); batches of indices want DataLoader(batch_sampler=...)."
        )
    if isinstance(given, np.ndarray):
        if given.dtype.kind == "U":
            return _positions(given, names)
        given = torch.from_numpy(given.astype(bool if given.dtype.kind == "b" else np.int64))
    if given.numel() and (given.is_floating_point() or given.is_complex()):
        raise _not_labels(str(given.dtype).removeprefix("torch."), given.isnan().sum().item())
    given = given.detach() if stay else given.detach().cpu()
    if given.dtype != torch.bool:
        return _checked_positions(given, names)
    names = ("source", "target") if names is None else tuple(names)
    if len(names) != 2 or target not in names:
        raise TypeError(
            f"a bool mask tells target from source, got one for the {len(names)} domains {', '.join(names)} with "
            f"target={target!r}. Label the samples with integers or names, or name two domains and the target."
        )
    return (given == (names[1] == target)).long(), names


def _checked_positions(given: Tensor, names: Sequence[str] | None) -> tuple[Tensor, tuple[str, ...]]:
    if names is None:
        raise TypeError(
            "domain is a bool mask (True = target), names, or integers with domains=(...), got integers with "
            "domains=None. Name them: domains=('real', 'sim_a', 'sim_b')."
        )
    if given.device.type != "cpu":
        outside = torch.where((given < 0) | (given >= len(names)), given.abs() + 1, 0)
        common.post("domain labels", outside.sum(), lambda _: _no_domain("one outside", names))
        return given.long().clamp(0, len(names) - 1), tuple(names)
    if len(given) and not 0 <= int(given.min()) <= int(given.max()) < len(names):
        _no_domain(f"values from {int(given.min())} to {int(given.max())}", names)
    return given.long(), tuple(names)


def _no_domain(received: str, names: Sequence[str]) -> None:
    raise ValueError(
        f"integer labels are positions among the domains {', '.join(names)}, got {received}. "
        "Name every domain that occurs: domains=(...), target=...."
    )


def _array(domain: Any) -> NDArray[Any]:
    """Labels that are no tensor, as an array of bool, integers or text."""
    if isinstance(domain, str | bytes) or not isinstance(domain, Iterable):
        raise _not_labels(type(domain).__name__)
    array = domain if isinstance(domain, np.ndarray) else np.zeros(0, object)
    if array.dtype == object:  # of lists, numpy reads [True, 2] as [1, 2]
        listed = [each.item() if isinstance(each, Tensor | np.generic) and not each.ndim else each for each in domain]
        kinds = sorted({type(each).__name__ for each in listed})
        if len(kinds) > 1:
            raise _not_labels(f"a mixture of {', '.join(kinds)}")
        array = np.array(listed)
    if array.size and array.dtype.kind not in "biuU":
        received = kinds[0] if array.dtype == object else str(array.dtype)
        raise _not_labels(received, np.isnan(array).sum() if array.dtype.kind == "f" else 0)
    return array


def _not_labels(received: str, missing: float = 0) -> TypeError:
    return TypeError(
        f"domain labels the samples, (samples,) bool (True = target), integers or names, got {received}"
        f"{f' with {missing:g} NaN' if missing else ''}. Label every sample; convert a float mask with domain > 0.5."
    )


def _positions(given: NDArray[np.str_], names: Sequence[str] | None) -> tuple[Tensor, tuple[str, ...]]:
    occurring, place = np.unique(given, return_inverse=True)
    names = tuple(occurring.tolist()) if names is None else tuple(names)
    for name in occurring.tolist():
        if name not in names:
            raise ValueError(
                f"domain is one of {', '.join(names)}, got {name!r}. Name every domain that occurs, and the target: "
                "CoTrain(..., domains=('sim', 'real'), target='real')."
            )
    return torch.tensor([names.index(name) for name in occurring.tolist()], dtype=torch.long)[place], names
