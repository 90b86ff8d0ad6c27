"""zarr stores as they are on disk: a directory or a zip, v2 or v3, and what they say about each array.

The metadata are read here, as JSON, so that an array whose codec is not installed (images in JPEG-XL) stands in
nobody's way; the numbers of those that are wanted are read by zarr.
"""

from __future__ import annotations

import json
import os
import re
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
_HEADER = 16


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
    separator: str
    """what stands between the places of a chunk in its name, "1.0"; "c/" where names begin so, as in c/1/0"""


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
    sizes = list(_chunk_sizes(path, array))
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
        return Stored(key, shape, dtype, chunks, version, json.dumps(codecs), _separator(held))


def _separator(held: dict[str, Any]) -> str:
    """What stands before and between the places of a chunk in its name; "." where it is not said."""
    encoding = held.get("chunk_key_encoding")
    if encoding is None:
        return str(held.get("dimension_separator") or ".")
    default = "/" if encoding["name"] == "default" else "."
    separator = encoding.get("configuration", {}).get("separator", default)
    return f"c{separator}" if encoding["name"] == "default" else str(separator)


def _chunk_sizes(path: Path, array: Stored) -> Iterator[int]:
    """Bytes of each stored chunk; raises Unreadable where other files lie in the place of chunks."""
    between = array.separator[-1]
    first = "c" + between if len(array.separator) > 1 else ""
    own = re.compile(re.escape(first) + re.escape(between).join(["[0-9]+"] * len(array.shape)))
    blosc = '"blosc"' in array.codecs and "sharding" not in array.codecs
    for name, size, begins in _members(path, array.key):
        if own.fullmatch(name):
            if blosc and (len(begins) < 16 or int.from_bytes(begins[12:16], "little") != size):
                raise Unreadable(  # its decoder would read on in memory that is not the chunk's
                    f"{shown(path)}: the chunk {name} of {shown(array.key)!r} has {size} bytes, its header says "
                    "another number: it is truncated or damaged. Copy the store again."
                )
            yield size
        elif name not in (*_METADATA, ".zattrs"):
            raise Unreadable(
                f"{shown(path)}: {shown(name)} is no chunk of {shown(array.key)!r}, whose chunks have names like "
                f"{first}{between.join(['0'] * len(array.shape))}. Copy the store again."
            )


def _whole(numbers: Any) -> tuple[int, ...]:
    if not all(isinstance(n, int) and 0 <= n < 2**62 for n in numbers):
        raise ValueError(f"shapes are whole numbers, got {shown(numbers)}")
    return tuple(numbers)


def _members(path: Path, key: str) -> Iterator[tuple[str, int, bytes]]:
    """(name inside the array, bytes, the first of them) of every file of an array."""
    if path.is_file():
        with zipfile.ZipFile(path) as zipped:
            items = {item.filename: item for item in zipped.infolist() if not item.is_dir()}
            for name, item in items.items():
                if name.startswith(f"{key}/"):
                    with zipped.open(item) as data:
                        yield name[len(key) + 1 :], item.file_size, data.read(_HEADER)
        return
    for folder, _, names in os.walk(path / key, followlinks=False):
        for name in names:
            file = check_file(Path(folder, name))
            with file.open("rb") as data:
                yield file.relative_to(path / key).as_posix(), file.stat().st_size, data.read(_HEADER)
