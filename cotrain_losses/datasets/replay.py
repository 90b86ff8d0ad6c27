"""zarr replay buffers: diffusion_policy's, UMI's, and any store with their layout.

    data/action (N, d), data/**/<key> (N, ...)
    meta/episode_ends (E,)                        rises to N

A directory or a zip, in which the buffer may lie in a folder; zarr v2, and v3 where zarr 3 is installed.  UMI keeps no
actions: there they are the poses and openings of its grippers, as UMI itself takes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .demonstrations import Demonstrations, Frames, register
from .faults import Fault, Unreadable, readable
from .fields import Array, as_columns, as_integers, check_key, is_proprioception, keys_of, rate_of, rows_at_once
from .names import distinct, listed, places, shown
from .stores import Stored, check_chunks, stored_arrays

_FORMAT = "a zarr replay buffer"
_ENDS = "meta/episode_ends"
_TIMES = ("timestamp", "timestamps")
_UMI = [f"robot{robot}_{part}" for robot in range(8) for part in ("eef_pos", "eef_rot_axis_angle", "gripper_width")]


def _is_zarr(path: Path) -> bool:
    return path.suffix == ".zip" or any((path / name).exists() for name in (".zgroup", "zarr.json"))


@register("a zarr replay buffer (with .zgroup or zarr.json)", _is_zarr)
def replay_buffer(path: Path, action: str | None = None, state: str | None = None) -> Demonstrations:
    """The dataset in a zarr directory or zip; `state` names arrays, None joins all vectors of floats."""
    with readable(path, _FORMAT):
        every = stored_arrays(path)
    root = _root(path, every)
    data = {key.removeprefix(f"{root}data/"): held for key, held in every.items() if key.startswith(f"{root}data/")}
    faults, notes = list[Fault](), list[str]()
    actions = _actions(path, data, action, notes)
    vectors = [key for key, held in sorted(data.items()) if is_proprioception(held.shape, held.dtype)]
    own = [key for key in vectors if key not in _TIMES and (key not in actions or key in _UMI)]
    states = own if state is None else keys_of(path, state, (), data, "state")
    fields, ends = [data[key] for key in (*actions, *states)], every[f"{root}{_ENDS}"]
    _check_stored(path, [ends, *fields], faults, notes)
    lengths = _lengths(path, ends, {field.key: field.shape[0] for field in fields}, faults)
    kept: dict[str, Any] = {"lengths": lengths, "faults": faults, "notes": notes}
    kept["rate"] = next((_rate(path, data[key]) for key in _TIMES if key in vectors), None)
    kept["action_names"] = _names(actions, data) if len(actions) > 1 else ()
    pieces = partial(_read, path, fields, len(actions), np.cumsum([0, *lengths.values()]))
    kept["state_names"] = _names(states, data)
    return Demonstrations(path, "zarr replay buffer", sum(lengths.values()), len(lengths), pieces, **kept)


def _root(path: Path, every: dict[str, Stored]) -> str:
    """The folder of the store that the buffer lies in: "" or "pusht.zarr/"."""
    roots = [key.removesuffix(_ENDS) for key in every if f"/{key}".endswith(f"/{_ENDS}")]
    if not every:
        raise Unreadable(f"{shown(path)} holds no zarr arrays. Give a replay buffer; unpack a zip of another format.")
    if not roots:
        check_key(path, _ENDS, every, "a replay buffer says where episodes end")
    if len(roots) > 1 and "" not in roots:
        raise Unreadable(f"{shown(path)} holds several replay buffers: {listed(roots)}. Unpack it and name one.")
    return min(roots, key=len)


def _actions(path: Path, data: dict[str, Stored], action: str | None, notes: list[str]) -> list[str]:
    actions = keys_of(path, action, ("action", "actions"), data, "action")
    if not actions and (actions := [key for key in _UMI if key in data]):
        notes.append(f"Without actions of its own: they are {listed(actions)}, as UMI takes them.")
    check_key(path, None if actions else "action", data, "--action-key, or PATH::action=KEY for one dataset")
    return actions


def _check_stored(path: Path, read: Sequence[Stored], faults: list[Fault], notes: list[str]) -> None:
    for array in read:
        with readable(path, _FORMAT, array.key):
            there, due = check_chunks(path, array)
        if there not in (0, due):
            text = f"{there} of {due} chunks of {shown(array.key)!r} are there, the others would read as its fill value"
            faults.append(Fault(text))
        elif there < due:
            notes.append(f"{shown(array.key)!r} has no chunks: it is its fill value throughout.")


def _lengths(path: Path, stored: Stored, rows: dict[str, int], faults: list[Fault]) -> dict[int, int]:
    """Frames of each episode that the arrays hold whole."""
    with _opened(path, stored) as array:
        ends = np.asarray(array[:]).ravel()
    frames, last = min(rows.values()), int(ends[-1]) if len(ends) else 0
    if (np.diff(ends, prepend=ends.dtype.type(0)) < 0).any() or not np.array_equal(ends, as_integers(ends)):
        raise Unreadable(f"{shown(path)}: {_ENDS} rises from episode to episode, got {listed(ends)}. Sort it.")
    if len({*rows.values()}) > 1:
        faults.append(Fault(f"its arrays have {', '.join(f'{n} ({shown(key)})' for key, n in rows.items())} rows"))
    if last != frames:
        faults.append(Fault(f"{_ENDS} ends at frame {last}, its arrays at frame {frames}"))
    kept = ends[ends <= frames].astype(np.int64)
    return dict(enumerate(np.diff(kept, prepend=0).tolist()))


def _rate(path: Path, times: Stored) -> float | None:
    with readable(path, _FORMAT, times.key), _opened(path, times) as array:
        return rate_of(np.asarray(array[:10_000]))


@contextmanager
def _opened(path: Path, stored: Stored) -> Iterator[Any]:
    """The array, as zarr opens it."""
    import zarr  # only those who read replay buffers need it

    if stored.version > 2 and zarr.__version__.startswith("2."):
        raise Unreadable(
            f"{shown(path)} is written in zarr v{stored.version}, which zarr {zarr.__version__} does not read: "
            "pip install 'zarr>=3', with Python 3.11 or newer."
        )
    with readable(path, _FORMAT, stored.key):
        store: Any = zarr.storage.ZipStore(str(path), mode="r") if path.is_file() else str(path)
        try:
            yield zarr.open_array(store, mode="r", path=stored.key)
        finally:
            if path.is_file():
                store.close()


def _read(path: Path, fields: list[Stored], actions: int, bounds: Array) -> Iterator[Frames]:
    """The frames between the first and the last bound; the first `actions` fields are those of the action."""
    frames, step = int(bounds[-1]), rows_at_once(max(prod(field.shape[1:]) for field in fields))
    for begin in range(0, frames, step):
        rows = slice(begin, min(begin + step, frames))
        parts = [_rows(path, field, rows) for field in fields]
        state = np.concatenate(parts[actions:], 1) if parts[actions:] else None
        episode = np.searchsorted(bounds[1:], np.arange(begin, rows.stop), side="right")
        yield Frames(episode, np.concatenate(parts[:actions], 1), state)


def _rows(path: Path, stored: Stored, rows: slice) -> Array:
    with _opened(path, stored) as array:
        return as_columns(np.asarray(array[rows]))


def _names(keys: Sequence[str], data: dict[str, Stored]) -> tuple[str, ...]:
    return distinct([name for key in keys for name in places(key, prod(data[key].shape[1:]))])
