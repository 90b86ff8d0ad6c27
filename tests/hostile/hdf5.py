"""HDF5 files that are well formed and wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.formats import demos
from tests.formats import hdf5 as robomimic


def spoiled(folder: Path, spoil: Callable[[Any, Path], object]) -> Path:
    path = robomimic(folder / "d.hdf5", demos())
    with h5py.File(path, "a") as file:
        spoil(file, folder)
    return path


def replaced(key: str, **made: Any) -> Callable[[Any, Path], object]:
    def spoil(file: Any, folder: Path) -> None:
        del file[key]
        file.create_dataset(key, **made)

    return spoil


def linked(key: str, link: Callable[[Path], Any]) -> Callable[[Any, Path], object]:
    def spoil(file: Any, folder: Path) -> None:
        del file[key]
        file[key] = link(folder)

    return spoil


def removed(*keys: str) -> Callable[[Any, Path], object]:
    return lambda file, folder: [file.pop(key) for key in keys]


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe.hdf5")
    return "pipe.hdf5"


def partly(file: Any, folder: Path) -> None:
    del file["data/demo_2/actions"]
    file.create_dataset("data/demo_2/actions", (7, 2), "f4", chunks=(1, 2))[0] = 1.0


def virtual(file: Any, folder: Path) -> None:
    layout = h5py.VirtualLayout((7, 2), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "nowhere.hdf5"), "x", (7, 2))
    del file["data/demo_2/actions"]
    file.create_virtual_dataset("data/demo_2/actions", layout)


def outside(name: Callable[[Path], str]) -> Callable[[Any, Path], object]:
    def spoil(file: Any, folder: Path) -> None:
        del file["data/demo_2/actions"]
        file.create_dataset("data/demo_2/actions", (7, 2), "f4", external=[(name(folder), 0, 56)])

    return spoil


def attribute(place: str, **values: Any) -> Callable[[Any, Path], object]:
    return lambda file, folder: file[place].attrs.update(values)


LAST = "data/demo_2/actions"
RECORDS = np.zeros(7, [("x", "f4"), ("y", "f4")])
SPOILED: dict[str, Callable[[Any, Path], object]] = {
    "nothing": removed("data"),
    "data without demonstrations": removed("data/demo_0", "data/demo_1", "data/demo_2"),
    "data that is numbers": replaced("data", data=np.zeros(5)),
    "a demonstration that is numbers": replaced("data/demo_2", data=np.zeros(5)),
    "stray numbers beside demonstrations": lambda file, folder: file.create_dataset("data/stray", data=np.zeros(3)),
    "a demonstration without actions": removed(LAST),
    "the first without actions": removed("data/demo_0/actions"),
    "none with actions": removed(*(f"data/demo_{k}/actions" for k in range(3))),
    "a demonstration without its state": removed("data/demo_2/obs/eef"),
    "the first without its state": removed("data/demo_0/obs/eef"),
    "a demonstration without observations": removed("data/demo_1/obs"),
    "actions: text": replaced(LAST, data=["a"] * 7),
    "actions: records": replaced(LAST, data=RECORDS),
    "actions: complex": replaced(LAST, data=np.zeros((7, 2), complex)),
    "actions: one number": replaced(LAST, data=1.0),
    "actions: no space": replaced(LAST, data=h5py.Empty("f4")),
    "actions: another width": replaced(LAST, data=np.zeros((7, 3))),
    "actions: images": replaced(LAST, data=np.zeros((7, 300, 300, 3), "u1")),
    "actions: fewer": replaced(LAST, data=np.zeros((5, 2))),
    "actions: not a number": replaced(LAST, data=np.full((7, 2), np.nan)),
    "actions: infinite": replaced(LAST, data=np.full((7, 2), np.inf)),
    "actions: never filled": replaced(LAST, shape=(7, 2), dtype="f4"),
    "actions: never filled in chunks": replaced(LAST, shape=(7, 2), dtype="f4", chunks=(1, 2)),
    "actions: filled in part": partly,
    "actions: a million million": replaced(LAST, shape=(10**12, 2), dtype="f4", chunks=(1024, 2)),
    "actions of all: a million million": lambda file, folder: [
        replaced(f"data/demo_{k}/actions", shape=(10**12, 2), dtype="f4", chunks=(1024, 2))(file, folder)
        for k in range(3)
    ],
    "actions: references": replaced(LAST, shape=(7,), dtype=h5py.ref_dtype),
    "actions: rows of any length": replaced(LAST, shape=(7,), dtype=h5py.vlen_dtype("f4")),
    "state: fewer rows": replaced("data/demo_2/obs/eef", data=np.zeros((3, 3), "f4")),
    "state: more rows": replaced("data/demo_2/obs/eef", data=np.zeros((30, 3), "f4")),
    "state: another width": replaced("data/demo_2/obs/eef", data=np.zeros((7, 4), "f4")),
    "state: text": replaced("data/demo_2/obs/eef", data=["a"] * 7),
    "state: not a number": replaced("data/demo_2/obs/eef", data=np.full((7, 3), np.nan, "f4")),
    "a link to nowhere": linked(LAST, lambda folder: h5py.SoftLink("/nowhere")),
    "a link to itself": linked(LAST, lambda folder: h5py.SoftLink(f"/{LAST}")),
    "a link to a missing file": linked(LAST, lambda folder: h5py.ExternalLink("nowhere.hdf5", "x")),
    "a link to a pipe": linked(LAST, lambda folder: h5py.ExternalLink(pipe(folder), "x")),
    "a link to a device": linked(LAST, lambda folder: h5py.ExternalLink("/dev/zero", "x")),
    "data behind a link to a pipe": linked("data", lambda folder: h5py.ExternalLink(pipe(folder), "x")),
    "numbers in a missing file": outside(lambda folder: "nowhere.bin"),
    "numbers in a pipe": outside(pipe),
    "numbers in a device": outside(lambda folder: "/dev/zero"),
    "numbers of a missing virtual file": virtual,
    "num_samples: fewer": attribute("data/demo_2", num_samples=3),
    "num_samples: text": attribute("data/demo_2", num_samples="seven"),
    "num_samples: several": attribute("data/demo_2", num_samples=[7, 7]),
    "num_samples: not a number": attribute("data/demo_2", num_samples=float("nan")),
    "total: more": attribute("data", total=99),
    "total: text": attribute("data", total="all"),
}
CASES = {name: partial(spoiled, spoil=spoil) for name, spoil in SPOILED.items()}
