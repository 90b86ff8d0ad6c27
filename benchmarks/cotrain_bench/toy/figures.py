"""Pictures of the toy: the loss grid beside the published one, and what policies of each regime generate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

import torch
from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from cotrain_losses.cli.report import COLOURS, SOURCE, TARGET

from . import curves
from .findings import ALIGNED, DISJOINT, OVERLAP, PUBLISHED
from .flow import Cell
from .settings import RATIOS

UNSEEN, INK = COLOURS[3], "#1c2430"
STYLE: Any = {"font.size": 9, "text.color": INK, "axes.edgecolor": "#aab3c0", "axes.labelcolor": INK}

REGIMES = {
    "overlapping": (OVERLAP, 0.5),
    "aligned": (ALIGNED, 0.1),
    "disjoint": (DISJOINT, 0.1),
    "target only": (ALIGNED, 1.0),
}
"""regime -> the cell (dz, w) that shows it"""


def loss_grids(losses: Sequence[Sequence[float]], distances: Sequence[float], ratios: Sequence[float]) -> Figure:
    """Our grid and the published one, on one logarithmic colour scale."""
    with plt.rc_context(STYLE):
        plot, boxes = plt.subplots(1, 2, figsize=(12.4, 4.6), layout="constrained")
        norm = LogNorm(0.2, 500)
        published = [PUBLISHED[dz] for dz in PUBLISHED]
        _heat(boxes[0], losses, distances, ratios, norm)
        boxes[0].set_title("this run", loc="left", fontweight="bold")
        image = _heat(boxes[1], published, list(PUBLISHED), RATIOS, norm)
        boxes[1].set_title("published (Lei et al. 2026)", loc="left", fontweight="bold")
        boxes[0].set_ylabel("dz, distance of the planes")
        plot.colorbar(image, ax=boxes, label="loss per dimension", pad=0.01, extend="both")
        return plot


def regimes(positions: Tensor, samples: dict[Cell, Tensor], seed: int) -> Figure:
    """Outputs generated on the target plane by one policy of each regime, over both curves."""
    with plt.rc_context(STYLE):
        plot, boxes = plt.subplots(2, 2, figsize=(6.6, 7.2), sharex=True, sharey=True, layout="constrained")
        known = curves.data(seed).outputs[curves.N_SOURCE :]
        for axes, (name, (dz, ratio)) in zip(boxes.flat, REGIMES.items(), strict=True):
            _generated(axes, positions[:, 0], samples[Cell(dz, ratio, seed)], known)
            axes.set_title(f"{name}\ndz = {dz:g}, w = {ratio:g}", loc="left")
        handles, labels = boxes.flat[0].get_legend_handles_labels()
        plot.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
        return plot


def masses(rows: Sequence[tuple[float, float, float, float]]) -> Figure:
    """The target's share against w: closed form as lines, trained as dots.

    Args:
        rows: (dz, w, closed form, trained) each.
    """
    with plt.rc_context(STYLE):
        plot, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
        distances = sorted({row[0] for row in rows})
        for dz, colour, mark in zip(distances, COLOURS, "o^sDv*P", strict=False):
            _, ratios, closed, trained = zip(*[row for row in rows if row[0] == dz], strict=True)
            axes.plot(ratios, closed, color=colour, linewidth=1.6)
            axes.plot(ratios, trained, mark, color=colour, markersize=5)
            axes.plot([], [], f"{mark}-", color=colour, label=f"dz = {dz:g}")
        axes.set(xlabel="w, share of target samples in training", ylabel="share of outputs from the target")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, title="closed form: lines\ntrained: markers", loc="lower right")
        return plot


def _heat(
    axes: Any, values: Sequence[Sequence[float]], distances: Sequence[float], ratios: Sequence[float], norm: LogNorm
) -> Any:
    image = axes.imshow(values, norm=norm, cmap="viridis_r", aspect="auto")
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            colour = "white" if value > 15 else INK
            text = f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"
            axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(ratios)), [f"{ratio:g}" for ratio in ratios])
    axes.set_yticks(range(len(distances)), [f"{dz:g}" for dz in distances])
    axes.set_xlabel("w, share of target samples")
    axes.tick_params(length=0)
    return image


def _generated(axes: Any, u: Tensor, outputs: Tensor, known: Tensor) -> None:
    line = torch.linspace(0, 1, 400)
    for target, colour, name in ((False, SOURCE, "source curve"), (True, TARGET, "target curve")):
        axes.plot(*curves.curve(line, target=target).T, color=colour, linewidth=1.4, label=name)
    seen = u <= curves.SEEN
    axes.scatter(*outputs[seen].T, s=7, color=INK, linewidths=0, alpha=0.75, label="generated, u < .8")
    axes.scatter(
        *outputs[~seen].T, s=14, marker="^", color=UNSEEN, linewidths=0, label="generated, u > .8 (no target data)"
    )
    axes.scatter(*known.T, s=26, marker="+", color=TARGET, linewidths=1.2, label="target training data")
    axes.set(xlim=(-18, 24), ylim=(-18, 24), aspect="equal", xlabel="output 1", ylabel="output 2")
    axes.label_outer()
