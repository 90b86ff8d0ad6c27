"""The map of what was tried: methods down, strengths across, mean success as a colour, seen beside unseen.

`python -m cotrain_bench.sim2sim.studies.maps RESULTS.csv PICTURE.png` draws it from a study's committed rows.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from cotrain_losses.cli.report import as_png

from ..cell import Cell
from ..methods import METHODS
from ..style import INK, styled
from .findings import Result
from .sides import OnSides, arms

SIDES = ("seen", "unseen")
COUNTS = ("seed", "target_demos", "source_demos", "episodes", "unlabelled")
DARK = 0.55
"""success below which a cell is dark, so that its number is white"""


class Tried(NamedTuple):
    """One arm: its line, its strength, its policies."""

    line: str
    strength: float | None
    policies: list[OnSides]


def by_strength(results: Sequence[Result]) -> tuple[str, str, Figure]:
    """A line for each method with and without frames from everywhere, a column for each strength."""
    tried = [_tried(gap, name, some) for (gap, name), some in arms(results).items()]
    lines = list(dict.fromkeys(each.line for each in tried))
    columns = max(sum(each.line == line for each in tried) for line in lines)
    size = (3.2 + 0.8 * columns, 0.3 * len(lines) + 1.6)
    plot, panels = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    for side, axes in zip(SIDES, panels, strict=True):
        shown = np.full((len(lines), columns), np.nan)
        for row, line in enumerate(lines):
            for column, each in enumerate(_of_line(tried, line)):
                shown[row, column] = np.mean([getattr(policy, side) for policy in each.policies])
                _write(axes, row, column, float(shown[row, column]), each.strength)
        image = axes.imshow(shown, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        axes.set_title(side, fontsize=10)
        axes.set_xticks([])
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    panels[0].set_yticks(range(len(lines)), lines, fontsize=8)
    bar = plot.colorbar(image, ax=panels, orientation="horizontal", shrink=0.6, aspect=40, pad=0.01)
    bar.set_label("mean success in the target domain", fontsize=9)
    counts = sorted({len(each.policies) for each in tried})
    caption = (
        "Mean success on the side with target demonstrations (seen) and on the other (unseen). A line is a method, a "
        f"cell one of its strengths (the small number), the mean of {' or '.join(map(str, counts))} pairs of "
        f"{results[0][1]['episodes'] // 2} episodes a side. Frames: target frames from everywhere, without actions."
    )
    return "map", caption, plot


def _tried(gap: str, name: str, policies: list[OnSides]) -> Tried:
    cell = policies[0].cell
    parts = [part for part in name.split(", ") if not part.startswith("strength ")]
    line = ", ".join("frames" if part == "frames everywhere" else part for part in parts)
    return Tried(f"{line}, no gap" if gap == "none" else line, _strength(cell), policies)


def _strength(cell: Cell) -> float | None:
    return cell.strength if METHODS[cell.method].screened else None


def _of_line(tried: Sequence[Tried], line: str) -> list[Tried]:
    """A line's arms, weakest first."""
    return sorted((each for each in tried if each.line == line), key=lambda each: each.strength or 0.0)


def _write(axes: Any, row: int, column: int, success: float, strength: float | None) -> None:
    colour = "white" if success < DARK else INK
    axes.text(
        column, row, f"{success:.2f}", ha="center", va="bottom" if strength else "center", fontsize=8, color=colour
    )
    if strength:
        axes.text(column, row + 0.08, f"{strength:g}", ha="center", va="top", fontsize=6, color=colour)


def committed(path: Path) -> list[Result]:
    """The rows of a study's file, each with what the map reads of its cell."""
    results = []
    for row in csv.DictReader(path.read_text("utf-8").splitlines()):
        shared = {name: row[name] for name in ("method", "gap", "policy", "coverage")}
        numbers = {name: int(row[name]) for name in COUNTS}
        strength = float(row["strength"]) if row["strength"] else None
        cell = Cell(**shared, **numbers, strength=strength, label=row["label"] == "True")  # type: ignore[arg-type]
        sides = {side: float(row[side]) for side in SIDES}
        results.append((cell, {**sides, **numbers, "scales_by_side": json.loads(row.get("scales_by_side") or "{}")}))
    return results


if __name__ == "__main__":
    with styled():
        Path(sys.argv[2]).write_bytes(as_png(by_strength(committed(Path(sys.argv[1])))[2]))
