"""How long `cotrain advise` takes and what it holds in memory on datasets of the usual size.

    python -m cotrain_bench.advise_speed [--source 3000] [--target 50] [--steps 150] [--width 14]

Two LeRobot v3 datasets are written into a temporary folder, their target shifted, and the whole command is run in a
process of its own: wall seconds, CPU seconds and peak memory.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import typer


def main(source: int = 3000, target: int = 50, steps: int = 150, width: int = 14) -> None:
    """Write two datasets of so many episodes, run the command, print three numbers."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for seed, (name, episodes) in enumerate({"source": source, "target": target}.items()):
            write_dataset(root / name, episodes, steps, width, shift=0.3 * seed, seed=seed)
        command = [sys.executable, "-m", "cotrain_losses.cli", "advise", "--json", "--out", str(root / "advice")]
        command += ["--target", str(root / "target"), "--source", str(root / "source")]
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall, used = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{wall:.1f} s wall, {used.ru_utime + used.ru_stime:.1f} CPU s, {used.ru_maxrss / 2**20:.2f} GiB resident")


def write_dataset(path: Path, episodes: int, steps: int, width: int, *, shift: float, seed: int) -> None:
    """A LeRobot v3 dataset of smooth random episodes."""
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    draws = np.random.default_rng(seed)
    walks = draws.standard_normal((episodes, steps, width)).cumsum(1).reshape(-1, width).astype(np.float32) / 10 + shift
    names = ("action", "observation.state")
    columns = {name: pyarrow.FixedSizeListArray.from_arrays(walks.ravel(), width) for name in names}
    columns["episode_index"] = pyarrow.array(np.repeat(np.arange(episodes), steps))
    (path / "meta").mkdir(parents=True)
    (path / "data" / "chunk-000").mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path / "data" / "chunk-000" / "file-000.parquet")
    features = {name: {"shape": [width], "dtype": "float32", "names": None} for name in names}
    info = {"codebase_version": "v3.0", "total_episodes": episodes, "total_frames": len(walks), "features": features}
    (path / "meta" / "info.json").write_text(json.dumps(info))


if __name__ == "__main__":
    typer.run(main)
