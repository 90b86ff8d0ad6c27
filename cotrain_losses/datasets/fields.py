"""Fields of a dataset: which key is meant, and its values as columns.

keys_of(path, asked, ("action", "actions"), held, "action")     what a user named, or the format's own
as_columns(values)                                              (n, width) of numbers
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .faults import Unreadable
from .names import listed, shown

Array = NDArray[Any]
WIDEST = 2**16
"""a vector of an action or a state is no wider; an image is"""
PIECE = 2**22
"""numbers that are read at a time"""


def keys_of(path: Path, asked: str | None, own: Sequence[str], held: Iterable[str], what: str) -> list[str]:
    """The keys that a user asked for, one or several joined by "+", or else the first of the format's own.

    Raises Unreadable where a key is not held; without a key of its own a dataset has none: [].
    """
    held = list(held)
    if asked is None:
        return next(([key] for key in own if key in held), [])
    keys = [asked] if asked in held else asked.split("+")
    for key in keys:
        check_key(path, key, held, f"--{what}-key for every dataset, or PATH::{what}=KEY for one")
    return keys


def check_key(path: Path, key: str | None, held: Iterable[str], option: str) -> None:
    """A key that a user named, or the format's own, is there (None is no key); `option` is what names another."""
    held = sorted(held)
    if key is not None and key not in held:
        raise Unreadable(
            f"{shown(path)} has no {shown(key)!r}, its keys are {listed(held)}. Name the right one: {option}."
        )


def as_columns(values: Array) -> Array:
    """(n, width) float from (n,) or (n, ...) numbers."""
    values = np.asarray(values)
    if values.dtype.kind not in "fiub" or not values.ndim:
        raise Unreadable(f"actions and states are (frames, width) numbers, got {shown(values.dtype)} {values.shape}.")
    wide = np.float64 if values.dtype.itemsize > 4 or values.dtype.kind in "iu" else np.float32
    width = prod(values.shape[1:])
    return values.reshape(len(values), width).astype(wide, copy=False)


@np.errstate(invalid="ignore")
def as_integers(values: Array) -> Array:
    """Numbers as integers; those that are none become others, which a comparison finds."""
    return values.astype(np.int64)


def check_vectors(path: Path, key: str, shape: Sequence[int], dtype: Any) -> int:
    """The width of an array of vectors, (n,) or (n, ...); raises Unreadable for text, objects and images."""
    width = prod(shape[1:]) if len(shape) else 0
    if not len(shape) or not is_number(dtype) or not 1 <= width <= WIDEST:
        raise Unreadable(
            f"{shown(path)}: {shown(key)!r} is (frames, width) numbers, at most {WIDEST} wide, got "
            f"{shown(dtype)} {tuple(shape)}. Name another key: --action-key or --state-key."
        )
    return width


def is_number(dtype: Any) -> bool:
    """Whether a type is of plain numbers; not of complex ones, text, objects or records."""
    try:
        return np.dtype(dtype).kind in "fiub"
    except (TypeError, ValueError):
        return False


def is_proprioception(shape: Sequence[int], dtype: Any) -> bool:
    """Whether an observation is a vector of numbers rather than an image or a text."""
    return len(shape) in (1, 2) and is_number(dtype) and np.dtype(dtype).kind == "f" and 0 not in shape[1:]


def rows_at_once(width: int) -> int:
    """Rows of one piece."""
    return max(1, min(65_536, PIECE // max(1, width)))


def rate_of(times: Array) -> float | None:
    """Frames per second from (n,) timestamps in seconds; None where time never rises, or by no more than 1e-9.

    >>> rate_of(np.array([0.0, 0.1, 0.2, 0.0, 0.1]))
    10.0
    """
    steps = np.diff(np.asarray(times, np.float64).reshape(-1))
    rising = steps[np.isfinite(steps) & (steps > 0)]
    rate = 1 / float(np.median(rising)) if len(rising) else float("inf")
    return float(f"{rate:.4g}") if rate < 1e9 else None
