"""The paper's thesis in one picture: loss over the distance of the planes, by what is done about it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from cotrain_losses.cli.report import COLOURS

from ..paired import t_interval
from ..results import Row
from ..sim2sim.style import GRID, INK, styled
from .bands import BANDS, LEAST, SOLVED, title, variants

PANELS = {
    "alignment alone": (("ot", None), ("mmd", None), ("adda", None), ("moved", None)),
    "a label alone": (("cfg", 1.0), ("cfg", 0.5)),
    "both": (("cfg_adda", 1.0), ("structured", 1.0), ("moved_label", 1.0)),
    "inputs rescaled": (("pooled", None), ("ranged", None), ("by_domain", None), ("by_domain_label", 1.0)),
}
"""panel -> the variants it shows beside plain co-training"""
MARKS = tuple(zip((COLOURS[0], COLOURS[4], COLOURS[2], COLOURS[3]), "osD^", strict=True))


def thesis(rows: Sequence[Row]) -> Figure:
    """Four panels: geometric means over seeds and ratios, bars 95 % t intervals of three seeds or more."""
    with styled(), plt.rc_context({"font.size": 13}):
        plot, grid = plt.subplots(2, 2, figsize=(10, 10.4), sharex=True, sharey=True, layout="constrained")
        there = variants(rows)
        for axes, (name, shown) in zip(grid.flat, PANELS.items(), strict=True):
            _ground(axes)
            _line(axes, rows, ("plain", None), "#888888", "x")
            for (colour, marker), variant in zip(MARKS, shown, strict=False):
                if variant in there:
                    _line(axes, rows, variant, colour, marker)
            axes.set_title(name, loc="left", fontweight="bold", fontsize=15)
            axes.legend(frameon=False, fontsize=11.5, loc="upper left", bbox_to_anchor=(0.0, 0.93))
        plot.supxlabel("dz, distance of the planes", fontsize=14)
        plot.supylabel("loss on the target's plane", fontsize=14)
        return plot


def _ground(axes: Any) -> None:
    """Logarithmic axes, the bands named, the line under which a cell counts as solved."""
    axes.set(xscale="log", yscale="log", ylim=(0.06, 2e4), xlim=(0.007, 75))
    edges = [0.007, 0.22, 10.0, 75.0]
    for k, band in enumerate(BANDS):
        if k != 1:
            axes.axvspan(edges[k], edges[k + 1], color=GRID, linewidth=0, zorder=0)
        axes.text(math.sqrt(edges[k] * edges[k + 1]), 1.1e4, band, ha="center", va="center", fontsize=11, color=INK)
    axes.axhline(SOLVED, color=INK, linewidth=1, linestyle=":")


def _line(axes: Any, rows: Sequence[Row], variant: tuple[str, float | None], colour: str, marker: str) -> None:
    mine = [row for row in rows if (row["arm"], row["scale"]) == variant]
    distances, seeds = sorted({row["dz"] for row in mine}), sorted({row["seed"] for row in mine})
    centres, below, above = [], [], []
    for dz in distances:
        logs = [[math.log10(r["loss"]) for r in mine if (r["dz"], r["seed"]) == (dz, seed)] for seed in seeds]
        mean, low, high = t_interval([statistics.fmean(each) for each in logs])
        centres.append(10**mean)
        alone = len(logs) < LEAST
        below.append(0.0 if alone else 10**mean - 10**low)
        above.append(0.0 if alone else 10**high - 10**mean)
    how = {"color": colour, "marker": marker, "markersize": 8, "linewidth": 2, "capsize": 3, "elinewidth": 1.2}
    axes.errorbar(distances, centres, yerr=[below, above], label=f"{title(*variant)} ({len(seeds)})", **how)
