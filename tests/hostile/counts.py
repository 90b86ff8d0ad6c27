"""Numbers, names and ranges that no dataset has, one kind each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.formats import FORMATS, demos, npz
from tests.hostile.contents import ACTION, info


def spoiled(folder: Path, form: str, inside: str, spoil: Callable[[Any], object]) -> Path:
    path = FORMATS[form](folder, demos())
    with h5py.File(path / inside if inside else path, "a") as file:
        spoil(file)
    return path


def text(folder: Path, form: str, inside: str, held: str) -> Path:
    path = FORMATS[form](folder, demos())
    (path / inside).write_text(held)
    return path


def twice(folder: Path) -> Path:
    path = FORMATS["ALOHA"](folder, demos())
    shutil.copy(path / "episode_1.hdf5", path / "episode_01.hdf5")
    return path


def replaced(key: str, values: Any) -> Callable[[Any], object]:
    return lambda file: (file.pop(key), file.create_dataset(key, data=values))


MINARI = {
    "an episode of numbers": replaced("episode_1", np.zeros(3)),
    "another number of steps": lambda file: file["episode_1"].attrs.update(total_steps=9),
    "steps of text": lambda file: file["episode_1"].attrs.update(total_steps="x"),
    "steps of several numbers": lambda file: file["episode_1"].attrs.update(total_steps=[1, 1]),
    "a gap of a million million": lambda file: file.move("episode_2", "episode_999999999999999"),
    "two of one number": lambda file: file.copy("episode_1", "episode_01"),
    "observations that are their episode": lambda file: (
        file.pop("episode_1/observations"),
        file["episode_1"].__setitem__("observations", h5py.SoftLink("/episode_1")),
    ),
    "fewer observations": replaced("episode_2/observations", np.zeros((3, 3), "f4")),
    "something else at its top": lambda file: file.create_dataset("notes", data=np.zeros(3)),
}
METADATA = {
    "other steps": json.dumps({"total_steps": 11, "total_episodes": 3}),
    "other episodes": json.dumps({"total_steps": 12, "total_episodes": 2}),
    "steps of text": json.dumps({"total_steps": "many"}),
    "steps in a table": json.dumps({"total_steps": {"a": 1}}),
    "no number of episodes": '{"total_episodes": NaN}',
    "deeper than any stack": "[" * 100_000,
    "null": "null",
}
LENGTHS = {
    "negative": [24, -12], "beyond all": [2**62, 2**62], "beyond all, unsigned": np.array([2**64 - 1, 13], "u8"),
}  # fmt: skip
SPLITS = {"beyond": "0:77", "backwards": "2:0", "of a thousand million": "0:999999999"}
RLDS = {"negative lengths": ["-2"], "endless lengths": ["9" * 30]}
CASES = {
    **{f"Minari: {k}": partial(spoiled, form="Minari", inside="data/main_data.hdf5", spoil=v)
       for k, v in MINARI.items()},
    **{f"Minari's metadata: {k}": partial(text, form="Minari", inside="data/metadata.json", held=v)
       for k, v in METADATA.items()},
    **{f"lengths: {k}": lambda folder, v=v: npz(folder / "a.npz", demos(), episode_lengths=v)
       for k, v in LENGTHS.items()},
    **{f"a split {k}": lambda folder, v=v: f"{info(folder, {'splits': {'sim': v}})}::domain=sim"
       for k, v in SPLITS.items()},
    **{f"RLDS: {k}": partial(text, form="RLDS", inside="dataset_info.json",
                             held=json.dumps({"splits": [{"name": "train", "shardLengths": v}]}))
       for k, v in RLDS.items()},
    "a width beyond all": partial(info, change={"features": {"action": {**ACTION["action"], "shape": [10**30]}}}),
    "two files of one number": twice,
    "ends that are not a flag": partial(
        spoiled, form="D4RL", inside="", spoil=replaced("terminals", np.full(12, np.nan))
    ),
    "a total of bytes": partial(
        spoiled, form="robomimic", inside="", spoil=lambda file: file["data"].attrs.update(total=b"\xff")
    ),
    "a total without a value": partial(
        spoiled, form="robomimic", inside="", spoil=lambda file: file["data"].attrs.update(total=h5py.Empty("f4"))
    ),
}  # fmt: skip
