"""The formats that datasets come in: each is one module beside this one that registers a function.

    @register("a robomimic .hdf5", lambda path: path.suffix in (".hdf5", ".h5"))
    def robomimic(path, action=None, state=None) -> Demonstrations: ...

`action` and `state` are the keys a user named; None stands for the format's own.  A format of your own registers from
anywhere; the last one registered is asked first.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from .demonstrations import Demonstrations, Unreadable

Reader: TypeAlias = "Callable[[Path, str | None, str | None], Demonstrations]"


_FORMATS: list[tuple[str, Callable[[Path], bool], Reader]] = []
"""a description, whether a path is of it, and its reader"""


def register(description: str, recognises: Callable[[Path], bool]) -> Callable[[Reader], Reader]:
    """A decorator that makes a reader one of the formats of `open_demonstrations`.

    Args:
        description: what a user gives, "an .npz", for the sentence that lists the formats.
        recognises: whether an existing path is of this format, from its name and layout alone.
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

    Raises Unreadable, a ValueError that names the path and what is wrong with it, and ModuleNotFoundError when the
    format's library is not installed.
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
