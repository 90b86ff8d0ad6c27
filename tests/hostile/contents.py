"""LeRobot datasets whose JSON and tables are well formed and wrong."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as parquet

from tests.formats import demos, lerobot

FRAMES = 12


def info(folder: Path, change: dict[str, Any] | str | bytes, without: str = "") -> Path:
    """info.json with entries changed, or another text."""
    path = lerobot(folder / "d", demos(), version="v3.0")
    file = path / "meta/info.json"
    if isinstance(change, dict):
        held = json.loads(file.read_text()) | change
        held.pop(without, None)
        change = json.dumps(held)
    file.write_bytes(change if isinstance(change, bytes) else change.encode())
    return path


def column(folder: Path, name: str, values: Any) -> Path:
    """The table with one column replaced, or dropped."""
    path = lerobot(folder / "d", demos(), version="v3.0")
    file = path / "data/chunk-000/file-000.parquet"
    table = parquet.read_table(file)
    place = table.schema.get_field_index(name)
    parquet.write_table(table.remove_column(place) if values is None else table.set_column(place, name, values), file)
    return path


def rows(folder: Path, chosen: list[int], listed: bool = True, **change: Any) -> Path:
    """The table with some rows, in some order."""
    path = lerobot(folder / "d", demos(), version="v3.0")
    file = path / "data/chunk-000/file-000.parquet"
    parquet.write_table(parquet.read_table(file).take(pyarrow.array(chosen, pyarrow.int64())), file)
    held = json.loads((path / "meta/info.json").read_text()) | change
    (path / "meta/info.json").write_text(json.dumps(held))
    if not listed:
        shutil.rmtree(path / "meta/episodes")
    return path


def listed(folder: Path, lines: str) -> Path:
    path = lerobot(folder / "d", demos(), version="v2.1")
    (path / "meta/episodes.jsonl").write_text(lines)
    return path


def domains(folder: Path, text: str) -> str:
    path = lerobot(folder / "d", demos(), version="v3.0")
    (path / "meta/domains.json").write_text(text)
    return f"{path}::domain=sim"


def line(number: object, length: object) -> str:
    return json.dumps({"episode_index": number, "length": length}) + "\n"


WRONG_COUNTS = {
    "negative": -1, "one more": 13, "a fraction": 11.5, "text": "many", "null": None, "true": True, "a list": [12],
    "huge": 10**15, "beyond all": 10**400, "none": 0, "infinite": float("inf"), "no number": float("nan"),
}  # fmt: skip
ACTION = {"action": {"dtype": "float32", "shape": [2]}}
DEEP = "[" * 100_000 + "]" * 100_000
TWO = [[0.0, 0.0]]
NUMBERS = {
    "text": pyarrow.array(["left"] * FRAMES),
    "lists of text": pyarrow.array([["a", "b"]] * FRAMES),
    "records": pyarrow.array([{"x": 1.0}] * FRAMES),
    "bytes": pyarrow.array([b"\x89PNG"] * FRAMES),
    "times": pyarrow.array([0] * FRAMES, pyarrow.timestamp("us")),
    "maps": pyarrow.array([[("x", 1.0)]] * FRAMES, pyarrow.map_(pyarrow.string(), pyarrow.float64())),
    "nulls": pyarrow.nulls(FRAMES),
    "null rows": pyarrow.array([None] * FRAMES, pyarrow.list_(pyarrow.float32())),
    "one null row": pyarrow.array([None, *TWO * 11]),
    "one null number": pyarrow.array([[None, 1.0], *TWO * 11]),
    "a short row": pyarrow.array([[0.0], *TWO * 11]),
    "a long row": pyarrow.array([[0.0] * 9, *TWO * 11]),
    "empty rows": pyarrow.array([[]] * FRAMES, pyarrow.list_(pyarrow.float32())),
    "another width": pyarrow.array([[0.0] * 5] * FRAMES),
    "ragged matrices": pyarrow.array([[[0.0], [0.0, 1.0]], *[[[0.0], [0.0]]] * 11]),
    "images": pyarrow.array([[0] * 70_000] * FRAMES, pyarrow.list_(pyarrow.uint8())),
    "not a number": pyarrow.array([[float("nan"), 0.0], *TWO * 11]),
    "infinite": pyarrow.array([[float("inf"), 0.0], *TWO * 11]),
}
PLACES = {
    "text": pyarrow.array(["0"] * FRAMES),
    "fractions": pyarrow.array([0.5] * FRAMES),
    "nulls": pyarrow.array([None] * FRAMES, pyarrow.int64()),
    "not a number": pyarrow.array([float("nan")] * FRAMES),
    "lists": pyarrow.array([[0]] * FRAMES),
    "all one": pyarrow.array([0] * FRAMES),
    "each its own": pyarrow.array(range(FRAMES)),
    "negative": pyarrow.array([-1] * FRAMES),
    "alternating": pyarrow.array([0, 1] * 6),
}
LINES = {
    "no JSON": "episode 0: 4\n",
    "no length": '{"episode_index": 0}\n',
    "a negative length": line(0, -4) + line(1, 1) + line(2, 7),
    "a length as a list": line(0, [4]),
    "twice the same": line(0, 4) + line(0, 4) + line(1, 1) + line(2, 7),
    "one missing": line(0, 4) + line(1, 1),
    "one more": line(0, 4) + line(1, 1) + line(2, 7) + line(3, 5),
    "another length": line(0, 5) + line(1, 0) + line(2, 7),
    "a list": "[0, 4]\n",
}
FEATURES = {
    "null": None, "a list": [], "text": "x", "empty": {}, "of null": {"action": None}, "of images": {"image": {}},
}  # fmt: skip
DOMAINS = {
    "a list": "[1]", "no JSON": "{", "of text": '{"sim": "all"}', "of others": '{"real": [0]}',
    "of none": '{"sim": []}', "of a table": '{"sim": {"0": 1}}', "of a number": '{"sim": 5}',
    "of true": '{"sim": [true]}', "of what is beyond all": '{"sim": [1e400]}', "below zero": '{"sim": [-1]}',
    "of missing episodes": '{"sim": [0, 77]}', "of fractions": '{"sim": [0.5]}',
}  # fmt: skip
CASES = {
    **{f"total_frames {k}": partial(info, change={"total_frames": v}) for k, v in WRONG_COUNTS.items()},
    **{f"total_episodes {k}": partial(info, change={"total_episodes": v}) for k, v in WRONG_COUNTS.items()},
    **{f"without {key}": partial(info, change={}, without=key)
       for key in ("total_frames", "total_episodes", "features")},
    **{f"features {k}": partial(info, change={"features": v}) for k, v in FEATURES.items()},
    "info.json: a list": partial(info, change="[]"),
    "info.json: deeper than any stack": partial(info, change=DEEP),
    "info.json: no UTF-8": partial(info, change=b'{"total_frames": "\xff\xfe"}'),
    "info.json: two documents": partial(info, change="{}{}"),
    "a state that is not there": partial(info, change={"features": {**ACTION, "observation.state": {"shape": [9]}}}),
    "action is another column": partial(info, change={"features": {"actions": {"shape": [2]}}}),
    "action is wider": partial(info, change={"features": {"action": {"shape": [3]}}}),
    **{f"action of {k}": partial(column, name="action", values=v) for k, v in NUMBERS.items()},
    **{f"episode_index of {k}": partial(column, name="episode_index", values=v) for k, v in PLACES.items()},
    **{f"without the column {key}": partial(column, name=key, values=None)
       for key in ("action", "observation.state", "episode_index")},
    "frame_index all zero": partial(column, name="frame_index", values=pyarrow.array([0] * FRAMES)),
    "frame_index falling": partial(column, name="frame_index", values=pyarrow.array(range(FRAMES, 0, -1))),
    "state of text": partial(column, name="observation.state", values=pyarrow.array(["a"] * FRAMES)),
    "rows doubled": partial(rows, chosen=[*range(12)] * 2),
    "rows doubled and counted": partial(rows, chosen=[*range(12)] * 2, listed=False, total_frames=24),
    "rows doubled one by one": partial(rows, chosen=sorted([*range(12)] * 2), listed=False, total_frames=24),
    "rows missing at the end": partial(rows, chosen=[*range(9)]),
    "rows missing within": partial(rows, chosen=[0, 1, 3, *range(4, 12)], listed=False, total_frames=11),
    "rows backwards": partial(rows, chosen=[*range(11, -1, -1)]),
    "rows shuffled": partial(rows, chosen=np.random.default_rng(0).permutation(12).tolist()),
    "no rows": partial(rows, chosen=[]),
    "no rows and counted": partial(rows, chosen=[], listed=False, total_frames=0, total_episodes=0),
    **{f"episodes.jsonl with {k}": partial(listed, lines=v) for k, v in LINES.items()},
    **{f"domains.json {k}": partial(domains, text=v) for k, v in DOMAINS.items()},
}  # fmt: skip
