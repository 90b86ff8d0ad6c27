"""What the meta folder of a LeRobot dataset says: totals, features and their names, lengths, domains, its tables."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from .episodes import ranges
from .faults import Fault, Unreadable, check_file, readable
from .names import distinct, listed, places, shown

_LARGEST = 2**28
_FORMAT = "a LeRobot dataset"


@dataclass(frozen=True)
class Info:
    """meta/info.json, and what stands beside it."""

    path: Path
    version: str
    frames: int
    episodes: int
    features: dict[str, Any]
    rate: float | None
    data_path: str
    splits: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Info:
        """That of a dataset's folder; raises Unreadable."""
        file = path / "meta" / "info.json"
        with readable(file, f"{_FORMAT} (meta/info.json)"):
            held = json.loads(_text(file))
            features = {str(key): feature for key, feature in held["features"].items() if isinstance(feature, dict)}
            frames, episodes = (_count(held[key], key) for key in ("total_frames", "total_episodes"))
            rate, splits = held.get("fps"), held.get("splits")
            rate = float(rate) if isinstance(rate, (int, float)) and 0 < rate < 1e9 else None
            splits = splits if isinstance(splits, dict) else {}
            version = shown(held.get("codebase_version", "of unknown version"))
            return cls(path, version, frames, episodes, features, rate, str(held.get("data_path", "")), splits)

    def width(self, key: str) -> int | None:
        """Numbers of a feature in one frame, where its shape says."""
        shape = self.features[key].get("shape")
        if not isinstance(shape, (list, tuple)) or not all(isinstance(n, int) and n > 0 for n in shape):
            return None
        return prod(shape)

    def lengths(self, faults: list[Fault]) -> dict[int, int] | None:
        """Frames of each episode, where a table beside info.json says; what the two disagree on is a fault."""
        listed_there = list(_listed_lengths(self.path))
        if not listed_there:
            return None
        often = Counter(number for number, _ in listed_there)
        twice = [number for number, count in often.items() if count > 1]
        if twice:
            faults.append(Fault(f"meta/episodes lists episodes more than once ({ranges(twice)})"))
        lengths = dict(listed_there)
        totals = {"episodes": (self.episodes, len(lengths)), "frames": (self.frames, sum(lengths.values()))}
        for what, (says, has) in totals.items():
            if says != has:
                faults.append(Fault(f"meta/episodes lists {has} {what}, meta/info.json says {says}"))
        return lengths

    def domains(self) -> dict[str, list[int]]:
        """Episodes of each domain: those of meta/domains.json, or the splits of info.json, {"sim": "0:900"}."""
        file = self.path / "meta" / "domains.json"
        if file.exists():
            with readable(file, "episodes of each domain"):
                held = json.loads(_text(file)).items()
                if wrong := [name for name, ids in held if not isinstance(ids, list)]:
                    raise ValueError(f"{shown(wrong[0])!r} is a list of episodes, [0, 1]")
                return {str(name): [_count(n, name) for n in ids] for name, ids in held}
        parts = {name: re.fullmatch(r"(\d{1,9}):(\d{1,9})", str(text)) for name, text in self.splits.items()}
        return {str(name): _numbers(int(part[1]), int(part[2]), self.episodes) for name, part in parts.items() if part}


def _numbers(first: int, end: int, episodes: int) -> list[int]:
    """first ... end - 1, of which those far beyond the last episode are as good as the next: none is there."""
    return list(range(first, min(end, max(first, episodes) + 100)))


def table_files(path: Path, info: Info, faults: list[Fault]) -> list[Path]:
    """The parquet files that the dataset consists of, in order; others among them are a fault."""
    walk = os.walk(path / "data", followlinks=True) if (path / "data").is_dir() else ()
    found = sorted(Path(folder, name) for folder, _, names in walk for name in names if name.endswith(".parquet"))
    if not found:
        held = listed(sorted(child.name for child in path.iterdir()))
        hint = " Actions are not in the videos: fetch data/ too." if (path / "videos").exists() else " Fetch data/ too."
        raise Unreadable(f"{shown(path)} holds no data/**/*.parquet, got {held}.{hint}")
    pattern = re.compile("[0-9]+".join(re.escape(text) for text in re.split(r"\{[^{}]*\}", info.data_path)))
    named = [file for file in found if pattern.fullmatch(file.relative_to(path).as_posix())]
    if named and (others := [str(file.relative_to(path)) for file in found if file not in {*named}]):
        faults.append(Fault(f"files are there that are none of its own, {shown(info.data_path)}: {listed(others)}"))
    return named or found


def dimension_names(info: Info, keys: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    """The name of every dimension of some features, each its own; empty where they have none."""
    every = list[str]()
    for key in keys:
        names, width = own_names(info.features[key].get("names")), info.width(key)
        if width is not None and len(names) != width:
            if names and len(info.features[key]["shape"]) == 1:
                notes.append(f"{shown(key)!r} has {len(names)} names for {width} dimensions: they are numbered.")
            names = tuple(places(key, width)) if len(keys) > 1 else ()
        every += names
    return distinct(every)


def own_names(names: Any) -> tuple[str, ...]:
    """Names of dimensions as they occur: a list, a list in a list, by arm, or by place.

    >>> own_names({"left": ["shoulder", "grip"], "right": ["shoulder"]})
    ('left.shoulder', 'grip', 'right.shoulder')
    >>> own_names([["x", "y"]]), own_names({"y": 1, "x": 0}), own_names(None)
    (('x', 'y'), ('x', 'y'), ())
    """
    paths = list(_leaves(names, ()))
    often = Counter(path[-1] for path in paths)
    return tuple(path[-1] if often[path[-1]] == 1 else ".".join(path) for path in paths)


def _leaves(names: Any, before: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(names, dict) and names and all(isinstance(place, int) for place in names.values()):
        names = sorted(names, key=names.__getitem__)
    if isinstance(names, dict):
        for name, inside in names.items():
            yield from _leaves(inside, (*before, str(name)))
    elif isinstance(names, (list, tuple)):
        for name in names:
            yield from _leaves(name, before)
    elif names is not None:
        yield (*before, str(names))


def _listed_lengths(path: Path) -> Iterator[tuple[int, int]]:
    lines, tables = path / "meta" / "episodes.jsonl", path / "meta" / "episodes"
    if lines.exists():
        with readable(lines, "lengths of episodes"):
            for line in filter(str.strip, _text(lines).splitlines()):
                held = json.loads(line)
                yield _count(held["episode_index"], "episode_index"), _count(held["length"], "length")
        return
    import pyarrow.parquet as parquet  # type: ignore[import-untyped]  # only LeRobot datasets need it

    for file in sorted(tables.rglob("*.parquet")) if tables.is_dir() else ():
        with readable(file, "lengths of episodes"):
            table = parquet.ParquetFile(check_file(file)).read(columns=["episode_index", "length"])
            columns = [table.column(key).to_pylist() for key in ("episode_index", "length")]
            yield from zip(*([_count(value, "a length") for value in column] for column in columns), strict=True)


def _text(file: Path) -> str:
    with check_file(file).open("rb") as data:
        return data.read(_LARGEST).decode()


def _count(value: Any, what: str) -> int:
    number = int(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else -1
    if number < 0 or number != float(value):
        raise ValueError(f"{shown(what)} is a whole number of at least 0, got {shown(value)}")
    return number
