"""`cotrain bench peers --failures`: what comes out where such losses fail, beside what is right."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cotrain_losses.cli.report import Code, Section, Table, Text, as_markdown

from ..results import Row, write, write_report, write_results
from .processes import missing, run
from .study import SAME

READ = (
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
    sections = [Section("How to read this", [Text(READ), Code("cotrain bench peers --failures")])]
    sections += [Section("What came out", [table]), Section("Whatever was not ok", [details])]
    write_report(out / "report.html", "Where such losses fail", sections)
    return table


def outcomes(rows: Sequence[Row]) -> Table:
    """A row per call, a column per case."""
    tried = [row for row in rows if "case" in row]
    names = list(dict.fromkeys(row["case"] for row in tried))
    found = {(row["call"], row["case"]): row["status"] for row in tried}
    beside = {row["call"]: row["beside"] for row in tried if "beside" in row}
    calls = dict.fromkeys(row["call"] for row in tried)
    lines = [[call, beside.get(call), *(found.get((call, name)) for name in names)] for call in calls]
    lines += [[row["peer"], None, row["status"], *[None] * (len(names) - 1)] for row in rows if "case" not in row]
    return Table(["call", "beside", *names], lines, "ok: value and gradient within 5 % of what is right.")


def reasons(rows: Sequence[Row]) -> Table:
    """The value, the right one, or the error's own words, wherever something was not ok."""
    names = ("call", "case", "status", "value", "right", "says")
    lines = [[row.get(n) for n in names] for row in rows if "case" in row and row["status"] != "ok"]
    return Table(["call", "case", "came out", "value", "right value", "in its own words"], lines)
