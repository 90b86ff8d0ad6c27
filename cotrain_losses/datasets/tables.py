"""Columns of parquet tables as arrays: numbers, lists, matrices, fixed-size lists and tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .faults import Unreadable
from .fields import WIDEST, Array, as_columns
from .names import shown


def matrix(path: Path, key: str, column: Any, width: int | None) -> tuple[Array, Array]:
    """(k, width) the rows of a column that are whole, and (n,) which of its n rows those are.

    `width` is that of earlier rows; None at the first, where it is what most rows have.
    """
    values, counts, absent = _leaves(path, key, column)
    if width is None:
        sizes, often = np.unique(counts, return_counts=True)
        width = int(sizes[np.argmax(often)]) if len(sizes) else 0
    if width > WIDEST:
        raise Unreadable(f"{shown(path)}: {shown(key)!r} is at most {WIDEST} wide, got {width}. Name another key.")
    good = (counts == width) & (absent == 0)
    kept = values if good.all() else values[np.repeat(good, counts)]
    return as_columns(kept.reshape(int(good.sum()), width)), good


def _leaves(path: Path, key: str, column: Any) -> tuple[Array, Array, Array]:
    """The numbers of a column in one row, how many each row has, and how many of each are null."""
    import pyarrow  # type: ignore[import-untyped]  # only LeRobot datasets need it
    from pyarrow import compute

    column = column.storage if isinstance(column.type, pyarrow.ExtensionType) else column
    if not _nested(column.type):
        null = column.is_null().to_numpy(zero_copy_only=False)
        return _numbers(path, key, column), np.ones(len(column), np.int64), null.astype(np.int64)
    sizes = compute.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    values, counts, absent = _leaves(path, key, column.flatten())
    rows = np.repeat(np.arange(len(column)), sizes)
    of_row, nulls = (np.bincount(rows, inner, len(column)).astype(np.int64) for inner in (counts, absent))
    return values, of_row, nulls


def _nested(kind: Any) -> bool:
    from pyarrow import types

    tests = ("is_list", "is_large_list", "is_fixed_size_list", "is_list_view", "is_large_list_view")
    return any(getattr(types, test)(kind) for test in tests if hasattr(types, test))


def _numbers(path: Path, key: str, column: Any) -> Array:
    from pyarrow import types

    kind = column.type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_null(kind)):
        raise Unreadable(
            f"{shown(path)}: {shown(key)!r} is (frames, width) numbers, got {shown(kind)}. "
            "Name another key: --action-key or --state-key."
        )
    if types.is_null(kind):
        return np.zeros(len(column), np.float32)
    filled = column.fill_null(False if types.is_boolean(kind) else 0) if column.null_count else column
    return np.asarray(filled.to_numpy(zero_copy_only=False))
