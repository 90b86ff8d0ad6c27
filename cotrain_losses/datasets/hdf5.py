"""Groups and datasets of an HDF5 file, reached without following a link to a pipe, and checked before they are read."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .faults import Unreadable, check_file, claims_no_more
from .fields import Array, as_columns, check_vectors, rows_at_once
from .names import shown

_DEEPEST = 8
_MOST_NAMES = 10**6


def member(path: Path, group: Any, key: str) -> Any:
    """What a group holds at a key, "obs/eef"; raises KeyError where nothing is."""
    import h5py  # type: ignore[import-untyped]  # only those who read HDF5 need it

    for part in key.encode("utf-8", "surrogateescape").split(b"/"):
        if not isinstance(group, h5py.Group) or not group.id.links.exists(part):
            raise KeyError(key)
        if group.id.links.get_info(part).type == h5py.h5l.TYPE_EXTERNAL:
            check_file(path.parent / _text(group.id.links.get_val(part)[0]))
        found = h5py.h5o.open(group.id, part)  # what group[part] does, three times as fast
        group = h5py.Dataset(found) if isinstance(found, h5py.h5d.DatasetID) else group[part]
    return group


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


def check_stored(path: Path, key: str, dataset: Any) -> int:
    """The width of a dataset of vectors whose numbers are all there; raises Unreadable."""
    shape, kind = dataset.shape or (), dataset.dtype
    width, created = check_vectors(path, key, shape, kind), dataset.id.get_create_plist()
    if created.get_external_count():
        for name, *_ in dataset.external:
            check_file(path.parent / name)
    elif dataset.is_virtual:
        for source in dataset.virtual_sources():
            check_file(path if source.file_name == "." else path.parent / source.file_name)
    elif prod(shape):
        stored, own = dataset.id.get_storage_size(), dataset.chunks
        claims_no_more(path, key, prod(shape) * kind.itemsize, stored)
        chunks = prod(-(-n // c) for n, c in zip(shape, own, strict=True)) if own else 1
        written = dataset.id.get_num_chunks() if own else int(stored > 0)
        if written < chunks:
            filled = f"{written} of {chunks} parts are written"
            raise Unreadable(f"{shown(path)}: {shown(key)!r} was never filled, {filled}.")
    return width


def rows(dataset: Any, width: int) -> Array:
    """(n, width) all rows of a dataset of vectors, read in pieces."""
    step = rows_at_once(width)
    if len(dataset) <= step:
        return as_columns(dataset[()])
    return np.concatenate([as_columns(np.asarray(dataset[k : k + step])) for k in range(0, len(dataset), step)])


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
