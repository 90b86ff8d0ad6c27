"""zarr stores that are well formed and wrong."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from tests.formats import demos, replay, zipped


def metadata(folder: Path, key: str = "data/action", **change: Any) -> Path:
    path = replay(folder / "a.zarr", demos())
    file = path / key / ".zarray"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    return path


def array(folder: Path, key: str, values: Any) -> Path:
    path = replay(folder / "a.zarr", demos())
    root = zarr.open_group(str(path), mode="a")
    del root[key]
    root.create_array(key, data=np.asarray(values))
    return path


def spoiled(folder: Path, spoil: Callable[[Path], object]) -> Path:
    path = replay(folder / "a.zarr", demos())
    spoil(path)
    return path


def zip_of(folder: Path, names: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in names.items():
            file.writestr(name, data)
    return folder / "a.zip"


def bomb(folder: Path) -> Path:
    """A zip of 1 MB whose last chunk of actions is 1.1 GiB of zeros."""
    path = zipped(folder / "a.zip", metadata(folder, shape=[10**9, 1], chunks=[10**8, 1], compressor=None))
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file,
        file.open("data/action/9.0", "w", force_zip64=True) as data,
    ):
        for _ in range(2000):
            data.write(bytes(2**20))
    return path


def two(folder: Path) -> Path:
    first = replay(folder / "both" / "a.zarr", demos())
    shutil.copytree(first, folder / "both" / "b.zarr")
    return zipped(folder / "both.zip", folder / "both")


def moved(path: Path, name: str) -> None:
    (path / "data/action/1.0").rename(path / "data/action" / name)


ENDS = {
    "none": np.zeros(0, int), "falling": [5, 4, 12], "negative": [-4, 5, 12], "short": [4, 5],
    "long": [4, 5, 120], "fractions": [4.5, 5.0, 12.0],
    "huge": [4, 5, 2**62], "text": np.array(["4", "12"]), "not a number": [4.0, np.nan, 12.0],
    "true": [False, True, True], "without its end": [4, 5, 11],
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "objects": {"dtype": "|O", "filters": [{"id": "pickle"}]},
    "numbers behind a pickle": {"filters": [{"id": "pickle"}]},
    "a pickling compressor": {"compressor": {"id": "pickle"}},
    "text": {"dtype": "<U4"},
    "bytes": {"dtype": "|S4"},
    "records": {"dtype": [["x", "<f4"]]},
    "an unknown type": {"dtype": "<q9"},
    "complex": {"dtype": "<c8"},
    "a codec that is not installed": {"compressor": {"id": "imagecodecs_jpegxl"}},
    "another codec": {"compressor": {"id": "zlib", "level": 1}},
    "a wider type": {"dtype": "<f8"},
    "a negative shape": {"shape": [-12, 2]},
    "a shape of fractions": {"shape": [12.5, 2]},
    "a shape of text": {"shape": "12x2"},
    "no dimensions": {"shape": [], "chunks": []},
    "more frames": {"shape": [120, 2]},
    "fewer frames": {"shape": [10, 2]},
    "a million million frames": {"shape": [10**12, 2]},
    "another width": {"shape": [12, 3]},
    "a width of images": {"shape": [12, 10**6], "chunks": [5, 10**6]},
    "chunks of nothing": {"chunks": [0, 2]},
    "chunks of one dimension": {"chunks": [5]},
    "chunks of gigabytes": {"chunks": [10**9, 2]},
    "larger chunks": {"chunks": [50, 2]},
    "another separator": {"dimension_separator": "/"},
    "a version to come": {"zarr_format": 9},
    "no codec": {"compressor": None},
}
SPOILS: dict[str, Callable[[Path], object]] = {
    "a missing chunk": lambda path: (path / "data/action/1.0").unlink(),
    "the first chunk missing": lambda path: (path / "data/action/0.0").unlink(),
    "a missing chunk of the state": lambda path: (path / "data/state/2.0").unlink(),
    "a chunk under another name": lambda path: moved(path, "9.9.9"),
    "a chunk that was copied twice": lambda path: shutil.copy(path / "data/action/1.0", path / "data/action/1.0 (1)"),
    "no meta": lambda path: shutil.rmtree(path / "meta"),
    "no data": lambda path: shutil.rmtree(path / "data"),
    "no action": lambda path: shutil.rmtree(path / "data/action"),
    "no ends": lambda path: shutil.rmtree(path / "meta/episode_ends"),
    "only the root": lambda path: [shutil.rmtree(path / name) for name in ("data", "meta")],
}
CASES = {
    **{f"ends: {k}": partial(array, key="meta/episode_ends", values=v) for k, v in ENDS.items()},
    **{f"action: {k}": partial(metadata, **v) for k, v in KINDS.items()},
    **{k: partial(spoiled, spoil=v) for k, v in SPOILS.items()},
    "a state of fewer rows": partial(array, key="data/state", values=np.ones((9, 3), "f4")),
    "an action that is not a number": partial(array, key="data/action", values=np.full((12, 2), np.nan)),
    "a zip of other things": partial(zip_of, names={"readme.txt": b"hello"}),
    "an empty zip": partial(zip_of, names={}),
    "a zip of two buffers": two,
    "a zip of a LeRobot dataset": partial(zip_of, names={"meta/info.json": b"{}"}),
    "a bomb": bomb,
}
