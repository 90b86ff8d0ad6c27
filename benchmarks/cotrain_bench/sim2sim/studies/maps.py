"""The map of what was tried: methods down, strengths across, mean success as a colour, seen beside unseen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..style import INK
from .findings import Result
from .plans import title
from .sides import SIDES, OnSides, arms

DARK = 0.55
"""success below which a cell is dark, so that its number is white"""


def by_strength(results: Sequence[Result]) -> tuple[str, str, Figure]:
    """A line for each method with and without frames from everywhere, a column for each strength."""
    lines = _lines(results)
    columns = max(map(len, lines.values()))
    size = (3.2 + 0.8 * columns, 0.3 * len(lines) + 1.6)
    plot, panels = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    for side, axes in zip(SIDES, panels, strict=True):
        shown = np.full((len(lines), columns), np.nan)
        for row, tried in enumerate(lines.values()):
            for column, policies in enumerate(tried):
                shown[row, column] = np.mean([getattr(policy, side) for policy in policies])
                _write(axes, row, column, float(shown[row, column]), policies[0].cell.strength)
        image = axes.imshow(shown, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        axes.set_title(side, fontsize=10)
        axes.set_xticks([])
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    panels[0].set_yticks(range(len(lines)), lines, fontsize=8)
    bar = plot.colorbar(image, ax=panels, orientation="horizontal", shrink=0.6, aspect=40, pad=0.01)
    bar.set_label("mean success in the target domain", fontsize=9)
    counts = sorted({len(policies) for tried in lines.values() for policies in tried})
    caption = (
        "Mean success on the side with target demonstrations (seen) and on the other (unseen). A line is a method, a "
        f"cell one of its strengths (the small number), the mean of {' or '.join(map(str, counts))} pairs of "
        f"{results[0][1]['episodes'] // 2} episodes a side. Frames: of the target, without actions."
    )
    return "map", caption, plot


def _lines(results: Sequence[Result]) -> dict[str, list[list[OnSides]]]:
    """The policies of each strength of a method, weakest first."""
    lines: dict[str, list[list[OnSides]]] = {}
    for (gap, name), policies in arms(results).items():
        cell = policies[0].cell
        line = name.replace(title(cell), title(replace(cell, strength=None)))
        lines.setdefault(f"{line}, no gap" if gap == "none" else line, []).append(policies)
    return {line: sorted(tried, key=lambda some: some[0].cell.strength or 0.0) for line, tried in lines.items()}


def _write(axes: Any, row: int, column: int, success: float, strength: float | None) -> None:
    colour = "white" if success < DARK else INK
    axes.text(
        column, row, f"{success:.2f}", ha="center", va="bottom" if strength else "center", fontsize=8, color=colour
    )
    if strength:
        axes.text(column, row + 0.08, f"{strength:g}", ha="center", va="top", fontsize=6, color=colour)
