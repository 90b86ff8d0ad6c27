"""Pictures of a run: success with intervals, rollouts in space, features in the plane, balanced strengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cotrain_losses.cli.report import SOURCE, TARGET, as_png

from ..results import Row, write
from .cell import Cell
from .methods import METHODS
from .style import BAD, GOOD, GRID, INK, bare_space, label_left, panels, percent, styled
from .training import READ_EVERY


def write_figures(out: Path, rows: Sequence[Row], cell: Cell) -> list[tuple[str, Path]]:
    """Write the PNG files of a run; returns (caption, path) of each."""
    captions = {
        "success": f"Success in the target domain: a dot is one trained policy on n = {cell.episodes} episodes, the "
        "same for every method; the bar is Wilson's 95 % interval over these episodes.",
        "rollouts": "The first episodes of the evaluation, the same for every method. Thin: the hand; thick: the "
        "object, from its dot; star: its goal. A box is .4 m wide and deep and .35 m high.",
        "features": "Features z at the seam, of training frames of both domains, along their two largest principal "
        "components (PC 1, PC 2), each policy with components of its own.",
        "balance": "What a balanced strength went by in training: the accuracy of its domain probe, and the share of "
        "the strength that was on. It rises while the probe reads the domain; where it is shaded the target's held-out "
        "loss, or that it was not measured or no longer is, kept it from rising.",
    }
    shown = [row for row in rows if "picture" in row]  # a policy that diverged has done nothing
    with styled():
        plots = {"success": success(rows, cell)}
        plots |= {"rollouts": rollouts(shown), "features": features(shown)} if shown else {}
        if balanced := [(row, term) for row in shown for term in balanced_terms(row)]:
            plots["balance"] = balance(balanced)
        for name, plot in plots.items():
            write(out / f"{name}.png", as_png(plot))
    return [(caption, out / f"{name}.png") for name, caption in captions.items() if name in plots]


def success(rows: Sequence[Row], cell: Cell) -> Figure:
    """One line a method: its rate as a dot, its interval as a bar."""
    plot, axes = plt.subplots(figsize=(5.6, 0.55 * len(rows) + 1.2))
    for y, row in enumerate(reversed(rows)):
        colour = TARGET if row["method"] == "real_only" else SOURCE
        interval = [row["low"], row["high"]]
        axes.plot(interval, [y, y], color=colour, alpha=0.35, linewidth=9, solid_capstyle="butt")
        axes.plot(row["success"], y, "o", color=colour, markersize=9)
        axes.annotate(f"{row['success']:.0%}", (row["success"], y), (0, 9), textcoords="offset points", ha="center")
    axes.set_yticks(range(len(rows)), [METHODS[row["method"]].title for row in reversed(rows)])
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.6, len(rows) - 0.2))
    percent(axes.xaxis)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"success in the target domain (share of {cell.episodes} episodes)")
    demos = f"{cell.target_demos} target and {cell.source_demos} source demos"
    axes.set_title(f"{cell.task}, gap {cell.gap}: {demos}", loc="left", fontsize=11)
    return plot


def rollouts(rows: Sequence[Row]) -> Figure:
    """One box a method: hand and object in space."""
    columns = min(len(rows), 3)
    high = -(-len(rows) // columns)
    plot = plt.figure(figsize=(2.2 * columns, 2.3 * high + 0.3))
    for k, row in enumerate(rows):
        axes = plot.add_subplot(high, columns, k + 1, projection="3d")
        picture = row["picture"]
        for path, goal, solved in zip(picture["paths"], picture["goals"], picture["solved"], strict=True):
            line: Any = {"color": GOOD} if solved else {"color": BAD, "linestyle": (0, (2, 1))}
            path = np.asarray(path)
            axes.plot(*path[:, 0].T, linewidth=0.8, alpha=0.7, **line)
            axes.plot(*path[:, 1].T, linewidth=2.2, **line)
            axes.plot(*path[0, 1], "o", color=INK, markersize=3)
            axes.plot(*goal, "*", color="#d4a017", markersize=9, markeredgecolor=INK, markeredgewidth=0.4)
        axes.set(xlim=(-0.2, 0.2), ylim=(0.5, 0.9), zlim=(0, 0.35))
        axes.view_init(elev=22, azim=-62)
        axes.set_box_aspect((1, 1, 0.85), zoom=1.15)
        bare_space(axes, 0.6)
        solved = f"{sum(picture['solved'])} of {len(picture['solved'])}"
        axes.set_title(f"{METHODS[row['method']].title}: {solved}", fontsize=10)
        axes.set(xlabel="x", ylabel="y", zlabel="z")
        for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
            axis.labelpad = -14
    kinds = [Line2D([], [], color=GOOD, lw=2.2), Line2D([], [], color=BAD, lw=2.2, ls=(0, (2, 1)))]
    plot.legend(kinds, ["success", "failure"], loc="lower center", ncols=2, frameon=False, fontsize=9)
    plot.subplots_adjust(left=0, right=1, bottom=0.4 / (2.3 * high + 0.3), top=0.93, wspace=0, hspace=0.15)
    return plot


def features(rows: Sequence[Row]) -> Figure:
    """One box a method: source and target features."""
    plot, across = panels([METHODS[row["method"]].title for row in rows], 2.2, 2.3, shared=False)
    for axes, row in zip(across, rows, strict=True):
        for name, colour, mark in (("source", SOURCE, "o"), ("target", TARGET, "^")):
            points = np.asarray(row["picture"]["features"][name])
            axes.scatter(*points.T[:2], s=12, color=colour, marker=mark, alpha=0.65, linewidths=0, label=name)
        axes.set(xticks=[], yticks=[], xlabel="PC 1", ylabel="PC 2")
        axes.spines[["top", "right"]].set_visible(True)
    across[0].legend(frameon=False, loc="best", fontsize=8, handletextpad=0.1)
    plot.tight_layout()
    return plot


def balance(balanced: Sequence[tuple[Row, str]]) -> Figure:
    """One box a balanced term: its probe, the share of its weight that is on, and its brake over training."""
    titles = [f"{METHODS[row['method']].title}: {term.replace('_', ' ')}" for row, term in balanced]
    plot, across = panels(titles, 3.3, 2.6)
    for axes, (row, term) in zip(across, balanced, strict=True):
        names = ("discernibility", "factor", "braked")  # a reading that there was not is None, which floats take as NaN
        series = {name: np.array(row[f"reading_{term}/{name}"], dtype=float) for name in names}
        steps = READ_EVERY * np.arange(1, len(series["factor"]) + 1)
        axes.fill_between(steps, 0, 1, where=series["braked"] > 0, step="pre", color=GRID, label="does not rise")
        axes.plot(steps, series["discernibility"], color=SOURCE, marker="o", markersize=4, label="probe's accuracy")
        axes.plot(steps, series["factor"], color=TARGET, marker="^", markersize=4, label="share of the strength")
        axes.set(ylim=(-0.02, 1.05), xlabel="optimizer step")
    label_left(across, "accuracy, or share")
    plot.tight_layout(rect=(0, 0.09, 1, 1))
    plot.legend(*across[0].get_legend_handles_labels(), loc="lower center", ncols=3, frameon=False, fontsize=8)
    return plot


def balanced_terms(row: Row) -> list[str]:
    """The terms whose readings a row holds."""
    ending = "/discernibility"
    return [name[len("reading_") : -len(ending)] for name in row if name.endswith(ending)]
