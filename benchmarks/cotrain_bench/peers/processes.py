"""Runs `worker` or `outcomes` in a process of its own, by an interpreter that need not have this package.

Such an interpreter has some libraries, numpy and scipy, and sees this package's folder alone: what it runs imports
nothing of the package but what stands beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cotrain_losses

from ..results import Row

BARE_PACKAGE = """
import importlib, json, sys, types
folder, module, task = sys.argv[1:]
sys.modules["cotrain_bench"] = types.ModuleType("cotrain_bench")
sys.modules["cotrain_bench"].__path__ = [folder]
importlib.import_module("cotrain_bench.peers." + module).main(json.loads(task))
"""


def run(python: str, libraries: Sequence[str], settings: Mapping[str, Any], module: str = "worker") -> list[Row]:
    """The rows that a module's `main` prints, run by an interpreter on one thread."""
    task = json.dumps({**settings, "libraries": list(libraries)})
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    flags = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
    path = {"PYTHONPATH": str(Path(cotrain_losses.__file__).parents[1])} if "ours" in libraries else {}
    environment = {**os.environ, **single, **(flags if "OTT-JAX" in libraries else {}), **path}
    command = [python, "-c", BARE_PACKAGE, str(Path(__file__).parents[1]), module, task]
    rows = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout or ():
            rows.append(json.loads(line))
            print(_line(rows[-1]), flush=True)
    if process.returncode:
        rows.append({"peer": ", ".join(libraries), "status": f"failed: {python} ended with {process.returncode}"})
    return rows


def _line(row: Mapping[str, Any]) -> str:
    if "case" in row:
        return f"{row['call']}, {row['case']}: {row['status']}"
    if "ms" not in row:
        return f"{row['peer']}: {row['status']}"
    return f"{row['loss']} d={row['d']} n={row['n']}: {row['peer']} {row['ms']:.2f} ms"


def missing(name: str) -> Row:
    """The row of a library that no interpreter was given for."""
    return {"peer": name, "status": "not run: no interpreter given, see --help"}
