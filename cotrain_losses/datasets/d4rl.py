"""Flat HDF5, as D4RL and its followers write it: all transitions end to end.

    observations (N, s), actions (N, d), terminals (N,), timeouts (N,)           observations may be a group of arrays

An episode ends with a frame that is terminal or timed out; what follows the last of them is one more episode.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from .demonstrations import Demonstrations, Frames, register
from .faults import Fault, Unreadable, readable
from .fields import Array, as_columns, check_key, is_proprioception, keys_of, rows_at_once
from .hdf5 import ENDS, SUFFIXES, datasets, flat, rows, vectors
from .names import listed, shown

_FORMAT = "flat HDF5"


def _recognised(path: Path) -> bool:
    held = flat(path) if path.is_file() and path.suffix in SUFFIXES else {}
    return bool(held) and (held.get("observations") != "Group" or bool({*ENDS} & held.keys()))


@register("a D4RL .hdf5", _recognised)
def d4rl(path: Path, action: str | None = None, state: str | None = None) -> Demonstrations:
    """The dataset in a flat file, read in pieces; `state` names arrays, "observations" where it is not given."""
    import h5py  # type: ignore[import-untyped]  # only those who read HDF5 need it

    faults = list[Fault]()
    with readable(path, _FORMAT), h5py.File(path, "r") as file:
        held = dict(datasets(path, file))
        actions = keys_of(path, action, ("actions", "action"), held, "action")
        check_key(path, None if actions else "actions", held, "--action-key, or PATH::action=KEY for one dataset")
        inside = sorted(key for key, each in held.items() if key.startswith("observations/"))
        floats = [key for key in inside if is_proprioception(held[key].shape or (), held[key].dtype)]
        states = keys_of(path, state, ("observations",), held, "state") or floats
        fields = {key: vectors(path, key, held[key].id) for key in (*actions, *states)}
        ends = {key: vectors(path, key, held[key].id) for key in ENDS if key in held}
        counts = {key: found.shape[0] for key, found in (fields | ends).items()}
        episode = _episodes([rows(found) for found in ends.values()], min(counts.values()))
    if len({*counts.values()}) > 1:
        faults.append(Fault(f"its arrays have {', '.join(f'{n} ({shown(key)})' for key, n in counts.items())} rows"))
    notes = [] if ends else [f"It does not say where episodes end ({' or '.join(ENDS[:2])}): it is read as one."]
    lengths = dict(enumerate(np.bincount(episode).tolist()))
    read = partial(_read, path, actions, states, episode)
    return Demonstrations(path, _FORMAT, len(episode), len(lengths), read, lengths=lengths, faults=faults, notes=notes)


def _episodes(ends: list[Array], frames: int) -> Array:
    """(n,) the episode of each frame."""
    over = np.zeros(frames, bool)
    for each in ends:
        if not np.isfinite(each).all():
            raise Unreadable(f"what ends an episode is true or false, got NaN or infinity in {listed(ENDS)}.")
        over |= each[:frames].any(1)
    return np.concatenate([[0], np.cumsum(over[:-1])])[:frames].astype(np.int64)


def _read(path: Path, actions: list[str], states: list[str], episode: Array) -> Iterator[Frames]:
    import h5py

    with readable(path, _FORMAT), h5py.File(path, "r") as file:
        held = [file[key] for key in (*actions, *states)]
        step = rows_at_once(max(prod(each.shape[1:]) for each in held))
        for begin in range(0, len(episode), step):
            rows = slice(begin, min(begin + step, len(episode)))
            parts = [as_columns(np.asarray(each[rows])) for each in held]
            state = np.concatenate(parts[len(actions) :], 1) if states else None
            yield Frames(episode[rows], np.concatenate(parts[: len(actions)], 1), state)
