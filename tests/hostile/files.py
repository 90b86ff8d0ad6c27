"""Every file of every format, replaced by what is found in its place: a pointer, a pipe, half of it."""

from __future__ import annotations

import gzip
import os
from functools import partial
from pathlib import Path

import numpy as np

from tests.formats import FORMATS, demos

PLACES = {
    "info.json": ("LeRobot v3.0", "meta/info.json"),
    "lengths of v2": ("LeRobot v2.1", "meta/episodes.jsonl"),
    "lengths of v3": ("LeRobot v3.0", "meta/episodes/chunk-000/file-000.parquet"),
    "a table of v2": ("LeRobot v2.1", "data/chunk-000/episode_000002.parquet"),
    "the table of v3": ("LeRobot v3.0", "data/chunk-000/file-000.parquet"),
    "robomimic": ("robomimic", ""),
    "Isaac Lab": ("Isaac Lab", ""),
    "ALOHA's first": ("ALOHA", "episode_0.hdf5"),
    "ALOHA's last": ("ALOHA", "episode_2.hdf5"),
    "D4RL": ("D4RL", ""),
    "Minari": ("Minari", "data/main_data.hdf5"),
    "Minari's metadata": ("Minari", "data/metadata.json"),
    "npz": ("npz", ""),
    "imitation": ("imitation", ""),
    "a shard": ("RLDS", "toy-train.tfrecord-00001-of-00002"),
    "features.json": ("RLDS", "features.json"),
    "dataset_info.json": ("RLDS", "dataset_info.json"),
    "zip": ("zarr zip", ""),
    ".zarray": ("zarr v2", "data/action/.zarray"),
    "a chunk of v2": ("zarr v2", "data/action/1.0"),
    "zarr.json": ("zarr v3", "data/action/zarr.json"),
    "a chunk of v3": ("zarr v3", "data/action/c/1/0"),
    "ends": ("zarr v2", "meta/episode_ends/0"),
}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"
OPTIONAL = ("lengths of v2", "lengths of v3")
"""files that a dataset may lack"""


def content(data: bytes) -> dict[str, bytes]:
    """What stands in the place of some bytes."""
    return {
        "empty": b"",
        "a pointer of Git LFS": POINTER.encode(),
        "a pointer of git-annex": b"/annex/objects/MD5E-s5--0.bin\n",
        "a web page": b"<!DOCTYPE html><html><body>Sign in</body></html>",
        "noise": np.random.default_rng(0).bytes(max(len(data), 64)),
        "its first half": data[: len(data) // 2],
        "without its end": data[:-9],
        "gzip of it": gzip.compress(data),
    }


def replaced(folder: Path, place: str, kind: str) -> Path:
    form, inside = PLACES[place]
    path = FORMATS[form](folder, demos())
    file = path / inside if inside else path
    data = file.read_bytes()
    file.unlink()
    if kind == "a pipe":
        os.mkfifo(file)
    elif kind == "a folder":
        file.mkdir()
    elif kind == "a link to itself":
        file.symlink_to(file)
    elif kind == "a link to a device":
        file.symlink_to("/dev/zero")
    else:
        file.write_bytes(content(data)[kind])
    return path


KINDS = [*content(b""), "a pipe", "a folder", "a link to itself", "a link to a device"]
CASES = {
    f"{kind} for {place}": partial(replaced, place=place, kind=kind)
    for place in PLACES
    for kind in KINDS
    if not (place in OPTIONAL and kind in ("a folder", "a link to itself", "empty"))
}
