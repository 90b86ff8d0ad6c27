"""LeRobot datasets, v2.0 and v2.1 (a parquet file per episode), v3.0 and v3.1 (many episodes per file).

    meta/info.json      codebase_version, total_episodes, total_frames, features: {key: {shape, names, dtype}}
    meta/episodes.jsonl, or meta/episodes/**/*.parquet       the length of each episode
    meta/domains.json   {domain: [episodes]}, where a merged dataset keeps it
    data/**/*.parquet   one row per frame: action, observation.state, episode_index, frame_index, ...

Only the columns asked for are read, so images stored in the tables and videos beside them are never decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .demonstrations import Demonstrations, Frames, register
from .faults import Fault, check_file, readable
from .fields import Array, check_key, keys_of, rows_at_once
from .lerobot_meta import Info, dimension_names, table_files
from .names import shown
from .tables import matrix


@register("a LeRobot directory (with meta/info.json)", lambda path: (path / "meta" / "info.json").exists())
def lerobot(path: Path, action: str | None = None, state: str | None = None) -> Demonstrations:
    """The dataset in a LeRobot directory; `action` and `state` name features, "action" and "observation.state"."""
    info, faults, notes = Info.read(path), list[Fault](), list[str]()
    actions = keys_of(path, action, ("action", "actions"), info.features, "action")
    check_key(path, None if actions else "action", info.features, "--action-key, or PATH::action=KEY for one dataset")
    states = keys_of(path, state, ("observation.state", "state"), info.features, "state")
    files = table_files(path, info, faults)
    rows = _rows(files, (*actions, *states))
    if rows != info.frames:
        faults.append(Fault(f"its tables hold {rows} frames, meta/info.json says {info.frames}"))
    read = partial(_read, files, actions, states, {key: info.width(key) for key in (*actions, *states)}, faults)
    return Demonstrations(
        path,
        f"LeRobot {info.version}",
        info.frames,
        info.episodes,
        read,
        dimension_names(info, actions, notes),
        dimension_names(info, states, notes),
        info.rate,
        info.lengths(faults),
        info.domains(),
        faults,
        notes,
    )


def _rows(files: list[Path], wanted: tuple[str, ...]) -> int:
    """The rows of all tables, by their footers; raises Unreadable where a column is missing."""
    import pyarrow.parquet as parquet  # type: ignore[import-untyped]  # only LeRobot datasets need it

    rows = 0
    for file in files:
        with readable(file, "parquet"), parquet.ParquetFile(check_file(file)) as table:
            for key in ("episode_index", *wanted):
                check_key(file, key, table.schema_arrow.names, "--action-key or --state-key")
            rows += table.metadata.num_rows
    return rows


def _read(
    files: list[Path], actions: list[str], states: list[str], widths: dict[str, int | None], faults: list[Fault]
) -> Iterator[Frames]:
    import pyarrow.parquet as parquet

    reading, step = _Reading(actions, states, widths, faults), rows_at_once(max(w or 1 for w in widths.values()))
    for file in files:
        with readable(file, "parquet"), parquet.ParquetFile(file) as table:
            steps = ["frame_index"] if "frame_index" in table.schema_arrow.names else []
            columns = list(dict.fromkeys(["episode_index", *actions, *states, *steps]))
            for batch in table.iter_batches(step, columns=columns):
                yield reading.frames(file, batch)


@dataclass
class _Reading:
    """One pass over the tables: what earlier rows were like."""

    actions: list[str]
    states: list[str]
    said: dict[str, int | None]
    faults: list[Fault]
    widths: dict[str, int] = field(default_factory=dict)
    last: tuple[float, float] = (-1, -1)
    seen: set[float] = field(default_factory=set)
    """frames of the last episode"""

    def frames(self, file: Path, batch: Any) -> Frames:
        """The frames of a batch that are whole, each once."""
        episode = batch.column("episode_index").to_numpy(zero_copy_only=False)
        good, fields = self._in_order(episode, batch), dict[str, tuple[Array, Array]]()
        for key in (*self.actions, *self.states):
            fields[key] = values, whole = matrix(file, key, batch.column(key), self.widths.get(key))
            self._check_width(key, values.shape[1], episode, whole)
            good &= whole
        parts = {key: values[good[whole]] for key, (values, whole) in fields.items()}
        state = np.concatenate([parts[key] for key in self.states], 1) if self.states else None
        return Frames(episode[good], np.concatenate([parts[key] for key in self.actions], 1), state)

    def _check_width(self, key: str, width: int, episode: Array, whole: Array) -> None:
        said = self.said.get(key)
        if key not in self.widths and said not in (None, width):
            self.faults.append(Fault(f"{shown(key)!r} is {width} wide in its tables, meta/info.json says {said}"))
        self.widths[key] = width
        for number in np.unique(episode[~whole])[:20]:
            count = int((~whole & (episode == number)).sum())
            self.faults.append(
                Fault(f"{count} rows of {shown(key)!r} in episode {number} are not {width} wide", int(number))
            )

    def _in_order(self, episode: Array, batch: Any) -> Array:
        """(n,) which frames are not there already; frames that do not follow one another are faults."""
        if "frame_index" not in batch.schema.names or not len(episode):
            return np.ones(len(episode), bool)
        step = batch.column("frame_index").to_numpy(zero_copy_only=False)
        before = np.concatenate([[self.last], np.stack([episode, step], 1)[:-1]])
        wrong = (episode == before[:, 0]) & (step != before[:, 1] + 1)
        for number in np.unique(episode[wrong])[:20]:
            at = int(np.argmax(wrong & (episode == number)))
            there = f"frame {step[at]} follows frame {before[at, 1]:.0f} in episode {number}"
            self.faults.append(Fault(f"{there}: it is doubled, unsorted or cut", int(number)))
        new = self._new(episode, step)
        if not new.all():
            number = int(episode[np.argmin(new)])
            self.faults.append(Fault(f"{int((~new).sum())} frames are there more than once, in episode {number} first"))
        return new

    def _new(self, episode: Array, step: Array) -> Array:
        """(n,) which frames were not there before, in their own episode."""
        new = np.zeros(len(episode), bool)
        new[np.unique(np.stack([episode, step], 1), axis=0, return_index=True)[1]] = True
        if episode[0] == self.last[0] and self.seen:
            new &= (episode != episode[0]) | ~np.isin(step, np.fromiter(self.seen, np.float64))
        seen = self.seen if episode[-1] == self.last[0] else set()
        self.last, self.seen = (float(episode[-1]), float(step[-1])), seen.union(step[episode == episode[-1]].tolist())
        return new
