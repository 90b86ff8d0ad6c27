"""Demonstrations on disk: what every format has in common, and the formats that are known.

    @register("a robomimic .hdf5", lambda path: path.suffix in (".hdf5", ".h5"))
    def robomimic(path, action=None, state=None) -> Demonstrations: ...

Each format is one module beside this one that registers a function; `action` and `state` are the keys a user named, or
None for the format's own.  A format of your own registers from anywhere; the last one registered is asked first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Frames(NamedTuple):
    """Some consecutive frames of one dataset."""

    episode: Array
    """(n,) integers, the episode of each frame."""
    action: Array
    """(n, action width) float."""
    state: Array | None
    """(n, state width) float: proprioception, never images."""


@dataclass(frozen=True)
class Demonstrations:
    """One dataset, read in pieces: `for frames in demonstrations.read(): ...`; counts are the format's own tables'."""

    path: Path
    format: str
    frames: int
    episodes: int
    read: Callable[[], Iterator[Frames]] = field(repr=False)
    """makes a fresh iterator over all frames, in order; holds one piece in memory at a time"""
    action_names: tuple[str, ...] = ()
    state_names: tuple[str, ...] = ()
    rate: float | None = None
    """frames per second, where the dataset says"""


@contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """The error of a format's library on a broken file, as one sentence with the path."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, EOFError) as error:
        if isinstance(error, Unreadable):
            raise
        detail = str(error).strip().strip("'\"").splitlines()[0] if str(error).strip() else type(error).__name__
        raise Unreadable(
            f"{path} could not be read as {what}: {detail}. The file may be truncated or still being written; "
            "copy it again and check its size."
        ) from error


class Unreadable(ValueError):
    """A dataset that is not what it should be."""


def check_key(path: Path, key: str | None, held: Iterable[str], option: str) -> None:
    """A key that a user named, or the format's own, is there (None is no key); `option` is what names another."""
    held = sorted(held)
    if key is not None and key not in held:
        raise Unreadable(
            f"{path} has no {key!r}, its keys are {', '.join(held) or 'none'}. Name the right one: {option}."
        )


def as_columns(values: Array) -> Array:
    """(n, width) float from (n,) or (n, ...)."""
    return values.reshape(len(values), -1).astype(np.float32, copy=False)


def rate_of(times: Array) -> float | None:
    """Frames per second from (n,) timestamps in seconds; None where time never rises.

    >>> rate_of(np.array([0.0, 0.1, 0.2, 0.0, 0.1]))
    10.0
    """
    steps = np.diff(np.asarray(times, np.float64).reshape(-1))
    rising = steps[np.isfinite(steps) & (steps > 0)]
    return float(f"{1 / np.median(rising):.4g}") if len(rising) else None


def is_proprioception(shape: tuple[int, ...], dtype: Any) -> bool:
    """Whether an observation is a vector of numbers rather than an image or a text."""
    return len(shape) in (1, 2) and np.dtype(dtype).kind == "f"


Reader: TypeAlias = Callable[[Path, str | None, str | None], Demonstrations]
_FORMATS: list[tuple[str, Callable[[Path], bool], Reader]] = []
"""a description, whether a path is of it, and its reader"""


def register(description: str, recognises: Callable[[Path], bool]) -> Callable[[Reader], Reader]:
    """A decorator that makes a reader one of the formats of `open_demonstrations`.

    `description` is what a user gives, "an .npz"; `recognises` judges an existing path by its name and layout alone.
    """

    def added(reader: Reader) -> Reader:
        _FORMATS.insert(0, (description, recognises, reader))
        return reader

    return added


def open_demonstrations(path: str | Path, *, action: str | None = None, state: str | None = None) -> Demonstrations:
    """The demonstrations at a path, whatever their format.

    Args:
        path: a LeRobot dataset's directory (v2.1, v3), a robomimic .hdf5, a zarr replay buffer (directory or .zip), an
            .npz, or what a registered format recognises.
        action, state: the keys of actions and of proprioception, where they are not the format's own.

    Raises Unreadable, a ValueError that names the path and the fault; ModuleNotFoundError without the format's library.
    """
    path = Path(path)
    if not path.exists():
        raise Unreadable(f"{path} does not exist. Give the directory or file of a dataset.")
    for _, recognises, reader in _FORMATS:
        if recognises(path):
            try:
                return reader(path, action, state)
            except ModuleNotFoundError as error:
                raise ModuleNotFoundError(
                    f"reading {path} needs {error.name}, which is not installed: pip install 'cotrain-losses[data]'."
                ) from error
    known = ", or ".join(description for description, *_ in reversed(_FORMATS))
    raise Unreadable(f"{path} is no dataset known here. Give {known}.")
