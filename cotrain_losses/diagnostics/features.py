"""Features of a trained policy, layer by layer: collected from it, or read from files.

A file holds one domain: `.npy` one layer, `.npz` and `.pt` a layer per name.  The names `groups` or `episodes` hold
the episode of each row.  Pickled objects are refused: they run code when read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._paths import unwrapped
from ..seam import Seam, rows_per_sample
from .diagnosis import Diagnosis, diagnosis

GROUPS = ("groups", "episodes")


@dataclass(frozen=True)
class Features:
    """Features of one domain: a matrix (n, d) per layer, and the episode of each row where known."""

    layers: dict[str, Any]
    groups: Any = None

    @classmethod
    def read(cls, path: str | Path) -> Features:
        """The layers in a `.npy`, `.npz` or `.pt` file; a layer that cannot be read holds its error instead.

        Raises:
            ValueError: a file of another kind, unreadable, pickled, or without layers.
        """
        path = Path(path)
        readers = {".npy": _read_npy, ".npz": _read_npz, ".pt": _read_pt, ".pth": _read_pt}
        if path.suffix not in readers:
            raise ValueError(
                f"features are read from .npy, .npz or .pt files, got {path.name}. "
                "Save them with numpy.savez(path, layer_name=features, groups=episode_of_each_row)."
            )
        if not path.is_file():
            raise ValueError(f"features are read from a file, got {path}, which does not exist.")
        arrays = readers[path.suffix](path)
        groups = next((arrays.pop(name) for name in GROUPS if name in arrays), None)
        if isinstance(groups, Exception):
            raise groups
        if not arrays:
            raise ValueError(f"a file of features holds at least one layer, got none in {path.name}.")
        return cls(arrays, groups)

    def save(self, path: str | Path) -> None:
        """Write the layers and groups as an `.npz` that `read` and `cotrain diagnose` take."""
        import numpy as np

        extra = {} if self.groups is None else {"groups": np.asarray(self.groups)}
        np.savez(path, **{name: np.asarray(x) for name, x in self.layers.items()}, **extra)


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
            if limit is not None and min(int(sum(x.sum() for x in labels)), int(sum((~x).sum() for x in labels))) >= limit:
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

    def enter(self, condition: Tensor) -> Tensor:
        return condition

    def pair(self, condition: Tensor) -> None:
        return None

    def leave(self, output: Any, call: Any) -> Any:
        return output

    def around(self, predict: Callable[[], Any]) -> Any:
        return predict()


def _seen(policy: Any, batch: Any, taps: Mapping[str, Any], run: Callable[[Any, Any], Any], b: int) -> dict[str, Tensor]:
    from contextlib import ExitStack

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


def _read_npy(path: Path) -> dict[str, Any]:
    import numpy as np

    try:
        return {"features": np.load(path, allow_pickle=False)}
    except (ValueError, OSError, EOFError) as problem:
        raise ValueError(_unreadable(path.name, problem)) from None


def _read_npz(path: Path) -> dict[str, Any]:
    import zipfile

    import numpy as np

    try:
        archive = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as problem:
        raise ValueError(_unreadable(path.name, problem)) from None
    with archive:
        return {name: _read_one(archive, name, path) for name in archive.files}


def _read_one(archive: Any, name: str, path: Path) -> Any:
    import zipfile

    try:
        return archive[name]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as problem:
        return ValueError(_unreadable(f"{name} in {path.name}", problem))


def _read_pt(path: Path) -> dict[str, Any]:
    import pickle

    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as problem:
        raise ValueError(_unreadable(path.name, problem)) from None
    if isinstance(held, Tensor):
        return {"features": held}
    if isinstance(held, Mapping) and all(isinstance(x, Tensor) for x in held.values()):
        return {str(name): x for name, x in held.items()}
    raise ValueError(
        f"a .pt file of features holds a tensor, or a dict of tensors by layer, got {type(held).__name__} in {path.name}."
    )


def _unreadable(what: str, problem: Exception) -> str:
    text = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
    if "pickle" in text.lower() or "Weights only" in text:
        return (
            f"features are plain arrays of numbers, got pickled objects in {what}, which run code when read and are "
            "refused. Save arrays of one numeric type: numpy.savez(path, layer=x.astype('float32'))."
        )
    return f"features are read from numpy or torch files, got {what}, which is damaged or another kind ({text})."
