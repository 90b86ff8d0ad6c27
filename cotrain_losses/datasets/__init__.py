"""Demonstrations in the formats that robot learning keeps them in: read in pieces, never decoding video."""

from __future__ import annotations

from pathlib import Path

from .demonstrations import Demonstrations, Frames, Unreadable

__all__ = ["Demonstrations", "Frames", "Unreadable", "open_demonstrations"]


def open_demonstrations(path: str | Path, *, action: str | None = None, state: str | None = None) -> Demonstrations:
    """The demonstrations at a path, whatever their format.

    Args:
        path: a LeRobot dataset's directory (v2.1, v3), a robomimic .hdf5, a zarr replay buffer (directory or .zip), or
            an .npz.
        action, state: the keys of actions and of proprioception, where they are not the format's own.

    Raises:
        Unreadable: a ValueError that names the path and what is wrong with it.
        ModuleNotFoundError: when the format's library is not installed; `pip install cotrain-losses[data]` has them.
    """
    path = Path(path)
    if not path.exists():
        raise Unreadable(f"{path} does not exist. Give the directory or file of a dataset.")
    try:
        return _opened(path, action, state)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"reading {path} needs {error.name}, which is not installed: pip install 'cotrain-losses[data]'."
        ) from error


def _opened(path: Path, action: str | None, state: str | None) -> Demonstrations:
    if (path / "meta" / "info.json").is_file():
        from .lerobot import lerobot

        return lerobot(path, action, state)
    if path.suffix in (".hdf5", ".h5"):
        from .robomimic import robomimic

        return robomimic(path, action, state)
    if path.suffix == ".npz":
        from .arrays import arrays

        return arrays(path, action, state)
    if path.suffix == ".zip" or any((path / name).exists() for name in (".zgroup", "zarr.json")):
        from .replay import replay_buffer

        return replay_buffer(path, action, state)
    raise Unreadable(
        f"{path} is no dataset known here. Give a LeRobot directory (with meta/info.json), a robomimic .hdf5, a zarr "
        "replay buffer (with .zgroup or zarr.json), or an .npz."
    )
