"""Arrays inside an npz file, read in pieces straight from the zip: none is decompressed that is not asked for.

Nothing is unpickled, and no memory is taken for what a header claims before the file is seen to hold it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from .faults import Unreadable, claims_no_more
from .fields import Array
from .names import listed, shown

_LARGEST_WHOLE = 2**29


@dataclass(frozen=True)
class Member:
    """What the header of one array says."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_columns: bool


def members(path: Path) -> dict[str, Member]:
    """The arrays of an npz by their keys; raises Unreadable where something else is among them."""
    with zipfile.ZipFile(path) as file:
        if others := [name for name in file.namelist() if not name.endswith(".npy")]:
            raise Unreadable(f"{shown(path)} holds what is no array: {listed(others)}. Write it again.")
        names = {name.removesuffix(".npy"): name for name in file.namelist()}
        return {key: _member(path, file, key, name) for key, name in names.items()}


def check_size(path: Path, member: Member) -> None:
    """Refuse an array whose header claims more than the file holds, before any memory is taken for its rows."""
    with _stream(path, member) as (_, stored):
        _check(path, member, stored)


def pieces(path: Path, member: Member, rows: int) -> Iterator[Array]:
    """The rows of an array, so many at a time."""
    with _stream(path, member) as (data, stored):
        _check(path, member, stored)
        if member.by_columns and prod(member.shape[1:]) > 1:
            whole = _numbers(path, data, member, prod(member.shape)).reshape(member.shape[::-1]).T
            yield from (whole[k : k + rows] for k in range(0, len(whole), rows))
            return
        for begin in range(0, member.shape[0], rows):
            shape = (min(rows, member.shape[0] - begin), *member.shape[1:])
            yield _numbers(path, data, member, prod(shape)).reshape(shape)


def whole(path: Path, member: Member) -> Array:
    """An array at once, where it is small enough to be one of episodes' ends."""
    if prod(member.shape) * member.dtype.itemsize > _LARGEST_WHOLE or not member.shape:
        raise Unreadable(f"{shown(path)}: {shown(member.key)!r} is a list of episodes, got shape {member.shape}.")
    return np.concatenate([np.empty((0, *member.shape[1:]), member.dtype), *pieces(path, member, 65_536)])


def _member(path: Path, file: zipfile.ZipFile, key: str, name: str) -> Member:
    with file.open(name) as data:
        shape, by_columns, dtype = _header(data)
        return Member(key, shape, dtype, by_columns)


def _header(data: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(data)  # type: ignore[no-untyped-call, unused-ignore]
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, by_columns, dtype = read(data)  # type: ignore[no-untyped-call, unused-ignore]
    return tuple(shape), bool(by_columns), dtype


@contextmanager
def _stream(path: Path, member: Member) -> Iterator[tuple[IO[bytes], tuple[int, int]]]:
    """The numbers of an array as a stream; how many bytes follow, and how many they take in the file."""
    with zipfile.ZipFile(path) as file, file.open(f"{member.key}.npy") as data:
        _header(data)
        item = file.getinfo(f"{member.key}.npy")
        yield data, (item.file_size - data.tell(), item.compress_size)


def _check(path: Path, member: Member, stored: tuple[int, int]) -> None:
    claimed, (follows, takes) = prod(member.shape) * member.dtype.itemsize, stored
    claims_no_more(path, member.key, claimed, takes)
    if min(member.shape, default=0) < 0 or claimed != follows:
        raise Unreadable(
            f"{shown(path)}: the header of {shown(member.key)!r} claims {claimed} bytes (shape {member.shape}), and "
            f"{follows} follow it. The file is damaged: write it again."
        )


def _numbers(path: Path, data: IO[bytes], member: Member, count: int) -> Array:
    read = data.read(count * member.dtype.itemsize)
    if len(read) < count * member.dtype.itemsize:
        raise EOFError(f"{shown(member.key)} ends too early")
    return np.frombuffer(read, member.dtype)
