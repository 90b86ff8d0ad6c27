"""`cotrain advise` on 3000 source and 50 target episodes of every format: a part of `make long`.

    python -m tests.tools.advise_large [--episodes 3000]

The whole command in a process of its own: seconds of the processor and memory, the libraries it loads included.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

from tests.formats import FORMATS, demos, replay

COMMAND = [sys.executable, "-m", "cotrain_losses.cli", "advise", "--json"]
LARGE = {form: FORMATS[form] for form in ("LeRobot v2.1", "LeRobot v3.0", "robomimic", "npz", "RLDS")}
LARGE["zarr v2"] = lambda folder, data: replay(folder / "buffer.zarr", data, chunk=161)  # as many as in Push-T's
SECONDS, MEBIBYTES = 20, 1024


def main() -> None:
    """Write, advise, measure; the last line is the outcome."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--episodes", type=int, default=3000)
    asked = parser.parse_args()
    rng, used = np.random.default_rng(0), {}
    for form, write in LARGE.items():
        with tempfile.TemporaryDirectory() as name:
            paths = []
            for domain, count in (("real", 50), ("sim", asked.episodes)):
                (folder := Path(name, domain)).mkdir()
                path = write(folder, demos(count, tuple(rng.integers(80, 160, count)), width=2))
                _with_more_observations(path)
                paths.append(path)
            used[form] = _advised(*paths)
            print(f"{form}: {used[form][0]:.1f} s, {used[form][1]:.0f} MiB", flush=True)
    slow, large = (max(values) for values in zip(*used.values(), strict=True))
    good = sum(seconds < SECONDS and size < MEBIBYTES for seconds, size in used.values())
    size, most = f"{asked.episodes} + 50 episodes", f"at most {slow:.1f} s, {large:.0f} MiB"
    print(f"{good} of {len(used)} formats with {size} advised in under {SECONDS} s: {most}")
    sys.exit(good < len(used))


def _with_more_observations(path: Path) -> None:
    """Ten more vectors in each demonstration of an HDF5 file, as robomimic's files have."""
    if path.suffix == ".hdf5":
        with h5py.File(path, "a") as file:
            for demo in file["data"].values():
                for k in range(10):
                    demo[f"obs/object_{k}"] = np.random.default_rng(k).normal(size=(len(demo["actions"]), 3))


def _advised(target: Path, source: Path) -> tuple[float, float]:
    child = subprocess.Popen([*COMMAND, "--target", target, "--source", source], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"advise ended with {child.returncode} on {source}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
