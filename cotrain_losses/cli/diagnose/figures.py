"""The figures of a diagnosis, after the paper's: embeddings coloured by domain, distance and readability over layers.

Where checkpoints differ in their mixing ratio, the curves run over it instead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...datasets.names import shown
from ..report import SOURCE, TARGET
from .layer import Embedding, Layer

MARKERS = "os^Dv*"

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


def figure(layers: Sequence[Layer]) -> Figure:
    """Curves on top, embeddings below."""
    from matplotlib.figure import Figure

    pictured = [layer for layer in layers if layer.embeddings][:12]
    if not pictured:
        return curves(layers)
    columns = min(4, max(len(pictured), 2))
    rows = -(-len(pictured) // columns)
    whole = Figure(figsize=(3.4 * columns, 3.0 + 3.1 * rows), layout="constrained")
    parts: Any = whole.subfigures(2, 1, height_ratios=[3.0, 3.1 * rows])
    top, below = parts
    _draw_curves(top, layers)
    for i, layer in enumerate(pictured):
        _scatter(below, (rows, columns, i + 1), layer.embeddings[0], 2, f"{literal(layer.title)}\n{layer.regime}")
    return whole


def curves(layers: Sequence[Layer]) -> Figure:
    """Distance and accuracy of the probe, side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 2.9), layout="constrained")
    _draw_curves(figure, layers)
    return figure


def _draw_curves(figure: Figure | SubFigure, layers: Sequence[Layer]) -> None:
    """Distance and accuracy over the ratio where there are several, else over layers."""
    left, right = figure.subplots(1, 2)
    over_ratio = len({layer.ratio for layer in layers if layer.ratio is not None}) > 1
    panels = (left, "transport", "distance (pooled spreads)"), (right, "accuracy", "probe accuracy (share right)")
    for axes, what, label in panels:
        _plot_lines(axes, layers, what, over_ratio)
        axes.set(ylabel=label, xlabel="mixing ratio w (share of target)" if over_ratio else "layer")
        axes.grid(alpha=0.3)
    left.set_ylim(bottom=-0.04 * left.get_ylim()[1])  # a distance of zero is off the axis
    right.axhline(0.5, color="grey", lw=1, ls=":", label="chance")
    right.legend(fontsize=8)
    right.set_ylim(min(0.4, right.get_ylim()[0]), 1.03)
    if left.get_legend_handles_labels()[0]:
        left.legend(fontsize=8)


def _plot_lines(axes: Axes, layers: Sequence[Layer], what: str, over_ratio: bool) -> None:
    """A line for each layer over the ratio, or for each checkpoint over the layers, with 95 % intervals."""
    from matplotlib import colormaps
    from matplotlib.ticker import ScalarFormatter

    names = list(dict.fromkeys(layer.name for layer in layers))
    lines: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for layer in layers:
        x, y = layer.ratio if over_ratio else names.index(layer.name), getattr(layer, what)
        if x is not None and y is not None:
            lines[layer.name if over_ratio else layer.checkpoint].append((x, *y))
    for k, (name, points) in enumerate(lines.items()):
        colour = colormaps["viridis"](0.9 * k / max(len(lines) - 1, 1))  # no colour is a domain's
        at, values, low, high = zip(*sorted(points), strict=True)
        ends = [[max(b - a, 0.0) for a, b in zip(*each, strict=True)] for each in ((low, values), (values, high))]
        marks: dict[str, Any] = {"color": colour, "marker": MARKERS[k % len(MARKERS)], "capsize": 3}
        axes.errorbar(at, values, yerr=ends, label=literal(name) or None, **marks)
    if over_ratio:
        axes.set_xscale("symlog", linthresh=0.01)
        axes.set_xticks(sorted({layer.ratio for layer in layers if layer.ratio is not None}))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.tick_params(axis="x", labelrotation=60, labelsize=8)
    else:
        axes.set_xticks(
            range(len(names)), [*map(literal, names)], rotation=30 if max(map(len, names)) > 8 else 0, fontsize=8
        )
        axes.set_xlim(-0.5, len(names) - 0.5)


def literal(name: str) -> str:
    """A name as matplotlib draws it: no mathematics, and a legend's entry even where it begins with an underscore."""
    text = shown(name, 40).replace("$", r"\$")
    return f"\N{ZERO WIDTH SPACE}{text}" if text.startswith("_") else text


def views(layer: Layer) -> Figure:
    """2-D and 3-D views of every embedding of a layer, a row an embedding."""
    from matplotlib.figure import Figure

    pairs = [(e, k) for e in layer.embeddings for k in (2, 3)]
    rows = len(layer.embeddings)
    figure = Figure(figsize=(6.4, 3.1 * rows), layout="constrained")
    for i, (embedding, dimensions) in enumerate(pairs):
        _scatter(figure, (rows, 2, i + 1), embedding, dimensions, f"{embedding.method}, {dimensions}-D")
    return figure


def _scatter(figure: Any, place: tuple[int, int, int], embedding: Embedding, dimensions: int, title: str) -> None:
    axes = figure.add_subplot(*place, projection="3d" if dimensions == 3 else None)
    points = embedding.points[dimensions]
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    colours = [TARGET if t else SOURCE for t in embedding.is_target[order].tolist()]
    axes.scatter(*points[order].T.tolist(), c=colours, s=6, alpha=0.6, linewidths=0)
    for name, colour in (("source", SOURCE), ("target", TARGET)):
        axes.scatter(*[[] for _ in range(dimensions)], c=colour, s=6, label=name)
    axes.set_title(title, fontsize=9)
    if place[2] == 1:
        axes.legend(fontsize=8, markerscale=3)
    axes.set(xlabel=f"{embedding.method} 1", ylabel=f"{embedding.method} 2")
    axes.tick_params(labelbottom=False, labelleft=False, length=0)
    if dimensions == 3:
        axes.set_zlabel(f"{embedding.method} 3")
        axes.tick_params(labelright=False)
        axes.set_zticklabels([])
