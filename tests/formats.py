"""Demonstrations drawn at random, and written in every format that is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

LENGTHS = (4, 1, 7)
NAMES = ["x", "y"]


def demos(seed: int = 0, lengths: tuple[int, ...] = LENGTHS, width: int = 2, shift: float = 0.0):
    """(action, state) of each episode."""
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(shift, 1, (n, width)).astype(np.float32), rng.normal(0, 1, (n, 3)).astype(np.float32))
        for n in lengths
    ]


def lerobot(path: Path, episodes, *, version: str) -> Path:
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    width = episodes[0][0].shape[1]
    features = {
        "action": {"dtype": "float32", "shape": [width], "names": NAMES[:width]},
        "observation.state": {"dtype": "float32", "shape": [3], "names": {"motors": ["a", "b", "c"]}},
        "observation.images.top": {"dtype": "video", "shape": [3, 96, 96]},
    }
    info = {"codebase_version": version, "total_episodes": len(episodes), "features": features, "fps": 30}
    info["total_frames"] = sum(len(a) for a, _ in episodes)
    (path / "meta").mkdir(parents=True)
    (path / "meta" / "info.json").write_text(json.dumps(info))
    folder = path / "data" / "chunk-000"
    folder.mkdir(parents=True)
    tables = []
    for number, (action, state) in enumerate(episodes):
        lists = lambda x: arrow.array(x.tolist(), arrow.list_(arrow.float32()))
        fixed = lambda x: arrow.FixedSizeListArray.from_arrays(arrow.array(x.ravel()), x.shape[1])
        column = fixed if version == "v3.0" else lists
        columns = {"action": column(action), "observation.state": column(state)}
        tables.append(arrow.table({**columns, "episode_index": np.full(len(action), number)}))
    if version == "v3.0":
        parquet.write_table(arrow.concat_tables(tables), folder / "file-000.parquet")
    else:
        for number, table in enumerate(tables):
            parquet.write_table(table, folder / f"episode_{number:06d}.parquet")
    return path


def npz(path: Path, episodes, **extra) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"action": np.concatenate([a for a, _ in episodes]), "state": np.concatenate([s for _, s in episodes])}
    np.savez(path, episode_lengths=[len(a) for a, _ in episodes], **{**arrays, **extra})
    return path


def two_domains(folder: Path) -> tuple[Path, Path]:
    """A small target and a larger source shifted by one deviation."""
    target = lerobot(folder / "real", demos(0, (10, 12, 8)), version="v3.0")
    return target, npz(folder / "sim.npz", demos(1, (100,) * 4, shift=1.0))
