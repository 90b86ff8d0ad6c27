"""python -m cotrain_bench.gpu [--out results/gpu] [--device cuda] [--only correctness,speed] [--tiny]

Each part runs in a process of its own under a limit of its own: one that dies costs its own rows only.  On a GPU the
parts that take no times run together, before the others.  What could not run is a row that says why.  Writes
results.json after every row and table.md at the end.  Needs torch, einops, numpy and what this library's terms need;
installs nothing.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from ..results import write
from . import correctness, limits, speed, steps, suite, tokens
from .machine import Machine, Row
from .table import table

PARTS: dict[str, tuple[float, Callable[[Machine], Iterator[Row]]]] = {
    "correctness": (60.0, correctness.measured),
    "waits": (40.0, steps.waits),
    "graphs": (40.0, steps.graphs),
    "memory": (30.0, limits.memory),
    "bad batches": (40.0, limits.bad_batches),
    "tests": (75.0, suite.measured),
    "speed": (50.0, speed.measured),
    "overhead": (50.0, steps.overhead),
    "tokens": (30.0, tokens.measured),
}
"""each part's seconds, without the start of its process, and its rows"""
TIMED = ("speed", "overhead", "tokens")
START = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cotrain_bench.gpu", description=(__doc__ or "").partition("\n\n")[2]
    )
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="Folder for results.json and table.md.")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu is a trial of the command")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, comma-separated")
    parser.add_argument("--tiny", action="store_true", help="small problems: does everything run?")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        part(given.part, given.device, given.tiny)
    else:
        for name in given.only.split(","):
            if name not in PARTS:
                parser.error(f"a part is one of {', '.join(PARTS)}, got {name!r}")
        every(given.out, given.device, given.tiny, given.only.split(","))


def part(name: str, device: str, tiny: bool) -> None:
    """Print the rows of one part, a JSON line each."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1 if tiny else 4)
    for row in PARTS[name][1](Machine(device, tiny, seconds(name, tiny))):
        print(json.dumps(row), flush=True)


def seconds(name: str, tiny: bool) -> float:
    """What a part may take; a trial is not hurried, whatever else its machine does."""
    return PARTS[name][0] * (10 if tiny else 1)


def every(out: Path, device: str, tiny: bool, names: list[str]) -> None:
    """Run the parts, and write what they found after every row."""
    out.mkdir(parents=True, exist_ok=True)
    on, rows, writing = machine(device), list[Row](), threading.Lock()

    def run(name: str) -> None:
        for row in ran(name, device, tiny, out / f"{name.replace(' ', '-')}.log"):
            with writing:
                rows.append({"part": name, **row})
                write(out / "results.json", json.dumps({"machine": on, "rows": rows}, indent=1).encode())

    together = [name for name in names if device == "cuda" and name not in TIMED]
    with ThreadPoolExecutor(max(len(together), 1)) as pool:
        list(pool.map(run, together))
    for name in names:
        if name not in together:
            run(name)
    rows.sort(key=lambda row: list(PARTS).index(row["part"]))
    text = table(on, rows)
    write(out / "table.md", text.encode())
    print(text)


def ran(name: str, device: str, tiny: bool, log: Path) -> Iterator[Row]:
    """The rows of a part's own process, and one more if it did not end well."""
    began, limit = time.monotonic(), seconds(name, tiny) + START
    command = [sys.executable, "-m", "cotrain_bench.gpu", "--part", name, "--device", device, *["--tiny"] * tiny]
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        late = threading.Timer(limit, process.kill)
        late.start()
        for line in process.stdout or ():
            if line.startswith("{"):
                yield json.loads(line)
        process.wait()
        late.cancel()
    print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    if process.returncode:
        last = (log.read_text().strip().splitlines() or [""])[-1]
        yield {"what": name, "status": f"failed: the process ended with {process.returncode}: {last}"}


def machine(device: str) -> dict[str, str]:
    """What the figures are measured on."""
    there = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name(0) if device == "cuda" and there else device,
        "torch": torch.__version__,
        "CUDA": str(torch.version.cuda),
        "Python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
