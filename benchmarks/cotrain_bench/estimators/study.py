"""All estimators on all problems, and the page that shows them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from cotrain_losses import importance
from cotrain_losses.cli.progress import progress
from cotrain_losses.cli.report import Figure, Section, Table, Text, as_png

from ..results import Cells, Row, check_interpreters, check_one_of, source_digest, write_report, write_results
from ..terminal import cli_errors, show_table
from .measure import ESTIMATORS, NAMES, measured


@dataclass(frozen=True)
class Settings:
    """What is run."""

    dims: tuple[int, ...]
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    repeats: int


PRESETS = {
    "smoke": Settings((2,), (100,), (0,), 1),
    "demo": Settings((1, 4, 16, 64), (100, 1000), (0, 1, 2), 1),
    "full": Settings((1, 2, 4, 8, 16, 32, 64), (100, 1000, 10_000, 100_000), (0, 1, 2), 1),
    "headline": Settings((32,), (1000,), (0, 1, 2, 3, 4), 3),
}


def study(preset: str, out: Path, python: str) -> list[Row]:
    """Measure every cell, one after the other so that times are interleaved; finished cells are not run again."""
    import torch

    torch.set_num_threads(1)
    settings, cells, rows = PRESETS[preset], Cells(out / "cells"), []
    code = source_digest(Path(__file__).parent, Path(importance.__file__).parent)
    with progress() as bars:
        for cell in bars.track(list(_cells(settings)), description="estimators"):
            key = {**cell, "repeats": settings.repeats, "python": python, "code": code}
            row = cells.find(key)
            if row is None:
                row = measured(**cell, repeats=settings.repeats, python=python)
                cells.save(key, row)
            rows.append(row)
    write_results(out, {"preset": preset, **asdict(settings), "threads": 1, "time": "process CPU seconds"}, rows)
    write_report(out / "report.html", "Density ratios against known ones", _sections(rows), lead=_lead(rows))
    return rows


def summary(rows: list[Row]) -> Table:
    """One line per estimator, problem, dimension and size: means over seeds."""
    columns = ("mean", "correlation", "normalised_mse", "ess", "true_ess", "cpu_s")
    lines = []
    for key, group in itertools.groupby(sorted(rows, key=_key), key=_key):
        held = list(group)
        ok = [row for row in held if row["status"] == "ok" and row["finite"]]
        values = [sum(row[c] for row in ok) / len(ok) if ok else None for c in columns]
        note = "" if len(ok) == len(held) else next((r["status"] for r in held if r["status"] != "ok"), "not finite")
        lines.append([key[0], key[1], key[2], ESTIMATORS[key[3]], *values, note])
    titles = ["problem", "dim", "n", "estimator", "mean weight", "correlation", "normalised MSE", "ESS / n"]
    caption = "Means over seeds. A mean weight far from 1 is a wrong answer whatever its correlation."
    return Table([*titles, "true ESS / n", "CPU s", "note"], lines, caption)


def _key(row: Row) -> tuple[str, int, int, int]:
    return row["problem"], row["dim"], row["n"], ESTIMATORS.index(row["estimator"])


def _cells(settings: Settings) -> Iterator[Row]:
    for n, dim, name, seed in itertools.product(settings.sizes, settings.dims, NAMES, settings.seeds):
        for estimator in ESTIMATORS:
            yield {"estimator": estimator, "name": name, "dim": dim, "n": n, "seed": seed}


def _lead(rows: list[Row]) -> str:
    """Our uLSIF against densratio's on the same grid, where both ran."""
    pairs = {
        name: {_place(r): r["cpu_s"] for r in rows if r["estimator"] == name and r["status"] == "ok"}
        for name in ("uLSIF", "densratio uLSIF")
    }
    ours, theirs = pairs["uLSIF"], pairs["densratio uLSIF"]
    both = sorted(theirs[place] / ours[place] for place in ours.keys() & theirs.keys())
    if not both:
        return "No peer was installed where this ran: rows of peers say so."
    middle = both[len(both) // 2]
    return f"uLSIF takes 1/{middle:.1f} of densratio's CPU time on the same grid (median of {len(both)} cells)."


def _place(row: Row) -> tuple[str, int, int, int]:
    return row["problem"], row["dim"], row["n"], row["seed"]


def _sections(rows: list[Row]) -> list[Section]:
    text = (
        "Every estimator sees n samples of each side and gives weights for the source; the true ratio is known. Times "
        "are process CPU seconds on one thread and include the choice of bandwidths. Peers get our uLSIF's grid, and "
        "at most a minute and 10 000 samples."
    )
    return [
        Section("What is measured", [Text(text)]),
        Section("Correlation with the true ratio", [Figure(_picture(rows))]),
        Section("All numbers", [summary(rows)]),
    ]


def _picture(rows: list[Row]) -> bytes:
    from matplotlib import pyplot as plt

    sizes = sorted({row["n"] for row in rows})
    plot, boxes = plt.subplots(len(NAMES), len(sizes), figsize=(4 * len(sizes) + 2, 8), squeeze=False, sharey=True)
    for (i, name), (j, n) in itertools.product(enumerate(NAMES), enumerate(sizes)):
        for number, estimator in enumerate(ESTIMATORS):
            by_dim: dict[int, list[float]] = {}
            for row in rows:
                if (row["problem"], row["n"], row["estimator"]) == (name, n, estimator) and row.get("finite"):
                    by_dim.setdefault(row["dim"], []).append(row["correlation"])
            line = [(dim, sum(v) / len(v)) for dim, v in sorted(by_dim.items())]
            style = "--" if " " in estimator and "logistic" not in estimator else "-"
            places = zip(*line, strict=True) if line else ((), ())
            boxes[i, j].plot(*places, style, marker=".", color=f"C{number}", label=estimator)
        boxes[i, j].set(title=f"{name}, n = {n}", xlabel="dimension", ylabel="correlation", ylim=(-0.3, 1.05))
        boxes[i, j].set_xscale("log", base=2)
    handles, labels = boxes[0, 0].get_legend_handles_labels()
    plot.legend(handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    plot.tight_layout()
    return as_png(plot)


def estimators(
    preset: Annotated[
        str,
        typer.Option(
            help="`smoke`: seconds. `demo`: dimensions 1 to 64, n up to 1000, minutes. `full`: n up to 10^5, hours. "
            "`headline`: 1000 x 1000 in 32 dimensions, repeated for times."
        ),
    ] = "demo",
    out: Annotated[Path, typer.Option(help="Folder for results; run again to continue.")] = Path("results/estimators"),
    peers: Annotated[str | None, typer.Option(help="Interpreter with densratio and skada; default: this one.")] = None,
) -> None:
    """Density-ratio estimators against ratios known in closed form, beside densratio and skada where installed.

    Example: `cotrain bench estimators --preset headline --peers ~/peers/bin/python`
    """
    with cli_errors(out):
        check_one_of("a preset", preset, PRESETS)
        check_interpreters({"peers": peers})
        show_table(summary(study(preset, out, peers or sys.executable)))
        typer.echo(out / "report.html")
