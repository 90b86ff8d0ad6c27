"""LeRobot datasets, v2.1 (a parquet file per episode) and v3 (many episodes per file).

    meta/info.json      codebase_version, total_episodes, total_frames, features: {key: {shape, names, dtype}}
    data/**/*.parquet   one row per frame: action, observation.state, episode_index, ...

Only the columns asked for are read, so images stored in the tables and videos beside them are never decoded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .demonstrations import Array, Demonstrations, Frames, Unreadable, as_columns, check_key, readable, register


@register("a LeRobot directory (with meta/info.json)", lambda path: (path / "meta" / "info.json").is_file())
def lerobot(path: Path, action: str | None = None, state: str | None = None) -> Demonstrations:
    """The dataset in a LeRobot directory; `action` and `state` name features, "action" and "observation.state"."""
    with readable(path, "a LeRobot dataset (meta/info.json)"):
        info = json.loads((path / "meta" / "info.json").read_text())
        features, version = info["features"], str(info.get("codebase_version", "unknown"))
        frames, episodes = int(info["total_frames"]), int(info["total_episodes"])
    action = action or "action"
    check_key(path, action, features, "--action-key")
    check_key(path, state, features, "--state-key")
    state = state or ("observation.state" if "observation.state" in features else None)
    files = sorted((path / "data").rglob("*.parquet"))
    if not files:
        raise Unreadable(f"{path} holds no data/**/*.parquet, got {sorted(p.name for p in path.iterdir())}.")
    of_action, of_state = (_names(features[key]) if key else () for key in (action, state))
    rate = float(info["fps"]) if isinstance(info.get("fps"), (int, float)) else None
    read = partial(_read, files, action, state)
    return Demonstrations(path, f"LeRobot {version}", frames, episodes, read, of_action, of_state, rate)


def _read(files: list[Path], action: str, state: str | None) -> Iterator[Frames]:
    import pyarrow.parquet as parquet  # type: ignore[import-untyped]  # only LeRobot datasets need it

    wanted = ["episode_index", action, *([state] if state else [])]
    for file in files:
        with readable(file, "parquet"), parquet.ParquetFile(file) as table:
            for key in wanted:
                check_key(file, key, table.schema_arrow.names, "--action-key or --state-key")
            for batch in table.iter_batches(batch_size=65_536, columns=wanted):
                episode = batch.column("episode_index").to_numpy(zero_copy_only=False)
                yield Frames(episode, _matrix(batch.column(action)), _matrix(batch.column(state)) if state else None)


def _matrix(column: Any) -> Array:
    """(n, width) from a column of lists, or of numbers."""
    if not hasattr(column, "flatten") or not str(column.type).endswith(("]", ">")):
        return as_columns(column.to_numpy(zero_copy_only=False))
    rows = column.flatten().to_numpy(zero_copy_only=False)
    return as_columns(rows.reshape(len(column), -1)) if len(column) else np.zeros((0, 0), np.float32)


def _names(feature: dict[str, Any]) -> tuple[str, ...]:
    names = feature.get("names") or ()
    if isinstance(names, dict):  # {"motors": [...]}
        names = next(iter(names.values()), ())
    return tuple(str(name) for name in names) if isinstance(names, (list, tuple)) else ()
