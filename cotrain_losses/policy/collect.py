"""Features collected from a trained policy, at several points in one pass over a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..measures.features import Features
from ..measures.layer import Diagnosis, diagnosis
from .paths import unwrapped
from .seam import Seam, rows_per_sample


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
    groups: str | Callable[[Any], Any] | None = None,
    run: Callable[[Any, Any], Any] | None = None,
    limit: int | None = None,
) -> Collected:
    """What a policy makes of a dataset, at several points at once.

    Args:
        policy: the policy, in eval mode while this runs.
        loader: batches.
        seams: dotted paths of modules whose outputs are layers, or `Seam`s.
        domain: key of the batch, or function of it, giving (b,) bool, True for the target.
        groups: likewise the episode (b,) of each sample.
        run: function `run(policy, batch)` that runs the policy; None takes `compute_loss` or the policy's call.
        limit: stop after this many rows of each domain.

    A module called several times in one run (cameras) has its outputs side by side.

    Raises:
        ValueError, TypeError: a path the policy does not have, a module that did not run, labels of wrong length.
    """
    run = run or _run
    points = {seam if isinstance(seam, str) else seam.place: _seam(seam) for seam in seams}
    taps = {name: seam.tap(policy) for name, seam in points.items()}
    found: dict[str, list[Tensor]] = {name: [] for name in points}
    labels, episodes = list[Tensor](), list[Tensor]()
    module = unwrapped(policy)
    was_training = getattr(module, "training", False)
    try:
        _set_training(module, False)
        for batch in loader:
            labels.append(_per_row(batch, domain, "domain").bool())
            if groups is not None:
                episodes.append(_per_row(batch, groups, "groups"))
            for name, rows in _seen(policy, batch, taps, run, len(labels[-1])).items():
                found[name].append(rows)
            if limit is not None and _smaller_side(labels) >= limit:
                break
    finally:
        _set_training(module, was_training)
        for tap in taps.values():
            tap.remove()
    if not labels:
        raise ValueError("features are collected from batches, got a loader that holds none.")
    layers = {name: torch.cat(parts) for name, parts in found.items()}
    return _split(layers, torch.cat(labels), torch.cat(episodes) if episodes else None, limit)


class _Reader:
    """Reads features at a seam and changes nothing."""

    def __init__(self) -> None:
        self.features: list[Tensor] = []

    def feature(self, z: Tensor) -> None:
        self.features.append(z.detach())

    def replace_features(self, z: Tensor) -> Tensor:
        return z

    def enter(self, condition: Tensor) -> Tensor:
        return condition

    def pair(self, condition: Tensor) -> None:
        return None

    def leave(self, output: Any, call: Any) -> Any:
        return output

    def around(self, predict: Callable[[], Any]) -> Any:
        return predict()


def _seen(
    policy: Any, batch: Any, taps: Mapping[str, Any], run: Callable[[Any, Any], Any], b: int
) -> dict[str, Tensor]:
    """(b, d) features at every tap, from one run of the policy."""
    readers = {name: _Reader() for name in taps}
    with ExitStack() as stack:
        for name, tap in taps.items():
            stack.enter_context(tap.use(readers[name]))
        run(policy, batch)
    rows = {}
    for name, reader in readers.items():
        if not reader.features:
            raise ValueError(
                f"features are what passes {name} while the policy runs, got a run in which it was not called. "
                "Name a module that is, or pass run=lambda policy, batch: ... that reaches it."
            )
        seam = taps[name].seam
        parts = reader.features if seam.feature is not None else reader.features[:1]
        rows[name] = torch.cat([rows_per_sample(z, b, seam) for z in parts], 1).float().cpu()
    return rows


def _split(layers: dict[str, Tensor], is_target: Tensor, groups: Tensor | None, limit: int | None) -> Collected:
    sides = []
    for mask in (~is_target, is_target):
        rows = mask.nonzero().squeeze(1)[:limit]
        sides.append(Features({n: x[rows] for n, x in layers.items()}, None if groups is None else groups[rows]))
    return Collected(*sides)


def _smaller_side(labels: list[Tensor]) -> int:
    targets, rows = sum(int(x.sum()) for x in labels), sum(len(x) for x in labels)
    return min(targets, rows - targets)


def _per_row(batch: Any, key: str | Callable[[Any], Any], what: str) -> Tensor:
    if isinstance(key, str) and not (isinstance(batch, Mapping) and key in batch):
        raise ValueError(
            f"{what} is a key of the batch or a function of it, got {key!r} for a {type(batch).__name__} "
            f"{'with ' + ', '.join(map(str, batch)) if isinstance(batch, Mapping) else ''}."
        )
    return torch.as_tensor(batch[key] if isinstance(key, str) else key(batch)).detach().cpu().reshape(-1)


def _seam(seam: Seam | str) -> Seam:
    return Seam(feature=seam) if isinstance(seam, str) else seam


def _run(policy: Any, batch: Any) -> Any:
    entry = getattr(unwrapped(policy), "compute_loss", None)
    return policy(batch) if entry is None else entry(batch)


def _set_training(module: Any, mode: bool) -> None:
    if hasattr(module, "train"):
        module.train(mode)
