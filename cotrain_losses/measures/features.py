"""Files of features: what a trained policy makes of one domain, layer by layer.

A file holds one domain: `.npy` one layer, `.npz` and `.pt` a layer per name.  The names `groups` or `episodes` hold
the episode of each row.  Pickled objects are refused: they run code when read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

GROUPS = ("groups", "episodes")
SUFFIXES = (".npy", ".npz", ".pt", ".pth")


@dataclass(frozen=True)
class Features:
    """Features of one domain: a matrix (n, d) per layer, and the episode of each row where known.

    >>> groups = torch.tensor([0, 0, 0, 1, 1, 1])
    >>> Features({"encoder": torch.randn(6, 4)}, groups=groups).layers.keys()
    dict_keys(['encoder'])
    """

    layers: dict[str, Any]
    groups: Any = None

    @classmethod
    def read(cls, path: str | Path) -> Features:
        """The layers in a `.npy`, `.npz` or `.pt` file; a layer that cannot be read holds its error instead.

        A file of another kind, unreadable, pickled, or without layers raises ValueError.
        """
        path = Path(path)
        if path.suffix not in SUFFIXES:
            raise ValueError(
                f"features are read from .npy, .npz or .pt files, got {path.name}. "
                "Save them with numpy.savez(path, layer_name=features, groups=episode_of_each_row)."
            )
        if not path.is_file():
            kind = "is no file" if path.exists() else "does not exist"
            raise ValueError(f"features are read from a file, got {path}, which {kind}.")
        arrays = _read_numpy(path) if path.suffix in (".npy", ".npz") else _read_torch(path)
        groups = next((arrays.pop(name) for name in GROUPS if name in arrays), None)
        if isinstance(groups, Exception):
            raise groups
        if not arrays:
            raise ValueError(f"a file of features holds at least one layer, got none in {path.name}.")
        return cls(arrays, groups)

    def layer(self, name: str) -> Any:
        """The features (n, ...) of one layer; raises the error of one that could not be read."""
        if isinstance(held := self.layers[name], Exception):
            raise held
        return held

    def save(self, path: str | Path) -> None:
        """Write the layers and groups as an `.npz` that `read` and `cotrain diagnose` take."""
        held = self.layers if self.groups is None else {**self.layers, "groups": self.groups}
        arrays: dict[str, Any] = {name: x.detach().cpu() if isinstance(x, Tensor) else x for name, x in held.items()}
        np.savez(path, **arrays)


def _read_numpy(path: Path) -> dict[str, Any]:
    with _readable(path.name):
        held = np.load(path, allow_pickle=False)
    if isinstance(held, np.ndarray):
        return {"features": held}
    arrays: dict[str, Any] = {}
    with held:
        for name in held.files:
            try:
                with _readable(f"{name} in {path.name}"):
                    arrays[name] = held[name]
            except ValueError as error:
                arrays[name] = error
    return arrays


def _read_torch(path: Path) -> dict[str, Any]:
    with _readable(path.name):
        held = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(held, Tensor):
        return {"features": held}
    if isinstance(held, Mapping) and all(isinstance(x, Tensor) for x in held.values()):
        return {str(name): x for name, x in held.items()}
    raise ValueError(
        f"a .pt file of features holds a tensor, or a dict of tensors by layer, got {type(held).__name__} in "
        f"{path.name}. Save torch.save({{'layer': features, 'groups': episodes}}, path)."
    )


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """The libraries' errors on broken files, as one sentence."""
    try:
        yield
    except Exception as problem:  # numpy, zipfile and torch raise what they like on files that are not theirs
        text = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        rule = f"features are read from numpy or torch files, got {what}, which is damaged or another kind ({text})."
        if "pickle" in text.lower() or "Weights only" in text:
            rule = (
                f"features are plain arrays of numbers, got pickled objects in {what}, which run code when read and "
                "are refused. Save arrays of one numeric type: numpy.savez(path, layer=x.astype('float32'))."
            )
        raise ValueError(rule) from None
