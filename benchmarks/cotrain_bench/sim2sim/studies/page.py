"""The report of a study: verdicts first, then figures, tables, every setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cotrain_losses.cli.report import Code, Figure, Part, Section, Table, Text, as_markdown, as_png

from ...results import Row, write, write_report
from .. import style, summary
from ..cell import Cell
from . import pictures, tables
from .catalogue import STUDIES, Picture
from .findings import Finding, Result

ABOUT = (
    "Two domains of one MuJoCo task (Meta-World), seen through two virtual cameras. The policy is the same for all "
    "cells of a pair, starts from the same weights and is trained on the same demonstrations. A "
    "pair is one draw of demonstrations with one training seed; all methods share it, and its evaluation episodes. "
    "An arm may have more steps, frames without actions beside them, or see the source through other cameras: its name "
    "says so. Settings were fixed before these results were seen; every cell is listed in results.csv."
)


def write_page(
    out: Path,
    study: str,
    written: Row,
    results: Sequence[Result],
    failed: Sequence[tuple[Cell, str]],
    findings: Sequence[Finding],
    filmed: Sequence[Part],
) -> None:
    """Write report.html, verdicts.md, success.md and the figures."""
    verdicts, success = tables.verdicts(findings), tables.success(results)
    for name, table in (("verdicts", verdicts), ("success", success)):
        write(out / f"{name}.md", (as_markdown(table) + "\n").encode())
    settings = written["settings"]
    knobs = [[gap, summary.knobs(differences)] for gap, differences in settings["gap_knobs"].items()]
    gaps, again = Table(["gap", "how the target differs from the source"], knobs), Code(settings["command"])
    every = {k: v for k, v in settings.items() if k not in ("gap_knobs", "command")} | written["versions"]
    lost = [(cell, row["diverged"]) for cell, row in results if "diverged" in row]
    sections = [
        Section("Findings", [_observed(settings), verdicts]),
        Section("Figures", _figures(out, STUDIES[study].pictures, results)),
        *([Section("Films", filmed)] if filmed else []),
        Section("Success", [success]),
        *(Section(title, [table(results)]) for title, table in STUDIES[study].tables),
        *([Section("Cells that failed", [_reasons(failed, "The next run tries them again.")])] if failed else []),
        *([Section("Policies that diverged", [_reasons(lost, "Each counts as a success of 0.")])] if lost else []),
        Section("How", [Text(ABOUT), gaps, summary.settings_table(every), tables.costs(results), again]),
    ]
    write_report(out / "report.html", STUDIES[study].question, sections, lead=lead(findings, results, settings))


def lead(findings: Sequence[Finding], results: Sequence[Result], settings: Mapping[str, Any]) -> str:
    verdicts = " ".join(f"{finding.claim[:-1]}: {finding.verdict}." for finding in findings)
    lost = sum("diverged" in row for _, row in results)
    counted = f", of which {lost} diverged and count as 0" if lost else ""
    shown = f"{len(results)} trained policies{counted}, {settings['observations']}."
    return f"{verdicts or 'Nothing is tested here.'} ({shown})"


def _figures(out: Path, names: Sequence[Picture], results: Sequence[Result]) -> list[Figure]:
    with style.styled():
        drawn = [getattr(pictures, name)(results) for name in names]
    figures = []
    for name, caption, plot in filter(None, drawn):
        write(out / f"{name}.png", as_png(plot))
        figures.append(Figure(out / f"{name}.png", caption))
    return figures


def _observed(settings: Mapping[str, Any]) -> Table:
    demos = f"{settings['target_demos']} / {settings['source_demos']}"
    columns = ["observations", "policy", "tasks", "pairs", "target / source demonstrations", "episodes a cell"]
    observations, policy, tasks = settings["observations"], settings["policy"], ", ".join(settings["tasks"])
    return Table(columns, [[observations, policy, tasks, settings["pairs"], demos, settings["episodes"]]])


def _reasons(cells: Sequence[tuple[Cell, str]], note: str) -> Table:
    lines = [[cell.task, cell.gap, cell.method, cell.ratio, cell.seed, reason] for cell, reason in cells]
    return Table(["task", "gap", "method", "ratio", "seed", "reason"], lines, note)
