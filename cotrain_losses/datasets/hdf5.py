"""Groups and datasets of an HDF5 file, reached without following a link to a pipe, and checked before they are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .faults import Unreadable, check_file, claims_no_more
from .fields import Array, as_columns, check_vectors, rows_at_once
from .names import shown

SUFFIXES = (".hdf5", ".h5")
ENDS = ("terminals", "timeouts", "terminations", "truncations", "dones")
"""flags of a flat file's frames that end an episode"""
_DEEPEST = 8
_MOST_NAMES = 10**6


def member(path: Path, group: Any, key: str) -> Any:
    """What a group holds at a key, "obs/eef"; raises KeyError where nothing is."""
    import h5py  # type: ignore[import-untyped]  # only those who read HDF5 need it

    kinds = {h5py.h5d.DatasetID: h5py.Dataset, h5py.h5g.GroupID: h5py.Group}
    for part in key.encode("utf-8", "surrogateescape").split(b"/"):
        if not isinstance(group, h5py.Group):
            raise KeyError(key)
        found = opened(path, group, part)
        group = kinds[type(found)](found) if type(found) in kinds else group[part]
    return group


def opened(path: Path, group: Any, name: bytes) -> Any:
    """What a group holds at a name, as HDF5 has it: what group[name] asks it for, at a third of the time."""
    import h5py

    try:
        link = group.id.links.get_info(name)
    except (AttributeError, KeyError):  # of what is no group, and of one that does not have it
        raise KeyError(name.decode("utf-8", "surrogateescape")) from None
    if link.type == h5py.h5l.TYPE_EXTERNAL:
        check_file(path.parent / _text(group.id.links.get_val(name)[0]))
    return h5py.h5o.open(group.id, name)


def names_in(group: Any) -> list[str]:
    """The names in a group, bytes that are no text as Python escapes them."""
    return [_text(name) for name in group]


def datasets(path: Path, group: Any, before: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(key, dataset) of everything in a group and in the groups in it; what cannot be opened is left out."""
    import h5py

    for name in names_in(group) if depth < _DEEPEST else ():
        try:
            found = member(path, group, name)
        except (KeyError, OSError):  # a link that leads nowhere
            continue
        if isinstance(found, h5py.Group):
            yield from datasets(path, found, f"{before}{name}/", depth + 1)
        elif isinstance(found, h5py.Dataset):
            yield f"{before}{name}", found


class Vectors(NamedTuple):
    """A dataset of vectors whose numbers are all there; h5py's own objects ask each of this several times over."""

    held: Any
    shape: tuple[int, ...]
    kind: np.dtype[Any]
    width: int


def vectors(path: Path, key: str, held: Any) -> Vectors:
    """A dataset that was opened, checked; raises Unreadable."""
    import h5py

    if not isinstance(held, h5py.h5d.DatasetID):
        raise Unreadable(f"{shown(path)}: {shown(key)!r} is (frames, width) numbers, got a group.")
    shape, kind = held.shape, held.dtype
    found = Vectors(held, shape, kind, check_vectors(path, key, shape, kind))
    if held.get_offset() is None or held.get_storage_size() != prod(shape) * kind.itemsize:
        _check_stored(path, key, found)
    return found


def _check_stored(path: Path, key: str, found: Vectors) -> None:
    """Of numbers that do not lie in the file one after another: their files, their parts."""
    import h5py

    held, shape = found.held, found.shape
    created = held.get_create_plist()
    layout = created.get_layout()
    if created.get_external_count():
        for name, *_ in h5py.Dataset(held).external:
            check_file(path.parent / name)
    elif layout == h5py.h5d.VIRTUAL:
        for source in h5py.Dataset(held).virtual_sources():
            check_file(path if source.file_name == "." else path.parent / source.file_name)
    elif prod(shape):
        stored, chunk = held.get_storage_size(), created.get_chunk() if layout == h5py.h5d.CHUNKED else shape
        claims_no_more(path, key, prod(shape) * found.kind.itemsize, stored)
        parts = prod(-(-n // c) for n, c in zip(shape, chunk, strict=True))
        written = held.get_num_chunks() if layout == h5py.h5d.CHUNKED else int(stored > 0)
        if written < parts:
            raise Unreadable(f"{shown(path)}: {shown(key)!r} was never filled, {written} of {parts} parts are written.")


def rows(found: Vectors) -> Array:
    """(n, width) all rows of a dataset of vectors, read in pieces."""
    import h5py

    step, count = rows_at_once(found.width), found.shape[0]
    if count > step:
        stored = h5py.Dataset(found.held)
        return np.concatenate([as_columns(np.asarray(stored[k : k + step])) for k in range(0, count, step)])
    values = np.empty(found.shape, found.kind)
    if values.size:
        found.held.read(h5py.h5s.ALL, h5py.h5s.ALL, values, _stored_type(found.kind))
    return as_columns(values)


@lru_cache
def _stored_type(kind: np.dtype[Any]) -> Any:
    """HDF5's type of the numbers in an array, which each read would otherwise make anew."""
    import h5py

    return h5py.h5t.py_create(kind)


def flat(path: Path) -> dict[str, str]:
    """Names at the top of an HDF5 file that has actions there and no `data`, each with its type; {} of any other."""
    held = _at_top(path)
    return held if held.keys() & {"action", "actions"} and "data" not in held else {}


def episodes_at_top(path: Path) -> list[str]:
    """Names of the groups episode_0, episode_1 ... at the top of an HDF5 file without `data`; [] of any other."""
    held = _at_top(path)
    return [] if "data" in held else [name for name in held if re.fullmatch("episode_[0-9]+", name)]


def _at_top(path: Path) -> dict[str, str]:
    """Names at the top of an HDF5 file, each with its type; {} of what is none."""
    try:
        import h5py

        with h5py.File(path, "r") as file:
            return {name: type(member(path, file, name)).__name__ for name in names_in(file)}
    except Exception:  # whatever h5py raises on a damaged file: a reader will say it
        return {}


def filter_keys(path: Path, file: Any) -> dict[str, list[str]]:
    """Names of demonstrations by the filter key that lists them."""
    if "mask" not in file:
        return {}
    found = dict(datasets(path, member(path, file, "mask")))
    return {key: list(map(_text, held[()])) for key, held in found.items() if _lists_names(held)}


def _lists_names(held: Any) -> bool:
    return held.shape is not None and len(held.shape) == 1 and held.size < _MOST_NAMES and held.dtype.kind in "OSU"


def _text(name: object) -> str:
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)
