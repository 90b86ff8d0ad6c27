"""How long commands and the import take, and what they hold in memory.

python -m cotrain_bench.speed advise [--source 3000] [--target 50] [--steps 150] [--width 14]
python -m cotrain_bench.speed diagnose [--rows 4096] [--width 512] [--repeats 5]
python -m cotrain_bench.speed imports [--times 15]
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
import typer

from cotrain_losses.measures import diagnosis
from cotrain_losses.measures.alignment import squared_wasserstein

WANTED = 0.3
"""CPU seconds that the import may add to torch's"""

app = typer.Typer()


@app.command()
def advise(source: int = 3000, target: int = 50, steps: int = 150, width: int = 14) -> None:
    """`cotrain advise` on two LeRobot v3 datasets of the usual size, the target shifted, in a process of its own."""
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


@app.command()
def diagnose(rows: int = 4096, width: int = 512, repeats: int = 5) -> None:
    """A whole diagnosis; exact transport beside POT's emd2, the two solvers interleaved on one thread, medians."""
    torch.set_num_threads(1)
    source, target = torch.randn(rows, width), torch.randn(rows, width) + 0.1
    seconds, wall = time.process_time(), time.perf_counter()
    diagnosis(source, target)
    seconds, wall = time.process_time() - seconds, time.perf_counter() - wall
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"diagnosis: {seconds:.1f} CPU s, {wall:.1f} s wall, {memory:.2f} GiB resident")
    for n, d in ((256, 64), (1024, 4), (1024, 512), (2048, 4), (2048, 64)):
        ours, pot, gap = transport_times(n, d, repeats)
        print(f"exact transport n = {n}, d = {d}: ours {ours:.3f} s, emd2 {pot:.3f} s, relative difference {gap:.1e}")


def transport_times(n: int, d: int, repeats: int) -> tuple[float, float, float]:
    """Median CPU seconds of ours and of POT's emd2, cost matrix included, and how far the values differ."""
    import ot  # type: ignore[import-untyped]

    times: tuple[list[float], list[float]] = ([], [])
    gap = 0.0
    for seed in range(repeats):
        x, y = torch.randn(2, n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        y = y + 1.0
        started = time.process_time()
        ours = squared_wasserstein(x, y)
        between = time.process_time()
        theirs = ot.emd2([], [], ot.dist(x.numpy(), y.numpy()), numItermax=10_000_000)
        times[0].append(between - started)
        times[1].append(time.process_time() - between)
        gap = max(gap, abs(ours - theirs) / theirs)
    return median(times[0]), median(times[1]), gap


@app.command()
def imports(times: int = 15) -> None:
    """`import cotrain_losses` over `import torch`, in CPU seconds; ends with status 1 where it is more than wanted.

    Both are imported in new processes, one after the other, so that a busy machine slows both alike.
    """
    pairs = [(cpu_seconds("import torch"), cpu_seconds("import cotrain_losses")) for _ in range(times)]
    torch, ours = (median(column) for column in zip(*pairs, strict=True))
    added = median(both - alone for alone, both in pairs)
    print(f"torch {torch:.2f}, cotrain_losses {ours:.2f}, added {added:.2f} CPU s (wanted at most {WANTED})")
    sys.exit(added > WANTED)


def cpu_seconds(code: str) -> float:
    """The user and system time of a new Python that runs the code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    app()
