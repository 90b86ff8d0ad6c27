"""zarr replay buffers (diffusion_policy): data/action (N, d), data/<key> (N, ...), meta/episode_ends (E,)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .demonstrations import Array, Demonstrations, Frames, as_columns, check_key, is_proprioception, readable, register

_PIECE = 65_536


def _is_zarr(path: Path) -> bool:
    return path.suffix == ".zip" or any((path / name).exists() for name in (".zgroup", "zarr.json"))


@register("a zarr replay buffer (with .zgroup or zarr.json)", _is_zarr)
def replay_buffer(path: Path, action: str | None = None, state: str | None = None) -> Demonstrations:
    """The dataset in a zarr directory or zip; `state` names one array, None joins all vectors of floats."""
    import zarr  # only those who read replay buffers need it

    action = action or "action"
    with readable(path, "a zarr replay buffer"):
        zipped = path.suffix == ".zip"
        root: Any = zarr.open_group(zarr.storage.ZipStore(str(path), mode="r") if zipped else str(path), mode="r")
        check_key(path, "data", root, "a replay buffer has groups data and meta")
        data = {key: root["data"][key] for key in root["data"]}
        check_key(path, action, data, "--action-key")
        check_key(path, state, data, "--state-key")
        vectors = [k for k, v in sorted(data.items()) if k != action and is_proprioception(v.shape, v.dtype)]
        keys = [state] if state else vectors
        ends_held = [f"meta/{key}" for key in root["meta"]] if "meta" in root else []
        check_key(path, "meta/episode_ends", [*root, *ends_held], "a replay buffer says where episodes end")
        ends = np.asarray(root["meta"]["episode_ends"][:])
        frames = int(data[action].shape[0])
    read = partial(_read, path, data[action], [data[key] for key in keys], ends)
    return Demonstrations(path, "zarr replay buffer", frames, len(ends), read)


def _read(path: Path, action: Any, states: list[Any], ends: Array) -> Iterator[Frames]:
    for begin in range(0, action.shape[0], _PIECE):
        rows = slice(begin, begin + _PIECE)
        with readable(path, "a zarr replay buffer"):
            actions = as_columns(np.asarray(action[rows]))
            state = np.concatenate([as_columns(np.asarray(s[rows])) for s in states], 1) if states else None
        yield Frames(np.searchsorted(ends, np.arange(begin, begin + len(actions)), side="right"), actions, state)
