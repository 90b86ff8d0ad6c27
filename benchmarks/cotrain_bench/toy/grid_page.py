"""A study of the toy from its blocks to its folder: results, settings, tables, picture, report."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cotrain_losses.cli.report import Code, Figure, Section, Table, Text, as_markdown, as_png

from ..results import CannotContinue, Row, plain, write, write_report, write_results
from .bands import SOLVED, band_table, feature_table, variants
from .grid import STUDIES, run
from .thesis import thesis


def grid_study(study: str, out: Path, *, so_far: bool = False) -> str:
    """Compute what is missing of a study and write its folder; returns the finding in one sentence.

    Raises:
        WrongSetting: an unknown study.
        CannotContinue: when no block is finished, or the folder cannot be written.
    """
    rows, cpu_s, missing = run(study, out, so_far=so_far)
    if not rows:
        raise CannotContinue(f"no block of {study} is finished in {out}. Run without --so-far to compute them.")
    blocks = STUDIES[study]()
    said = f"cotrain bench toy --study {study} --out {out}"
    settings = {"study": study, "command": said, "cpu_seconds": cpu_s, "blocks": len(blocks), "not_finished": missing}
    settings |= {"training": asdict(blocks[0].budget), "arms": sorted({block.arm for block in blocks})}
    write_results(out, plain(settings), rows)
    finding = f"{len(blocks) - missing} of {len(blocks)} arms and seeds are finished, {cpu_s / 60:.0f} CPU minutes."
    write_report(out / "report.html", f"The toy: {study}", _sections(study, rows, out, settings), lead=finding)
    return finding


def _sections(study: str, rows: Sequence[Row], out: Path, settings: dict[str, Any]) -> list[Section]:
    if study == "strengths":
        tables = {"strengths": strength_table(rows)}
        sections = [Section("Which strength", [tables["strengths"]])]
    else:
        tables, sections = _of_grid(rows, out)
    for name, table in tables.items():
        write(out / f"{name}.md", (as_markdown(table) + "\n").encode())
    lines = [(name, str(value)) for name, value in settings.items()]
    return [*sections, Section("Every setting", [Table(["setting", "value"], lines), Code(settings["command"])])]


def _of_grid(rows: Sequence[Row], out: Path) -> tuple[dict[str, Table], list[Section]]:
    if not any(row["arm"] == "plain" for row in rows):
        return {}, [Section("Not yet", [Text("Plain co-training, which all are compared with, is not finished.")])]
    tables = {"bands": band_table(rows), "features": feature_table(rows), "losses": loss_table(rows)}
    png = as_png(thesis(rows))
    write(out / "thesis.png", png)
    caption = (
        "Loss over the distance of the planes. Markers are geometric means over seeds and three ratios, bars 95 % t "
        "intervals over the seeds, whose number is in the legend; fewer than three have no bars. Dotted: below "
        f"{SOLVED:g} a cell counts as solved. Grey crosses: plain."
    )
    sections = [
        Section("The thesis", [Figure(png, caption)]),
        Section("By band", [tables["bands"]]),
        Section("Where the features lie", [tables["features"]]),
        Section("Every distance", [tables["losses"]]),
    ]
    return tables, sections


def strength_table(rows: Sequence[Row]) -> Table:
    """Mean log loss of every strength that was tried."""
    tried = list(dict.fromkeys((row["arm"], row["strength"]) for row in rows))
    some = {each: [row for row in rows if (row["arm"], row["strength"]) == each] for each in tried}
    lines = [[*each, geometric(mine), " ".join(f"{row['loss']:.2g}" for row in mine)] for each, mine in some.items()]
    note = "Geometric mean of the loss over dz .01, 1, 20 and 50 at w = .1, seed 900; the lowest of an arm is taken."
    return Table(["arm", "strength", "loss", "at each dz"], lines, note)


def loss_table(rows: Sequence[Row]) -> Table:
    """The geometric mean of the loss over seeds and ratios, distance by distance."""
    distances = sorted({row["dz"] for row in rows})
    lines = []
    for arm, scale in variants(rows):
        mine = [row for row in rows if (row["arm"], row["scale"]) == (arm, scale)]
        lines.append([arm, scale, *[f"{geometric([r for r in mine if r['dz'] == dz]):.2g}" for dz in distances]])
    return Table(["arm", "scale", *[f"dz {dz:g}" for dz in distances]], lines, "Geometric means over seeds and ratios.")


def geometric(rows: Sequence[Row]) -> float:
    """The geometric mean of their losses."""
    return statistics.geometric_mean([row["loss"] for row in rows])
