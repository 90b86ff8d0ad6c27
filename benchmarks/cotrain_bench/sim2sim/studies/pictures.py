"""Figures of a study, in the layout of the paper's: success by method, curves over ratio and scale, latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ...paired import mean_interval
from ...results import Row
from ..cell import Cell
from ..methods import METHODS
from ..style import GRID, INK, SOURCE, TARGET, bare_space, boxes, percent
from .claims import BALANCED, related
from .findings import Result
from .plans import OWN_SCALE, title

REGIMES = {"disjoint": "o", "structured": "s", "overlapping": "^", "uncertain": ".", "unknown": "x"}
Picture: TypeAlias = "tuple[str, str, Figure]"  # name, caption, plot


def by_method(results: Sequence[Result]) -> Picture:
    """A box a gap, a line a method: pairs as dots, mean and interval as a bar."""
    gaps = list(dict.fromkeys(c.gap for c, _ in results))
    names = list(dict.fromkeys(_arm(c) for c, _ in results))
    plot, ((*across,),) = boxes(len(gaps), 2.6, 0.42 * len(names) + 1.3, more=1.4)
    for axes, gap in zip(across, gaps, strict=True):
        for y, name in enumerate(reversed(names)):
            values = [r["success"] for c, r in results if (c.gap, _arm(c)) == (gap, name)]
            _line(axes, y, values, TARGET if name == METHODS["real_only"].title else SOURCE)
        percent(axes.xaxis)
        axes.set_xlim(-0.03, 1.03)
        axes.grid(axis="x", color=GRID)
        axes.set_axisbelow(True)
        axes.set_title(gap, fontsize=10)
    across[0].set_yticks(range(len(names)), list(reversed(names)))
    plot.supxlabel("success in the target domain", fontsize=9)
    plot.tight_layout()
    return (
        "success",
        "Success by gap and method: dots are pairs, the bar is the bootstrap interval of their mean.",
        plot,
    )


def over_ratio(results: Sequence[Result]) -> Picture:
    """Success over the mixing ratio, a box a gap; the band is the paper's balanced one."""
    gaps = list(dict.fromkeys(c.gap for c, _ in results))
    asked = [(1.0 if c.method == "real_only" else c.ratio, c, r) for c, r in results]
    ratios = sorted({ratio for ratio, _, _ in asked})
    plot, ((*across,),) = boxes(len(gaps), 3.9, 3.2)
    for axes, gap in zip(across, gaps, strict=True):
        inside = [k for k, ratio in enumerate(ratios) if BALANCED[0] <= ratio <= BALANCED[1]]
        if inside:
            axes.axvspan(min(inside) - 0.4, max(inside) + 0.4, color="#eaf1e6", linewidth=0, zorder=0)
        columns = [[r["success"] for ratio, c, r in asked if (ratio, c.gap) == (x, gap)] for x in ratios]
        _curve(axes, columns, SOURCE)
        axes.set_xticks(range(len(ratios)), [f"{ratio:g}" for ratio in ratios])
        axes.set_title(gap, fontsize=10)
        axes.set_xlabel("ratio: share of target samples")
    across[0].set_ylabel("success")
    plot.tight_layout()
    return (
        "ratios",
        "Plain co-training over the mixing ratio; 1 is target only, 0 source only; shaded, [.016, .3].",
        plot,
    )


def over_scale(results: Sequence[Result]) -> Picture:
    """Success over the guidance scale, a box a gap, a colour a method."""
    gaps, names = (list(dict.fromkeys(getattr(c, what) for c, _ in results)) for what in ("gap", "method"))
    plot, ((*across,),) = boxes(len(gaps), 3.9, 3.2)
    for axes, gap in zip(across, gaps, strict=True):
        for name, colour in zip(names, (SOURCE, TARGET), strict=False):
            rows = [r for c, r in results if (c.gap, c.method) == (gap, name)]
            scales = sorted({OWN_SCALE, *(float(s) for r in rows for s in r["scales"])})
            columns = [[_success_at(r, scale) for r in rows] for scale in scales]
            _curve(axes, columns, colour, x=scales, label=METHODS[name].title)
        axes.axvline(OWN_SCALE, color="#aab3c0", linewidth=1, linestyle=":")
        axes.set_title(gap, fontsize=10)
        axes.set_xlabel("scale = 1 + lambda")
    across[0].set_ylabel("success")
    across[0].legend(frameon=False, fontsize=8)
    plot.tight_layout()
    return "scales", "Success over the guidance scale: 0 ignores the label, 1 is the label alone; dotted, .5.", plot


def scatter(results: Sequence[Result]) -> Picture | None:
    """Distance and probe accuracy against success, a column a gap, coloured by ratio, shaped by regime."""
    gaps = list(dict.fromkeys(c.gap for c, _ in results))
    measures = {"log_wasserstein": "log Wasserstein distance", "probe_accuracy": "held-out probe accuracy"}
    plot, grid = boxes(len(gaps), 3.3, 2.8, rows=2, more=0.8)
    points = None
    for row, (of, measure) in enumerate(measures.items()):
        for axes, gap in zip(grid[row], gaps, strict=True):
            for regime, marker in REGIMES.items():
                some = [(r[of], r["success"], c.ratio) for c, r in results if (c.gap, r["regime"]) == (gap, regime)]
                some = [point for point in some if point[0] is not None]
                if some:
                    x, y, ratio = zip(*some, strict=True)
                    colours = np.log10(np.maximum(ratio, 1e-3))
                    points = axes.scatter(
                        x, y, c=colours, cmap="viridis", vmin=-3, vmax=0, marker=marker, s=26, alpha=0.8
                    )
            found = related(results, of=of, gap=gap)
            r = "" if found is None else f"\nr = {found.r:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
            axes.set_title(gap + r, fontsize=9)
            axes.set_xlabel(measure, fontsize=9)
            percent(axes.yaxis)
        grid[row][0].set_ylabel("success")
    if points is None:
        plt.close(plot)
        return None
    plot.tight_layout()
    bar = plot.colorbar(points, ax=grid, fraction=0.025, ticks=[-3, -2, -1, 0])
    bar.ax.set_yticklabels([".001", ".01", ".1", "1"])
    bar.set_label("ratio")
    shapes = "circle disjoint, square structured, triangle overlapping, small dot uncertain"
    return (
        "correlation",
        f"Alignment (above) and discernibility (below) against success, a cell a point: {shapes}.",
        plot,
    )


def latents(results: Sequence[Result]) -> Picture | None:
    """Features of the first pair, a row a gap, a column a method or ratio."""
    first = min(c.seed for c, _ in results)
    some = [(c, r) for c, r in results if c.seed == first and "picture" in r]
    gaps = list(dict.fromkeys(c.gap for c, _ in some))
    columns = list(dict.fromkeys((c.method, c.label, c.ratio) for c, _ in some))
    if not some:
        return None
    plot = plt.figure(figsize=(1.9 * len(columns), 2.1 * len(gaps)))
    for i, gap in enumerate(gaps):
        for j, column in enumerate(columns):
            rows = [r for c, r in some if (c.gap, (c.method, c.label, c.ratio)) == (gap, column)]
            if rows:
                _cloud(plot.add_subplot(len(gaps), len(columns), i * len(columns) + j + 1, projection="3d"), rows[0])
                plot.axes[-1].set_title(_named(gap, *column), fontsize=7)
    plot.subplots_adjust(left=0, right=1, bottom=0, top=0.93, wspace=0, hspace=0.16)
    caption = (
        "Features z of the first pair's policies on fresh frames, along their three largest principal components (axes "
        "of their own): source blue, target orange."
    )
    return "latents", caption, plot


def _arm(cell: Cell) -> str:
    """A method by its title, with the ratio where it is not the usual one."""
    return title(cell) + (f", ratio {cell.ratio:g}" if cell.ratio != Cell.ratio else "")


def _named(gap: str, method: str, label: bool, ratio: float) -> str:
    return f"{gap}\n{METHODS[method].title}{', label' if label else ''} {'' if method == 'real_only' else f'{ratio:g}'}"


def _cloud(axes: Any, row: Row) -> None:
    for name, colour in (("source", SOURCE), ("target", TARGET)):
        axes.scatter(*np.asarray(row["picture"]["features"][name]).T, s=3, color=colour, alpha=0.6, linewidths=0)
    bare_space(axes, 0.4)


def _line(axes: Any, y: float, values: Sequence[float], colour: str) -> None:
    if not values:
        return
    low, high = mean_interval(values)
    axes.plot([low, high], [y, y], color=colour, alpha=0.35, linewidth=8, solid_capstyle="round")
    axes.plot(values, np.full(len(values), y), "o", color=colour, markersize=3.5, alpha=0.8)
    axes.plot(np.mean(values), y, "|", color=INK, markersize=11, markeredgewidth=2)


def _curve(axes: Any, columns: Sequence[Sequence[float]], colour: str, x: Any = None, label: str | None = None) -> None:
    x = range(len(columns)) if x is None else x
    intervals = [mean_interval(values) for values in columns]
    axes.fill_between(x, *zip(*intervals, strict=True), color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, [np.mean(values) for values in columns], "o-", color=colour, markersize=5, label=label)
    for place, values in zip(x, columns, strict=True):
        axes.plot(np.full(len(values), place), values, ".", color=colour, markersize=4, alpha=0.5)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(axis="y", color=GRID)
    percent(axes.yaxis)


def _success_at(row: Row, scale: float) -> float:
    return float(row["success"] if scale == OWN_SCALE else row["scales"][str(scale)])
