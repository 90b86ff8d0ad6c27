"""Demonstrations on disk: what every format has in common, and the formats that are known.

    @register("a robomimic .hdf5", lambda path: path.suffix in (".hdf5", ".h5"))
    def robomimic(path, action=None, state=None) -> Demonstrations: ...

Each format is one module beside this one that registers a function; `action` and `state` are the keys a user named, or
None for the format's own.  A format of your own registers from anywhere; the last one registered is asked first.  A
reader lists in `faults` which episodes it leaves out, in `notes` what else a user must know; `opening` does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

from .faults import Fault
from .fields import Array

UNKNOWN = -1
"""a count that no table of a format keeps; opening the dataset counts"""


class Frames(NamedTuple):
    """Some consecutive frames of one dataset.

    >>> import numpy as np
    >>> frames = Frames(episode=np.array([0, 0]), action=np.zeros((2, 7)), state=None)
    >>> frames.action.shape
    (2, 7)
    """

    episode: Array
    """(n,) integers, the episode of each frame."""
    action: Array
    """(n, action width) float."""
    state: Array | None
    """(n, state width) float: proprioception, never images."""


@dataclass(frozen=True)
class Demonstrations:
    """One dataset, read in pieces: `for frames in demonstrations.read(): ...`; counts are the format's own tables'.

    >>> from cotrain_losses.datasets import open_demonstrations
    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     action = np.zeros((30, 7))
    ...     np.savez(f"{folder}/real.npz", action=action, episode_lengths=[10, 20])
    ...     real = open_demonstrations(f"{folder}/real.npz")
    >>> real.frames, real.episodes, real.rate
    (30, 2, None)
    """

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
    lengths: Mapping[int, int] | None = field(default=None, repr=False)
    """frames of each episode by its number, where the format's tables say"""
    domains: Mapping[str, Sequence[int]] = field(default_factory=dict, repr=False)
    """episodes of each domain that the dataset names: filter keys, domains.json"""
    faults: list[Fault] = field(default_factory=list, repr=False)
    """what is wrong with parts of it; found when it is opened and while it is read"""
    notes: list[str] = field(default_factory=list)
    """what a user must know about what is read: found when it is opened and while it is read"""
    part: str = ""
    """which part of the file or folder this is: "domain=real"; empty for all of it"""
    name: str = ""
    """what a report calls it"""


Reader: TypeAlias = Callable[[Path, str | None, str | None], Demonstrations]


class Format(NamedTuple):
    """A format that is read."""

    description: str
    recognises: Callable[[Path], bool]
    reader: Reader


FORMATS: list[Format] = []
"""those that are known, the last registered first"""


def register(description: str, recognises: Callable[[Path], bool]) -> Callable[[Reader], Reader]:
    """A decorator that makes a reader one of the formats of `open_demonstrations`.

    `description` is what a user gives, "an .npz"; `recognises` judges an existing path by its name and layout alone.
    """

    def added(reader: Reader) -> Reader:
        FORMATS.insert(0, Format(description, recognises, reader))
        return reader

    return added
