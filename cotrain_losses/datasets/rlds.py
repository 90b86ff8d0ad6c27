"""RLDS datasets, as tensorflow_datasets writes them: TFRecords of one episode each.

    features.json       steps/action, steps/observation/<key>: shape and type; an action may be a dict of vectors
    dataset_info.json   splits: name, shardLengths (episodes of each shard): domains of the dataset
    *.tfrecord-00000-of-00004

Read with the package tfrecord, without TensorFlow; images, which are bytes, are left as they are.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .demonstrations import UNKNOWN, Demonstrations, Frames, register
from .faults import Fault, Unreadable, check_file, readable
from .fields import Array, as_columns, check_key, keys_of
from .names import distinct, listed, places, shown

_LARGEST = 2**30


class _Shard(NamedTuple):
    file: Path
    first: int
    episodes: int
    split: str


def _is_rlds(path: Path) -> bool:
    return (path / "features.json").exists() and (path / "dataset_info.json").exists()


@register("an RLDS directory (with features.json)", _is_rlds)
def rlds(path: Path, action: str | None = None, state: str | None = None) -> Demonstrations:
    """The dataset in an RLDS directory of one version; keys are those of a step, "observation/state"."""
    import tfrecord  # type: ignore[import-untyped]  # noqa: F401  only RLDS datasets need it

    with readable(path / "features.json", "features of RLDS"):
        features = json.loads(check_file(path / "features.json").read_text())
        widths = dict(_vectors(features["featuresDict"]["features"]["steps"]["sequence"]["feature"], ""))
    parts = sorted(key for key in widths if key.startswith("action/"))
    actions = keys_of(path, action, ("action",), widths, "action") or parts
    check_key(path, None if actions else "action", widths, "--action-key, or PATH::action=KEY for one dataset")
    seen = sorted(key for key in widths if key.startswith("observation/") and "language" not in key)
    states = keys_of(path, state, ("observation/state",), widths, "state") or seen
    faults = list[Fault]()
    with readable(path / "dataset_info.json", "splits of RLDS"):
        shards = list(_shards(path, faults))
    read = partial(_read, shards, {key: widths[key] for key in actions}, {key: widths[key] for key in states}, faults)
    names = {key: places(key, width) for key, width in widths.items()}
    domains = {shard.split: list[int]() for shard in shards}
    for shard in shards:
        domains[shard.split] += range(shard.first, shard.first + shard.episodes)
    episodes = sum(shard.episodes for shard in shards)
    return Demonstrations(
        path,
        "RLDS",
        UNKNOWN,
        episodes,
        read,
        distinct([name for key in actions for name in names[key]]),
        distinct([name for key in states for name in names[key]]),
        domains=domains,
        faults=faults,
    )


def _vectors(feature: dict[str, Any], before: str) -> Iterator[tuple[str, int]]:
    """(key, width) of every vector of numbers in a step."""
    for name, inside in feature.get("featuresDict", {}).get("features", {}).items():
        tensor = inside.get("tensor") or ({} if str(inside.get("pythonClassName", "")).endswith("Scalar") else None)
        shape = [int(n) for n in (tensor or {}).get("shape", {}).get("dimensions", [])]
        numeric = str((tensor or {}).get("dtype", "")).startswith(("float", "int", "uint"))
        if tensor and numeric and len(shape) < 3 and tensor.get("encoding", "none") == "none":
            yield f"{before}{name}", prod(shape)
        yield from _vectors(inside, f"{before}{name}/")


def _shards(path: Path, faults: list[Fault]) -> Iterator[_Shard]:
    """The shards of every split, in order; one that is missing is a fault."""
    first = 0
    for split in json.loads(check_file(path / "dataset_info.json").read_text())["splits"]:
        lengths = [int(length) for length in split["shardLengths"]]
        for place, length in enumerate(lengths):
            pattern = f"*-{split['name']}.tfrecord-{place:05d}-of-{len(lengths):05d}"
            found = sorted(path.glob(pattern))
            if found:
                yield _Shard(check_file(found[0]), first, length, str(split["name"]))
            else:
                faults.append(Fault(f"the shard {shown(pattern)} is missing, {length} episodes"))
            first += length
    if not first:
        raise Unreadable(f"{shown(path)} lists no episodes in dataset_info.json, got {listed(path.iterdir())}.")


def _read(
    shards: list[_Shard], actions: dict[str, int], states: dict[str, int], faults: list[Fault]
) -> Iterator[Frames]:
    from tfrecord import example_pb2

    for shard in shards:
        count = 0
        with readable(shard.file, "a TFRecord"):
            for record in _records(shard.file):
                example = example_pb2.Example.FromString(record).features.feature
                yield _frames(shard.file, example, shard.first + count, actions, states)
                count += 1
        if count != shard.episodes:
            text = f"{shard.file.name} holds {count} episodes, dataset_info.json says {shard.episodes}"
            faults.append(Fault(text))


def _frames(file: Path, example: Any, number: int, actions: dict[str, int], states: dict[str, int]) -> Frames:
    action, state = ([_field(file, example, key, width) for key, width in keys.items()] for keys in (actions, states))
    if len({len(values) for values in (*action, *state)}) > 1:
        raise Unreadable(f"{shown(file)}: the fields of episode {number} differ in length. Write it again.")
    joined = np.concatenate(action, 1)
    return Frames(np.full(len(joined), number), joined, np.concatenate(state, 1) if state else None)


def _field(file: Path, example: Any, key: str, width: int) -> Array:
    held = example[f"steps/{key}"]
    values = np.asarray(held.float_list.value or held.int64_list.value, np.float32)
    if width < 1 or len(values) % width:
        raise Unreadable(f"{shown(file)}: {shown(key)!r} is {width} wide, got {len(values)} numbers. Write it again.")
    return as_columns(values.reshape(-1, width))


def _records(file: Path) -> Iterator[bytes]:
    """The records of a TFRecord file, whose lengths and checksums hold."""
    from tfrecord.writer import TFRecordWriter  # type: ignore[import-untyped]

    size = file.stat().st_size
    with file.open("rb") as data:
        while head := data.read(12):
            length = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else size
            if data.tell() + length + 4 > size or length > _LARGEST:
                raise EOFError(f"a record of {length} bytes ends behind the file")
            record, check = data.read(length), data.read(4)
            if TFRecordWriter.masked_crc(record) != check or TFRecordWriter.masked_crc(head[:8]) != head[8:]:
                raise ValueError("the checksum of a record is wrong")
            yield record
