"""zarr stores as they are on disk: a directory or a zip, v2 or v3, and what they say about each array.

The metadata are read here, as JSON, so that an array whose codec is not installed (images in JPEG-XL) stands in
nobody's way; the numbers of those that are wanted are read by zarr.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .faults import Unreadable, check_file, claims_no_more, readable
from .fields import check_vectors
from .names import shown

_METADATA = (".zarray", "zarr.json")
_LARGEST = 2**24
_LARGEST_CHUNK = 2**29
_DEEPEST = 8


@dataclass(frozen=True)
class Stored:
    """What a store says about one array."""

    key: str
    shape: tuple[int, ...]
    dtype: Any
    chunks: tuple[int, ...]
    version: int
    codecs: str
    """the JSON of its codecs"""


def stored_arrays(path: Path) -> dict[str, Stored]:
    """Every array of a store by its key, "data/action"."""
    found = (_array(path, key, text) for key, text in (_in_zip(path) if path.is_file() else _in_folder(path)))
    return {array.key: array for array in found if array}


def check_chunks(path: Path, array: Stored) -> tuple[int, int]:
    """How many chunks of an array of vectors are there, and how many there should be; raises Unreadable."""
    check_vectors(path, array.key, array.shape, array.dtype)
    if "pickle" in array.codecs:
        raise Unreadable(f"{shown(path)}: {shown(array.key)!r} is pickled, which can run any program. It is not read.")
    item = np.dtype(array.dtype).itemsize
    if not all(array.chunks) or len(array.chunks) != len(array.shape) or prod(array.chunks) * item > _LARGEST_CHUNK:
        raise Unreadable(
            f"{shown(path)}: {shown(array.key)!r} of shape {array.shape} has chunks of {array.chunks}; each is at most "
            f"{_LARGEST_CHUNK // 2**20} MiB. Write it again in smaller ones."
        )
    sizes = [size for name, size in _members(path, array.key) if name.rpartition("/")[2] not in (*_METADATA, ".zattrs")]
    if max(sizes, default=0) > 2 * _LARGEST_CHUNK:
        raise Unreadable(f"{shown(path)}: a chunk of {shown(array.key)!r} takes {max(sizes)} bytes. Write it again.")
    if sizes:  # without any, all are the fill value, which zarr does not store
        claims_no_more(path, array.key, prod(array.shape) * item, sum(sizes))
    elif prod(array.shape) * item > _LARGEST_CHUNK:
        claims_no_more(path, array.key, 2**40, 0)
    return len(sizes), prod(-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True))


def _in_zip(path: Path) -> Iterator[tuple[str, str]]:
    with zipfile.ZipFile(path) as file:
        for item in file.infolist():
            key, _, name = item.filename.rpartition("/")
            if name in _METADATA and not key.startswith("__MACOSX") and item.file_size < _LARGEST:
                yield key, file.read(item).decode()


def _in_folder(folder: Path, key: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    texts = [_text(folder / name) for name in _METADATA if (folder / name).exists()]
    yield from ((key, text) for text in texts)
    if depth < _DEEPEST and not any(_is_array(text) for text in texts):
        for child in sorted(folder.iterdir()):
            if child.is_dir():
                yield from _in_folder(child, f"{key}/{child.name}".lstrip("/"), depth + 1)


def _text(file: Path) -> str:
    with readable(file, "zarr metadata"):
        return check_file(file).read_bytes()[:_LARGEST].decode()


def _is_array(text: str) -> bool:
    return '"shape"' in text


def _array(path: Path, key: str, text: str) -> Stored | None:
    """The array that metadata tell of; None of a group."""
    with readable(path, "zarr metadata", key):
        held = json.loads(text)
        if not isinstance(held, dict) or "shape" not in held:
            return None
        grid = held.get("chunk_grid", {"configuration": {"chunk_shape": held.get("chunks")}})
        codecs = held.get("codecs", [held.get("compressor"), held.get("filters")])
        version, dtype = int(held.get("zarr_format", 2)), held.get("data_type", held.get("dtype"))
        shape, chunks = (_whole(numbers) for numbers in (held["shape"], grid["configuration"]["chunk_shape"]))
        return Stored(key, shape, dtype, chunks, version, json.dumps(codecs))


def _whole(numbers: Any) -> tuple[int, ...]:
    if not all(isinstance(n, int) and 0 <= n < 2**62 for n in numbers):
        raise ValueError(f"shapes are whole numbers, got {shown(numbers)}")
    return tuple(numbers)


def _members(path: Path, key: str) -> Iterator[tuple[str, int]]:
    """(name, bytes) of every file of an array."""
    if path.is_file():
        with zipfile.ZipFile(path) as file:
            sizes = {item.filename: item.file_size for item in file.infolist() if not item.is_dir()}
        yield from ((name, size) for name, size in sizes.items() if name.startswith(f"{key}/"))
        return
    for folder, _, names in os.walk(path / key, followlinks=False):
        for name in names:
            yield name, check_file(Path(folder, name)).stat().st_size
