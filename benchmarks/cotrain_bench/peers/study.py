"""Runs the workers, sets every time against ours, and writes results and report.

`worker` and `outcomes` run in processes of their own, by interpreters that need not have this package: such an
interpreter has some libraries, numpy and scipy, and sees this package's folder alone, so what it runs imports nothing
of the package but what stands beside it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import cotrain_losses
from cotrain_losses.cli.report import Code, Part, Section, Table, Text, as_markdown

from ..results import Row, write, write_report, write_results
from .problems import EPS, LOSSES, RHO

SAME = ("ours", "POT", "geomloss", "skada")  # timed interleaved, in one process
ON_A_GPU = ("KeOps", "flash-sinkhorn", "mdot-tnt")  # and these, where --device is cuda
WANTED = {  # loss, peer -> least ratio of its time to ours, as the project set them before measuring
    ("balanced", "POT envelope"): 2.0,
    ("balanced", "POT autodiff"): 3.5,
    ("balanced", "geomloss scaling 0.5"): 2.3,
    ("balanced", "geomloss scaling 0.9"): 5.0,
    ("unbalanced", "POT envelope"): 4.5,
    ("unbalanced", "geomloss scaling 0.5"): 1.4,
    ("unbalanced", "geomloss scaling 0.9"): 2.5,
    ("divergence", "geomloss scaling 0.5"): 1.7,
    ("divergence", "geomloss scaling 0.9"): 4.0,
    ("exact", "POT emd2"): 1.4,
    ("mmd", "skada dan_loss"): 1.7,
    ("mmd", "pytorch-adapt, quadratic"): 2.5,
    ("mmd", "geomloss, 5 gaussians"): 4.5,
}


def study(out: Path, settings: Mapping[str, Any], pythons: Mapping[str, str | None]) -> list[Table]:
    """Time everything; returns the tables that the report shows.

    Args:
        pythons: an interpreter for "torch peers", "pytorch-adapt" and "OTT-JAX"; None where there is none.
    """
    rows: list[Row] = []
    apart = any(pythons[name] for name in ("pytorch-adapt", "OTT-JAX"))
    main = pythons["torch peers"] or sys.executable
    for libraries, python, where in (
        (SAME if settings["device"] == "cpu" else SAME + ON_A_GPU, main, "one process"),
        (("pytorch-adapt",), pythons["pytorch-adapt"], "another process"),
        (("OTT-JAX",), pythons["OTT-JAX"], "another process"),
    ):
        timed = run(python, libraries, settings) if python else [missing(libraries[0])]
        rows += [{**row, "where": where, "device": settings["device"]} for row in timed]
    if apart:
        alone = [row for row in run(main, ("ours",), settings) if row["peer"] == "ours"]
        rows += [{**row, "peer": "ours, alone", "where": "another process"} for row in alone]
    rows = list(_with_ratios(rows))
    write_results(out, {**settings, "eps": EPS, "rho": RHO, "cost": "|x - y|^2"}, rows)
    tables = [summary(rows), *(by_size(rows, loss) for loss in settings["losses"])]
    write(out / "table.md", ("\n\n".join(map(as_markdown, tables)) + "\n").encode())
    titles = ["Ratios", *settings["losses"]]
    sections = [Section(title, [table]) for title, table in zip(titles, tables, strict=True)]
    about: list[Part] = [Text(READ), Code("cotrain bench peers " + " ".join(sys.argv[3:]))]
    write_report(out / "report.html", "Terms beside other libraries", [Section("How to read this", about), *sections])
    return tables


READ = (
    "CPU time of one thread in milliseconds, forward and backward, medians of interleaved repetitions in one process; "
    "with --device cuda the time from an idle device to an idle device. "
    "A gradient error is relative to a float64 solution, by Newton's method, of the loss as this project "
    "defines it; a library that optimises another objective shows an error without being at fault. Rows marked "
    "'another process' ran in a process of their own, and so did the row 'ours, alone' that they are set against; they "
    "were not interleaved: read differences below 1.3 as noise. 'floor' is what any method does at least: for each "
    "block of pairs (one for transport, three for a divergence and MMD) a product, an exponential, the products with "
    "vectors and the pulls."
)


def _with_ratios(rows: Sequence[Row]) -> Iterator[Row]:
    """Each row with its time over ours: where it was timed in a process of its own, over ours in another of its own."""
    place = itemgetter("where", "loss", "n", "d")
    ours = {place(row): row["ms"] for row in rows if row["peer"] in ("ours", "ours, alone") and "ms" in row}
    for row in rows:
        against = ours.get(place(row)) if "ms" in row else None
        yield {**row, "ratio": row["ms"] / against} if against else row


def summary(rows: Sequence[Row]) -> Table:
    """Each peer's ratio: median over the sizes, its extremes, and both gradient errors."""
    lines: list[list[Any]] = []
    for loss in LOSSES:
        of_loss = [row for row in rows if row.get("loss") == loss and "ratio" in row]
        if loss == "mmd":
            of_loss = [row for row in of_loss if row["n"] >= 128]
        for peer in dict.fromkeys(row["peer"] for row in of_loss):
            of_peer = [row for row in of_loss if row["peer"] == peer]
            ratios = [row["ratio"] for row in of_peer]
            errors = [row["gradient_error"] for row in of_peer if row["gradient_error"] is not None]
            wanted = None if of_peer[0].get("device", "cpu") != "cpu" else WANTED.get((loss, peer))
            median = statistics.median(ratios)
            met = None if wanted is None else "yes" if median >= wanted else "no"
            worst = max(errors) if errors else None
            lines.append([loss, peer, median, min(ratios), max(ratios), wanted, met, worst, of_peer[0]["where"]])
    for row in rows:
        if row["status"] != "ok":
            where = f" (n={row['n']}, d={row['d']})" if "n" in row else ""
            lines.append([row.get("loss"), row["peer"] + where, *[None] * 4, row["status"], None, row["where"]])
    columns = ["loss", "peer", "time / ours", "least", "most", "wanted", "met", "worst gradient error", "timed in"]
    return Table(columns, lines, "Median over the sizes (MMD: n >= 128); above 1 the peer is slower.")


def by_size(rows: Sequence[Row], loss: str) -> Table:
    """Milliseconds of one loss, a row per peer and a column per size."""
    of_loss = [row for row in rows if row.get("loss") == loss and "ms" in row]
    sizes = list(dict.fromkeys((row["d"], row["n"]) for row in of_loss))
    times = {(row["peer"], row["d"], row["n"]): row["ms"] for row in of_loss}
    peers = dict.fromkeys(row["peer"] for row in of_loss)
    lines = [[peer, *(times.get((peer, *size)) for size in sizes)] for peer in peers]
    return Table([loss, *(f"d={d} n={n}" for d, n in sizes)], lines, "Median CPU milliseconds, forward and backward.")


READ_FAILURES = (
    "Every call on the same rows, forward and backward. ok: value and gradient within 5 % of the loss's definition, "
    "solved in float64 by other means than any library's (Newton's method, a linear program, loops). 'itself': a loss "
    "that this project has not is set against its own run in float64 on the same rows. Too few rows for a "
    "definition are worth zero. A library that optimises another objective, or stops on purpose before convergence, "
    "shows an error without being at fault."
)


def failure_table(out: Path, seed: int, pythons: Mapping[str, str | None]) -> Table:
    """Try every call of every library that is there; returns the table of outcomes, a row per call."""
    main = pythons["torch peers"] or sys.executable
    rows: list[Row] = []
    for libraries, python in ((SAME, main), (("pytorch-adapt",), pythons["pytorch-adapt"])):
        rows += run(python, libraries, {"seed": seed}, "outcomes") if python else [missing(libraries[0])]
    write_results(out, {"seed": seed}, rows)
    table, details = outcomes(rows), reasons(rows)
    write(out / "table.md", ("\n\n".join(map(as_markdown, (table, details))) + "\n").encode())
    sections = [Section("How to read this", [Text(READ_FAILURES), Code("cotrain bench peers --failures")])]
    sections += [Section("What came out", [table]), Section("Whatever was not ok", [details])]
    write_report(out / "report.html", "Where such losses fail", sections)
    return table


def outcomes(rows: Sequence[Row]) -> Table:
    """A row per call, a column per case."""
    tried = [row for row in rows if "case" in row]
    names = list(dict.fromkeys(row["case"] for row in tried))
    status = {(row["call"], row["case"]): row["status"] for row in tried}
    beside = {row["call"]: row["beside"] for row in tried if "beside" in row}
    calls = dict.fromkeys(row["call"] for row in tried)
    lines = [[call, beside.get(call), *(status.get((call, name)) for name in names)] for call in calls]
    lines += [[row["peer"], None, row["status"], *[None] * (len(names) - 1)] for row in rows if "case" not in row]
    return Table(["call", "beside", *names], lines, "ok: value and gradient within 5 % of what is right.")


def reasons(rows: Sequence[Row]) -> Table:
    """The value, the right one, or the error's own words, wherever something was not ok."""
    names = ("call", "case", "status", "value", "right", "says")
    lines = [[row.get(n) for n in names] for row in rows if "case" in row and row["status"] != "ok"]
    return Table(["call", "case", "came out", "value", "right value", "in its own words"], lines)


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
