"""robomimic HDF5: data/demo_i/actions (T, d) and data/demo_i/obs/<key> (T, ...)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from .demonstrations import (
    Demonstrations,
    Frames,
    Unreadable,
    as_columns,
    check_key,
    is_proprioception,
    readable,
    register,
)


@register("a robomimic .hdf5", lambda path: path.suffix in (".hdf5", ".h5"))
def robomimic(path: Path, action: str | None = None, state: str | None = None) -> Demonstrations:
    """The dataset in a robomimic file; `state` names one observation, None joins all vectors of floats."""
    import h5py  # type: ignore[import-untyped]  # only those who read robomimic files need it

    action = action or "actions"
    with readable(path, "robomimic HDF5"), h5py.File(path, "r") as file:
        if "data" not in file or not len(file["data"]):
            raise Unreadable(f"{path} holds no demonstrations under 'data', its groups are {', '.join(file)}.")
        demos = sorted(file["data"], key=_natural)
        first = file["data"][demos[0]]
        check_key(path, action, first, "--action-key")
        observations = first.get("obs", {})
        vectors = sorted(k for k, v in observations.items() if is_proprioception(v.shape, v.dtype))
        check_key(path, state, observations, "--state-key")
        keys = [state] if state else vectors
        frames = sum(len(file["data"][demo][action]) for demo in demos)
        names = tuple(name for key in keys for name in _numbered(key, observations[key].shape))
    read = partial(_read, path, demos, action, keys)
    return Demonstrations(path, "robomimic HDF5", frames, len(demos), read, state_names=names)


def _read(path: Path, demos: list[str], action: str, keys: list[str]) -> Iterator[Frames]:
    import h5py

    with readable(path, "robomimic HDF5"), h5py.File(path, "r") as file:
        for number, demo in enumerate(demos):
            group = file["data"][demo]
            actions = as_columns(group[action][()])
            states = [as_columns(group["obs"][key][()])[: len(actions)] for key in keys]
            yield Frames(np.full(len(actions), number), actions, np.concatenate(states, 1) if states else None)


def _numbered(key: str, shape: tuple[int, ...]) -> list[str]:
    width = shape[1] if len(shape) > 1 else 1
    return [key] if width == 1 else [f"{key}[{i}]" for i in range(width)]


def _natural(name: str) -> tuple[str, int]:
    head, _, number = name.rpartition("_")
    return (head, int(number)) if number.isdigit() else (name, -1)
