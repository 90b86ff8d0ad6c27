"""Files of features: what a trained policy makes of one domain, layer by layer.

A file holds one domain: `.npy` one layer, `.npz` and `.pt` a layer per name.  The names `groups` or `episodes` hold
the episode of each row.  Pickled objects are refused: they run code when read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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

        arrays: dict[str, Any] = {name: np.asarray(x) for name, x in self.layers.items()}
        if self.groups is not None:
            arrays["groups"] = np.asarray(self.groups)
        np.savez(path, **arrays)


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
        f"a .pt file of features holds a tensor, or a dict of tensors by layer, got {type(held).__name__} in "
        f"{path.name}. Save torch.save({{'layer': features, 'groups': episodes}}, path)."
    )


def _unreadable(what: str, problem: Exception) -> str:
    text = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
    if "pickle" in text.lower() or "Weights only" in text:
        return (
            f"features are plain arrays of numbers, got pickled objects in {what}, which run code when read and are "
            "refused. Save arrays of one numeric type: numpy.savez(path, layer=x.astype('float32'))."
        )
    return f"features are read from numpy or torch files, got {what}, which is damaged or another kind ({text})."
