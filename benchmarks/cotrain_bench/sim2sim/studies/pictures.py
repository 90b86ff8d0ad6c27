"""Figures of a study, in the layout of the paper's: success by method, curves over ratio and scale, latents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle, product
from textwrap import fill
from typing import Any, TypeAlias

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cotrain_losses.cli.report import COLOURS, SOURCE, TARGET

from ...paired import mean_interval
from ..cell import Cell
from ..gaps import GAPS
from ..methods import METHODS
from ..style import GRID, INK, boxes, label_left, panels, percent
from .claims import BALANCED, related
from .confirm import whole
from .criterion import over_path_error as over_path_error
from .findings import Result, distinct, select
from .latents import latents as latents
from .maps import by_strength as by_strength
from .plans import OWN_SCALE, arm
from .sides import SIDES, OnSides, arms
from .tables import interval

REGIMES = {"disjoint": "o", "structured": "s", "overlapping": "^", "uncertain": ".", "unknown": "x"}
CURVE = "A small dot is a pair ({}), the line their mean, the band its 95 % bootstrap interval."
Picture: TypeAlias = "tuple[str, str, Figure]"  # name, caption, plot


def by_method(results: Sequence[Result]) -> Picture:
    """A box a gap, a line a method: pairs as dots, mean and interval as a bar."""
    names = list(reversed(list(dict.fromkeys(arm(c) for c, _ in results))))
    gaps = distinct(results, "gap")
    plot, across = panels(gaps, 2.6, 0.42 * len(names) + 1.3, more=1.4)
    for gap, axes in zip(gaps, across, strict=True):
        for y, name in enumerate(names):
            values = [r["success"] for c, r in select(results, gap=gap) if arm(c) == name]
            _line(axes, y, values, TARGET if name == METHODS["real_only"].title else SOURCE)
        percent(axes.xaxis)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.6, len(names) - 0.4))
        axes.grid(axis="x", color=GRID)
        axes.set_axisbelow(True)
    across[0].set_yticks(range(len(names)), names)
    plot.supxlabel("success in the target domain", fontsize=9)
    plot.tight_layout()
    caption = (
        f"Success by gap and method: a dot is a pair ({_pairs(results)}), the tick their mean, the bar its 95 % "
        "bootstrap interval."
    )
    return "success", caption, plot


def over_ratio(results: Sequence[Result]) -> Picture:
    """Success over the mixing ratio, a box a gap; the band is the paper's balanced one."""
    asked = [(1.0 if c.method == "real_only" else c.ratio, c, r) for c, r in results]
    ratios = sorted({ratio for ratio, _, _ in asked})
    inside = [k for k, ratio in enumerate(ratios) if BALANCED[0] <= ratio <= BALANCED[1]]
    gaps = distinct(results, "gap")
    plot, across = panels(gaps, 3.3, 2.9)
    for gap, axes in zip(gaps, across, strict=True):
        if inside:
            axes.axvspan(min(inside) - 0.4, max(inside) + 0.4, color="#eaf1e6", linewidth=0, zorder=0)
        _curve(axes, [[r["success"] for ratio, c, r in asked if (ratio, c.gap) == (x, gap)] for x in ratios], SOURCE)
        axes.set_xticks(range(len(ratios)), [f"{ratio:g}" for ratio in ratios])
        axes.set_xlabel("ratio (share of target samples)")
        axes.tick_params(axis="x", labelrotation=60)
    label_left(across, "success in the target domain")
    plot.tight_layout()
    caption = (
        f"Plain co-training over the mixing ratio; 1 is target only, 0 source only. {CURVE.format(_pairs(results))} "
        "Shaded: ratios of .016 to .3."
    )
    return "ratios", caption, plot


def over_scale(results: Sequence[Result]) -> Picture:
    """Success over the guidance scale, a box a gap, a colour a method."""
    gaps = distinct(results, "gap")
    plot, across = panels(gaps, 3.3, 2.9)
    for gap, axes in zip(gaps, across, strict=True):
        for name, (colour, mark) in zip(distinct(results, "method"), ((SOURCE, "o"), (TARGET, "^")), strict=False):
            rows = [{str(OWN_SCALE): r["success"], **r["scales"]} for _, r in select(results, gap=gap, method=name)]
            scales = sorted({float(scale) for row in rows for scale in row})
            columns = [[row[str(scale)] for row in rows] for scale in scales]
            _curve(axes, columns, colour, mark, x=scales, label=METHODS[name].title)
        axes.axvline(OWN_SCALE, color="#aab3c0", linewidth=1, linestyle=":")
        axes.set_xlabel("guidance scale (1 + lambda)")
    label_left(across, "success in the target domain")
    across[0].legend(frameon=False, fontsize=8)
    plot.tight_layout()
    caption = f"Success over the guidance scale: 0 ignores the label, 1 is the label alone, dotted line .5. {CURVE}"
    return "scales", caption.format(_pairs(results)), plot


def by_side(results: Sequence[Result]) -> Picture:
    """Seen beside unseen, a line an arm: pairs as dots, mean and interval as a bar."""
    lines = list(reversed(arms(results).items()))
    plot, across = panels(SIDES, 1.9, 0.3 * len(lines) + 1.0, more=2.8)
    for side, colour, axes in zip(SIDES, (SOURCE, TARGET), across, strict=True):
        for y, (_, some) in enumerate(lines):
            _line(axes, y, [getattr(each, side) for each in some], colour)
        percent(axes.xaxis)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.6, len(lines) - 0.4), xticks=(0, 0.5, 1))
        axes.grid(axis="x", color=GRID)
    names = [fill(f"{where}: {name} (n\u00a0=\u00a0{len(some)})", 50) for (where, name), some in lines]
    across[0].set_yticks(range(len(lines)), names, fontsize=7)
    plot.supxlabel("success in the target domain", fontsize=9)
    plot.tight_layout()
    episodes = results[0][1]["episodes"] // 2
    caption = (
        "Success on the side of the table with target demonstrations (seen) and on the other (unseen): a dot is a pair "
        f"(a draw of demonstrations with a training seed) on {episodes} episodes, the tick the mean of the n pairs, "
        "the bar its 95 % bootstrap interval, too narrow with few pairs."
    )
    return "sides", caption, plot


def by_task(results: Sequence[Result]) -> Picture:
    """The unseen side, a box a task, a line an arm: whole draws as dots, mean and interval as a bar."""
    results = whole(results)
    tasks, names = distinct(results, "task"), list(reversed(list(dict.fromkeys(arm(c) for c, _ in results))))
    plot, across = panels(tasks, 2.0, 0.3 * len(names) + 0.9, more=2.6)
    for task, axes in zip(tasks, across, strict=True):
        for y, name in enumerate(names):
            _line(axes, y, [r["unseen"] for c, r in select(results, task=task) if arm(c) == name], SOURCE)
        percent(axes.xaxis)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.6, len(names) - 0.4))
        axes.grid(axis="x", color=GRID)
    across[0].set_yticks(range(len(names)), [fill(name, 36) for name in names])
    for axes in across:
        axes.tick_params(axis="y", labelsize=8)
    plot.supxlabel("success on the side without target demonstrations", fontsize=9)
    plot.tight_layout()
    draws, episodes = len(distinct(results, "seed")), results[0][1]["episodes"] // 2
    caption = (
        "Success where the target has no demonstrations: a dot is a draw of demonstrations with a training seed "
        f"(n = {draws} a task), on {episodes} episodes, the tick their mean, the bar its 95 % bootstrap interval."
    )
    return "tasks", caption, plot


def over_angle(results: Sequence[Result]) -> Picture:
    """Success over the cameras' turn, seen beside unseen, a colour an arm."""
    every: dict[str, dict[float, list[OnSides]]] = {}
    for (_, name), some in arms(results).items():
        cell = some[0].cell
        name = name if cell.task == Cell.task else f"{cell.task}: {name}"
        every.setdefault(name, {})[GAPS[cell.gap].camera_yaw] = some
    plot, across = panels(SIDES, 3.3, 2.9)
    for side, axes in zip(SIDES, across, strict=True):
        for k, ((name, own), mark) in enumerate(zip(every.items(), cycle("o^sDvP*X"), strict=False)):
            columns = [[getattr(each, side) for each in own[angle]] for angle in sorted(own)]
            dash = "" if k < len(COLOURS) else "-"  # a colour that comes again is dashed
            _curve(axes, columns, COLOURS[k % len(COLOURS)], mark + dash, x=sorted(own), label=name)
        axes.set_xlabel("turn of the cameras (degrees)")
        axes.set_xticks(sorted({angle for own in every.values() for angle in own}))
    label_left(across, "success in the target domain")
    plot.tight_layout(rect=(0, 0.06 + 0.05 * len(every) / 2, 1, 1))
    plot.legend(*across[0].get_legend_handles_labels(), loc="lower center", ncols=2, frameon=False, fontsize=8)
    pairs = max(len(some) for some in arms(results).values())
    caption = (
        "Success over the angle by which the target's cameras are turned: a small dot is a pair, the line their mean "
        f"(at most {pairs} pairs an angle), the band its 95 % bootstrap interval; seen is the side of the table with "
        "target demonstrations under half coverage."
    )
    return "angles", caption, plot


def scatter(results: Sequence[Result]) -> Picture | None:
    """Distance and probe accuracy against success, a column a gap, coloured by ratio, shaped by regime."""
    gaps, norm = distinct(results, "gap"), Normalize(-3, 0)
    names = {"log_wasserstein": "log Wasserstein distance", "probe_accuracy": "held-out probe accuracy"}
    if all(row[of] is None for _, row in results for of in names):
        return None
    plot, grid = boxes(len(gaps), 2.6, 2.7, rows=2, more=0.8)
    for axes in grid[:, 0]:
        axes.set_ylabel("success")
    for axes, ((of, name), gap) in zip(grid.flat, product(names.items(), gaps), strict=True):
        some = [(c, r) for c, r in select(results, gap=gap) if r[of] is not None]
        for c, r in some:
            colour, marker = math.log10(max(c.ratio, 1e-3)), REGIMES[r["regime"]]
            axes.scatter(r[of], r["success"], c=colour, norm=norm, marker=marker, s=26, alpha=0.8)
        correlation = related(some, of=of)
        axes.set_title(gap + (f"\nr = {interval(correlation)}" if correlation else ""), fontsize=9)
        axes.set_xlabel(name, fontsize=9)
        percent(axes.yaxis)
    plot.tight_layout(rect=(0, 0.07, 1, 1))
    bar = plot.colorbar(ScalarMappable(norm), ax=grid, fraction=0.025, ticks=[-3, -2, -1, 0])
    bar.ax.set_yticklabels([".001", ".01", ".1", "1"])
    bar.set_label("ratio")
    met = [name for name in REGIMES if any(row["regime"] == name for _, row in results)]
    marks = [Line2D([], [], color=INK, linestyle="", marker=REGIMES[name], label=f"{name} features") for name in met]
    plot.legend(handles=marks, loc="lower center", ncols=len(met), frameon=False, fontsize=8)
    caption = (
        f"Alignment (above) and discernibility (below) against success, a trained policy a point (n = {len(results)}). "
        "r: the correlation with its 95 % bootstrap interval over pairs."
    )
    return "correlation", caption, plot


def _pairs(results: Sequence[Result]) -> str:
    """The number of pairs, and of episodes of each policy, in words."""
    pairs, episodes = len({(c.task, c.seed) for c, _ in results}), results[0][1]["episodes"]
    return f"n = {pairs} draws of demonstrations with a training seed, {episodes} episodes each"


def _line(axes: Any, y: float, values: Sequence[float], colour: str) -> None:
    if not values:
        return
    low, high = mean_interval(values)
    axes.plot([low, high], [y, y], color=colour, alpha=0.35, linewidth=8, solid_capstyle="butt")
    axes.plot(values, np.full(len(values), y), "o", color=colour, markersize=3.5, alpha=0.8)
    axes.plot(np.mean(values), y, "|", color=INK, markersize=11, markeredgewidth=2)


def _curve(
    axes: Any,
    columns: Sequence[Sequence[float]],
    colour: str,
    mark: str = "o",
    x: Any = None,
    label: str | None = None,
) -> None:
    x = range(len(columns)) if x is None else x
    intervals = [mean_interval(values) for values in columns]
    axes.fill_between(x, *zip(*intervals, strict=True), color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, [np.mean(values) for values in columns], f"{mark}-", color=colour, markersize=5, label=label)
    for at, values in zip(x, columns, strict=True):
        axes.plot(np.full(len(values), at), values, ".", color=colour, markersize=4, alpha=0.5)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(axis="y", color=GRID)
    percent(axes.yaxis)
