"""Paths, settings and keys that lead nowhere, or where nothing should be read."""

from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path

from tests.formats import FORMATS, demos


def at(folder: Path, form: str, settings: str) -> str:
    return f"{FORMATS[form](folder, demos())}::{settings}"


def pipe(folder: Path, name: str) -> Path:
    os.mkfifo(folder / name)
    return folder / name


def sock(folder: Path) -> Path:
    before = Path.cwd()
    os.chdir(folder)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("d.npz")
    finally:
        os.chdir(before)
    return folder / "d.npz"


def empty(folder: Path, name: str = "empty") -> Path:
    (folder / name).mkdir()
    return folder / name


def text(folder: Path, name: str = "notes.txt") -> Path:
    (folder / name).write_text("hello")
    return folder / name


def loop(folder: Path) -> Path:
    (folder / "loop.npz").symlink_to(folder / "loop.npz")
    return folder / "loop.npz"


def above(folder: Path) -> Path:
    FORMATS["robomimic"](folder, demos())
    return folder


SETTINGS = {
    "an unknown setting": "actoin=x", "no value": "domain=", "no name": "=real", "twice": "domain=a::domain=b",
    "a word": "real", "an unknown domain": "domain=lab", "no episodes": "episodes=90-99",
    "some episodes missing": "episodes=0,77", "episodes backwards": "episodes=3-1", "episodes as words": "episodes=all",
    "endless episodes": "episodes=0-999999999", "an unknown action": "action=torque",
    "an unknown state": "state=torque",
    "half an action": "action=action+torque",
}  # fmt: skip
CASES = {
    "missing": lambda folder: folder / "nowhere",
    "nothing": lambda folder: "",
    "a zero byte": lambda folder: f"{folder}/a\0b.npz",
    "too long": lambda folder: f"{folder}/{'x' * 5000}.npz",
    "a file as a folder": lambda folder: text(folder) / "d.npz",
    "not text": lambda folder: os.fsdecode(bytes(folder) + b"/caf\xe9.npz"),
    **{f"the device {name}": partial(lambda folder, name: f"/dev/{name}", name=name) for name in ("zero", "null")},
    **{f"a pipe, {name}": partial(pipe, name=name) for name in ("d.npz", "d.hdf5", "d.zip", "d")},
    "a socket": sock,
    "an empty folder": empty,
    "an empty folder named npz": partial(empty, name="d.npz"),
    "an empty folder named hdf5": partial(empty, name="d.hdf5"),
    "a text": text,
    "a text named npz": partial(text, name="d.npz"),
    "a text named h5": partial(text, name="d.h5"),
    "a text named zip": partial(text, name="d.zip"),
    "a loop of links": loop,
    "the folder above a dataset": above,
    **{f"{form}, {name}": partial(at, form=form, settings=settings)
       for form in ("LeRobot v3.0", "robomimic", "zarr v2", "npz") for name, settings in SETTINGS.items()},
}  # fmt: skip
