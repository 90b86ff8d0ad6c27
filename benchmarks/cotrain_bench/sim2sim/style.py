"""Colours and layout that the suite's figures share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from cotrain_losses.cli.report import COLOURS, TARGET

GOOD, BAD, INK, GRID = COLOURS[2], TARGET, "#1c2430", "#e9edf2"
WIDEST = 6.7
"""inches of a row of boxes: what a window of 500 pixels still shows in letters that can be read"""

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.edgecolor": "#aab3c0",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "#5a6677",
    "ytick.color": INK,
}


def styled() -> AbstractContextManager[None]:
    """A context in which figures have the style, and need no screen."""
    matplotlib.use("Agg")
    return matplotlib.rc_context(STYLE)


def boxes(
    columns: int, width: float, height: float, rows: int = 1, *, more: float = 0.0, shared: bool = True
) -> tuple[Figure, Any]:
    """A figure, `more` inches wider than its (rows, columns) axes of that size each, which may share the vertical."""
    size = (width * columns + more, height * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, sharey=shared, squeeze=False)
    return figure, axes


def panels(titles: Sequence[str], width: float, height: float, **how: Any) -> tuple[Figure, list[Any]]:
    """`boxes`, each under its title, as many in a row as fit WIDEST."""
    columns = max(1, min(len(titles), int((WIDEST - how.get("more", 0.0)) / width)))
    figure, grid = boxes(columns, width, height, -(-len(titles) // columns), **how)
    across = list(grid.flat)
    for axes, title in zip(across, titles, strict=False):
        axes.set_title(title, fontsize=10)
    for axes in across[len(titles) :]:
        axes.set_visible(False)
    return figure, across[: len(titles)]


def label_left(across: Sequence[Any], text: str) -> None:
    """Name the vertical axis of the boxes that stand at the left."""
    for axes in across:
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel(text)


def percent(axis: Any) -> None:
    """Show an axis of shares in per cent."""
    axis.set_major_formatter(lambda value, _: f"{value:.0%}")


def bare_space(axes: Any, linewidth: float) -> None:
    """Axes in space without numbers, on a pale ground."""
    axes.set(xticklabels=[], yticklabels=[], zticklabels=[])
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((0.97, 0.975, 0.985, 1.0))
        axis._axinfo["grid"].update(color="#e3e7ed", linewidth=linewidth)
