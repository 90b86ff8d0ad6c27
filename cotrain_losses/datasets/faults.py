"""What a dataset can be that it should not be: one error, and one place that knows what libraries raise.

    with readable(path, "a parquet table", "action"): ...      whatever is raised inside becomes one sentence
    claims_no_more(path, "action", claimed, stored)            before memory is taken for what a header says

A library that reads files may raise anything on a damaged one; `readable` turns all of it into `Unreadable`, which
names the file, the key, the fault and the remedy.  What is wrong with some episodes only is a `Fault`.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .names import shown

_STARTS = {
    b"version https://git-lfs": "It is a pointer of Git LFS, not the data: fetch the data with `git lfs pull`.",
    b"/annex/objects": "It is a pointer of git-annex, not the data: fetch the data with `git annex get`.",
    b"<!DOCTYPE": "It is a web page, not the data: download the file again, signed in if need be.",
    b"<html": "It is a web page, not the data: download the file again, signed in if need be.",
}
_CUT = ("truncat", "unexpected end", "incomplete", "unexpectedly reached end", "end of stream", "end of file")
_REMEDIES = {
    "lock": "Another program may be writing it: close that first.",
    "permission": "Allow reading it: chmod u+r.",
    "codec not available": "Install what brings its codec: pip install imagecodecs-numcodecs.",
    "required filter": "Install what brings its compression: pip install hdf5plugin.",
}
_LARGE = 2**30


class Unreadable(ValueError):
    """A dataset that is not what it should be.

    >>> from cotrain_losses.datasets import open_demonstrations
    >>> try:
    ...     open_demonstrations("nowhere.npz")
    ... except Unreadable as error:
    ...     print(type(error).__name__)
    Unreadable
    """


class Fault(NamedTuple):
    """What is wrong with a part of a dataset, which is left out under `partial=True`.

    >>> Fault("episode 3 holds 10 frames, its table says 12", episode=3).episode
    3
    """

    text: str
    episode: int | None = None
    """where it is one episode; a part without that episode does not have the fault"""


@contextmanager
def readable(path: Path, what: str, key: str = "") -> Iterator[None]:
    """Whatever a format's library raises on a file, as one sentence; what is missing to read it stays as it is."""
    try:
        yield
    except (Unreadable, ImportError):
        raise
    except Exception as error:  # libraries raise what they like on damaged files
        at = f", {key!r}" if key else ""
        raise Unreadable(
            f"{shown(path)} could not be read as {what}{at}: {_said(error)}. {_remedy(path, error)}"
        ) from (error)


def check_file(path: Path) -> Path:
    """The path of a regular file or of a directory: a pipe, a socket or a device would never end."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(mode), "a device")
        raise Unreadable(f"{shown(path)} is {kind}; datasets are read from regular files. Write it to a file first.")
    return path


def claims_no_more(path: Path, key: str, claimed: int, stored: int) -> None:
    """A claim of more than 1 GiB is believed only where at least a 200th of it is stored."""
    if claimed > max(_LARGE, 200 * stored):
        raise Unreadable(
            f"{shown(path)} claims {claimed / _LARGE:.1f} GiB of {shown(key)} and stores {stored} bytes of it: its "
            "sizes are wrong, or it was never filled. Write it again."
        )


def _said(error: Exception) -> str:
    """The first line of an error, or the rule where libraries say none."""
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    if isinstance(error, KeyError):
        return f"it has no {shown(str(error.args[0]) if error.args else 'such key')}"
    lines = str(error).strip().strip("'\"").splitlines()
    return shown(lines[0], 200).rstrip(".") if lines else f"its reader ended in {type(error).__name__}"


def _remedy(path: Path, error: Exception) -> str:
    text = f"{type(error).__name__} {error}".lower()
    begins = _beginning(path)
    if begins == b"":
        return "It is empty, 0 bytes: copy it again."
    known = next((remedy for start, remedy in _STARTS.items() if begins and start in begins), None)
    if known:
        return known
    if isinstance(error, EOFError) or (not isinstance(error, UnicodeError) and any(sign in text for sign in _CUT)):
        return "The file is truncated or still being written: copy it again and check its size."
    remedy = next((remedy for sign, remedy in _REMEDIES.items() if sign in text), None)
    return remedy or "It is damaged, or another format under this name: copy it again, or write it again."


def _beginning(path: Path) -> bytes | None:
    """The first bytes of a regular file; None of what has none."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(200)
    except (OSError, ValueError):
        return None
