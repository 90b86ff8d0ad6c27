"""Features collected from a trained policy, at several points in one pass over a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._core.modes import evaluating
from ..measures.features import Features
from ..measures.layer import Diagnosis, diagnosis
from ..mixing.domains import Domains
from .adapters import loss_of
from .hooks import Hooks
from .passes import Pass
from .paths import networks
from .seam import Seam


@dataclass(frozen=True)
class Collected:
    """Features of both domains, as one policy sees them."""

    source: Features
    target: Features

    def save(self, folder: str | Path, name: str = "features") -> tuple[Path, Path]:
        """Write source/<name>.npz and target/<name>.npz under `folder` and return the two paths."""
        paths = Path(folder) / "source" / f"{name}.npz", Path(folder) / "target" / f"{name}.npz"
        for path, side in zip(paths, (self.source, self.target), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            side.save(path)
        return paths

    def diagnoses(self, **options: Any) -> dict[str, Diagnosis]:
        """A diagnosis of every layer; `options` go to `diagnosis`."""
        groups = {"source_groups": self.source.groups, "target_groups": self.target.groups}
        return {
            name: diagnosis(x, self.target.layers[name], **groups, **options) for name, x in self.source.layers.items()
        }


@torch.no_grad()
def collect_features(
    policy: Any,
    loader: Iterable[Any],
    *,
    seams: Sequence[Seam | str],
    domain: str | Callable[[Any], Any] = "is_target",
    domains: Sequence[str] = ("source", "target"),
    target: str | None = None,
    groups: str | Callable[[Any], Any] | None = None,
    run: Callable[[Any, Any], Any] | None = None,
    limit: int | None = None,
) -> Collected:
    """What a policy makes of a dataset, at several points at once.

    Args:
        policy: the policy, in eval mode while this runs.
        loader: batches.
        seams: dotted paths of modules whose outputs are layers, or `Seam`s.
        domain: key of the batch, or function of it, giving (b,) labels as `CoTrain` takes them.
        domains, target: names of the domains and of the target among them, as for `CoTrain`; all others are the source.
        groups: like `domain`, the episode (b,) of each sample.
        run: function `run(policy, batch)` that runs the policy; None takes its loss, as `CoTrain` finds it.
        limit: stop after this many rows of each domain.

    A module called several times in one run (cameras) has its outputs side by side.

    Raises:
        ValueError, TypeError: a path the policy does not have, a module that did not run, labels of wrong length.
    """
    named, run = Domains.named(domains, target, "pooled"), run or loss_of(policy)
    points = {seam if isinstance(seam, str) else seam.place: _seam(seam) for seam in seams}
    parts: dict[str, list[Tensor]] = {name: [] for name in points}
    is_target, episodes = list[Tensor](), list[Tensor]()
    with ExitStack() as stack:
        hooks = {name: Hooks(seam).attach(policy) for name, seam in points.items()}
        for each in hooks.values():
            stack.callback(each.remove)
        stack.enter_context(evaluating(*networks(policy)))
        for batch in loader:
            is_target.append(named.is_target(named.labels(_of_batch(batch, domain, "domain"), batch)))
            if groups is not None:
                episodes.append(torch.as_tensor(_of_batch(batch, groups, "groups")).detach().cpu().reshape(-1))
            for name, rows in _read(policy, batch, hooks, run, len(is_target[-1])).items():
                parts[name].append(rows)
            if limit is not None and _smaller_side(is_target) >= limit:
                break
    if not is_target:
        raise ValueError("features are collected from batches, got a loader that holds none.")
    layers = {name: torch.cat(rows) for name, rows in parts.items()}
    return _split(layers, torch.cat(is_target), torch.cat(episodes) if episodes else None, limit)


class _Reader(Pass):
    """Reads features at a seam and changes nothing."""

    def __init__(self) -> None:
        self.features = list[Tensor]()

    def on_features(self, z: Tensor, read: Tensor | None) -> Tensor:
        if read is not None:
            self.features.append(read.detach())
        return z


def _read(
    policy: Any, batch: Any, hooks: Mapping[str, Hooks], run: Callable[[Any, Any], Any], b: int
) -> dict[str, Tensor]:
    """(b, d) features at every seam, from one run of the policy."""
    readers = {name: _Reader() for name in hooks}
    with ExitStack() as stack:
        for name, each in hooks.items():
            stack.enter_context(each.use(readers[name]))
        run(policy, batch)
    for name, reader in readers.items():
        if not reader.features:
            raise ValueError(
                f"features are what passes {name} while the policy runs, got a run in which it was not called. "
                "Name a module that is, or pass run=lambda policy, batch: ... that reaches it."
            )
    return {name: hooks[name].seam.rows(reader.features, b).float().cpu() for name, reader in readers.items()}


def _split(layers: dict[str, Tensor], is_target: Tensor, groups: Tensor | None, limit: int | None) -> Collected:
    sides = []
    for mask in (~is_target, is_target):
        rows = mask.nonzero().squeeze(1)[:limit]
        sides.append(Features({n: x[rows] for n, x in layers.items()}, None if groups is None else groups[rows]))
    return Collected(*sides)


def _smaller_side(is_target: list[Tensor]) -> int:
    targets, rows = sum(int(x.sum()) for x in is_target), sum(len(x) for x in is_target)
    return min(targets, rows - targets)


def _of_batch(batch: Any, key: str | Callable[[Any], Any], what: str) -> Any:
    if isinstance(key, str) and not (isinstance(batch, Mapping) and key in batch):
        raise ValueError(
            f"{what} is a key of the batch or a function of it, got {key!r} for a {type(batch).__name__} "
            f"{'with ' + ', '.join(map(str, batch)) if isinstance(batch, Mapping) else ''}."
        )
    return batch[key] if isinstance(key, str) else key(batch)


def _seam(seam: Seam | str) -> Seam:
    return Seam(feature=seam) if isinstance(seam, str) else seam
