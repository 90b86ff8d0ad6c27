"""Typeset formulas and the figure of the lattice; matplotlib's own fonts, nothing from a network."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from cotrain_losses.cli.report import as_png

from ..results import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

PLACES = {
    "real_only": (0.3, 21.2),
    "cotraining": (0.75, 18.6),
    "beacon": (2, 22.2),
    "ambient": (2, 21.0),
    "remix": (2, 19.8),
    "importance": (2, 18.5),
    "reweighted": (2, 16.9),
    "loss S + beta loss T": (2, 15.0),
    "cfg": (2, 13.1),
    "conditional policy": (0.85, 13.8),
    "unconditional policy": (0.85, 12.5),
    "wei_cfg": (3.08, 14.3),
    "one_hot": (2, 14.1),
    "cfg_adda": (3.08, 13.0),
    "adda": (2, 11.2),
    "probe": (0.85, 11.6),
    "discernibility": (0.85, 10.4),
    "dann": (3.08, 11.9),
    "tzeng": (3.08, 10.8),
    "cdan": (3.08, 9.7),
    "entropic OT, ones": (3.08, 8.6),
    "uot": (3.08, 7.6),
    "egobridge": (3.08, 6.6),
    "entropic OT": (2, 7.6),
    "exact OT": (0.85, 7.1),
    "ot": (2, 6.2),
    "mean matching": (0.85, 5.4),
    "wei_mmd": (2, 5.0),
    "jumbot": (3.08, 4.4),
    "deepjdot": (2, 4.1),
    "jan": (3.08, 3.4),
    "mmd": (2, 3.2),
    "uot, diagonal": (3.08, 2.4),
    "paired matching": (2, 2.3),
    "co-trained score, latents": (3.08, 1.3),
    "co-trained score": (2, 1.3),
    "target's score": (0.85, 1.3),
    "paired sampling": (3.08, 0.0),
    "unpaired sampling": (2, 0.4),
    "nearest demonstration": (2, -0.7),
}
"""where each method stands; to the left of another, it is a case of it"""


def formula(tex: str) -> bytes:
    """A formula as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.1, 0.1))
    figure.text(0, 0, f"${tex}$", fontsize=9, math_fontfamily="cm")
    return as_png(figure)


def lattice(edges: Sequence[Row]) -> bytes:
    """The figure of all edges as PNG: full lines are equalities, dashed ones limits, red ones do not hold."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 19))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 3.5), ylim=(-1.2, 22.6))
    axes.axis("off")
    box = {"boxstyle": "round,pad=0.3", "fc": "#eef4f4", "ec": "#4a8f8f"}
    style: Any = {"ha": "center", "va": "center", "fontsize": 12, "bbox": box, "zorder": 3}
    names = {name: axes.text(*place, _lines(name, 12), **style) for name, place in PLACES.items()}
    figure.draw_without_rendering()  # the boxes have their sizes
    for edge in edges:
        _draw_edge(axes, names, edge)
    return as_png(figure)


def _draw_edge(axes: Axes, names: dict[str, Text], edge: Row) -> None:
    """From the border of one name to the border of another."""
    start, end = PLACES[edge["start"]], PLACES[edge["end"]]
    second = edge["setting"].startswith("whole passes")  # two edges join these methods
    arrow = {"arrowstyle": "->", "color": "#3b4656" if edge["holds"] else "#c0392b", "shrinkA": 0, "shrinkB": 1}
    arrow |= {"linestyle": "--" if edge["edge"] == "limit" else "-", "connectionstyle": f"arc3,rad={-0.3 * second}"}
    (x0, y0), (x1, y1) = _border(axes, names[edge["start"]], end), _border(axes, names[edge["end"]], start)
    axes.annotate("", (x1, y1), (x0, y0), arrowprops=arrow, zorder=1)
    at = 0.6 if edge["end"] == "cotraining" else 0.5
    x, y = at * x0 + (1 - at) * x1, at * y0 + (1 - at) * y1 - 0.55 * second
    box = {"boxstyle": "round,pad=0.08", "fc": "white", "ec": "none", "alpha": 0.85}
    axes.text(x, y, _lines(edge["setting"], 12), ha="center", va="center", fontsize=10, bbox=box, zorder=2)


def _border(axes: Axes, name: Text, toward: tuple[float, float]) -> tuple[float, float]:
    """Where the line from the middle of a name's box leaves it."""
    patch: Any = name.get_bbox_patch()
    box = patch.get_window_extent().transformed(axes.transData.inverted())
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    dx, dy = toward[0] - x, toward[1] - y
    part = min(side / 2 / abs(way) if way else math.inf for side, way in ((box.width, dx), (box.height, dy)))
    return x + part * dx, y + part * dy


def _lines(text: str, letters: int) -> str:
    """Lines of about so many letters, none of which begins or ends at a sign.

    >>> _lines("drop = 1, scale = 0", 15).split("\\n")
    ['drop\\xa0=\\xa01,', 'scale\\xa0=\\xa00']
    """
    whole = re.sub(r" (=|->) ", "\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}", text)
    return fill(whole, letters, break_long_words=False)
