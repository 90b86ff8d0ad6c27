"""ALOHA's HDF5, one file an episode, as ALOHA, ACT and Mobile ALOHA record it.

    episode_7.hdf5      action (T, d), observations/{qpos (T, s), qvel, effort, images/<camera>}, base_action (T, 2)

A folder of such files is a dataset, and so is one of them.  The state is `qpos`; `state` names others, "qpos+qvel".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from .demonstrations import Demonstrations, Frames, register
from .episodes import gaps, ranges
from .faults import Fault, Unreadable, check_file, readable
from .fields import check_key, is_proprioception, keys_of
from .hdf5 import ENDS, SUFFIXES, Vectors, datasets, flat, member, rows, vectors
from .names import distinct, listed, places, shown

_FORMAT = "ALOHA HDF5"
_OBSERVATIONS, _BASE = "observations/", "base_action"


def _files(path: Path) -> dict[int, Path]:
    """The files of episodes by their numbers."""
    if path.is_file():
        return {0: path}
    return dict(sorted((number, file) for file, number in _all_files(path).items()))


def _all_files(path: Path) -> dict[Path, int]:
    """The number of each file of an episode in a folder."""
    files = [file for file in path.iterdir() if file.suffix in SUFFIXES]
    found = [(file, re.fullmatch(r"episode_(\d{1,9})", file.stem)) for file in files]
    return {file: int(match[1]) for file, match in found if match}


def _recognised(path: Path) -> bool:
    if path.is_dir():
        return bool(_files(path))
    held = flat(path) if path.suffix in SUFFIXES else {}
    return held.get("observations") == "Group" and not {*ENDS} & held.keys()


@register("a folder of ALOHA's episode_*.hdf5", _recognised)
def aloha(path: Path, action: str | None = None, state: str | None = None) -> Demonstrations:
    """The dataset in a folder of files, or in one; each file is an episode, its number the one in its name."""
    files, faults, notes = _files(path), list[Fault](), list[str]()
    first = next(iter(files.values()))
    actions, states = _keys(first, action, state)
    with _fields(first, (*actions, *states)) as found:
        widths = {key: each.width for key, each in found.items()}
    if path.is_dir() and (twice := _all_files(path).keys() - {*files.values()}):
        faults.append(Fault(f"{listed(file.name for file in sorted(twice))}: another file has that number"))
    lengths = dict[int, int]()
    for number, file in files.items():
        try:
            lengths[number] = _length(file, widths)
        except Unreadable as error:
            faults.append(Fault(str(error), number))
    if absent := gaps(files, min(files)):
        notes.append(f"No file has the episodes {ranges(absent)}.")
    if _BASE in flat(first).keys() - {*actions}:
        notes.append(f"{_BASE!r} is not read: --action-key action+{_BASE} joins it, as Mobile ALOHA's ACT does.")
    if empty := [number for number, length in lengths.items() if not length]:
        notes.append(f"Without frames: {ranges(empty)}.")
    read = partial(_read, {n: files[n] for n, length in lengths.items() if length}, actions, states, widths, faults)
    names = distinct([name for key in states for name in places(key.removeprefix(_OBSERVATIONS), widths[key])])
    total = sum(lengths.values())
    return Demonstrations(
        path, _FORMAT, total, len(lengths), read, (), names, None, lengths, faults=faults, notes=notes
    )


def _keys(file: Path, action: str | None, state: str | None) -> tuple[list[str], list[str]]:
    """The keys of actions and of observations, the latter with their group."""
    import h5py  # type: ignore[import-untyped]  # only those who read HDF5 need it

    with readable(file, _FORMAT), h5py.File(check_file(file), "r") as opened:
        held = dict(datasets(file, opened))
        observed = {
            key.removeprefix(_OBSERVATIONS): found for key, found in held.items() if key.startswith(_OBSERVATIONS)
        }
        floats = sorted(key for key, found in observed.items() if is_proprioception(found.shape or (), found.dtype))
        actions = keys_of(file, action, ("action", "actions"), held, "action")
        check_key(file, None if actions else "action", held, "--action-key, or PATH::action=KEY for one dataset")
        states = keys_of(file, state, ("qpos",), observed, "state") or floats
    return actions, [_OBSERVATIONS + key for key in states]


@contextmanager
def _fields(file: Path, keys: Iterable[str]) -> Iterator[dict[str, Vectors]]:
    """Arrays of an episode's file, checked."""
    import h5py

    with readable(file, _FORMAT), h5py.File(check_file(file), "r") as opened:
        yield {key: vectors(file, key, member(file, opened, key).id) for key in keys}


def _length(file: Path, widths: dict[str, int]) -> int:
    """Frames of an episode's file, all arrays of which have as many rows and the widths of the first file's."""
    with _fields(file, widths) as found:
        counts = {key: each.shape[0] for key, each in found.items()}
        others = {key: each.width for key, each in found.items() if each.width != widths[key]}
    for key, width in others.items():
        raise Unreadable(f"{shown(file)}: {shown(key)!r} is {width} wide, in the first file {widths[key]}")
    if len({*counts.values()}) > 1:
        raise Unreadable(
            f"{shown(file)}: its arrays have {', '.join(f'{n} ({key})' for key, n in counts.items())} rows"
        )
    return next(iter(counts.values()))


def _read(
    files: dict[int, Path], actions: list[str], states: list[str], widths: dict[str, int], faults: list[Fault]
) -> Iterator[Frames]:
    for number, file in files.items():
        try:
            with _fields(file, widths) as found:
                held = {key: rows(each) for key, each in found.items()}
        except Unreadable as error:
            faults.append(Fault(str(error), number))
            continue
        own = np.concatenate([held[key] for key in actions], 1)
        state = np.concatenate([held[key] for key in states], 1) if states else None
        yield Frames(np.full(len(own), number), own, state)
