"""Typeset formulas and the figure of the lattice; matplotlib's own fonts, nothing from a network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from cotrain_losses.cli.report import as_png

from ..results import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLACES = {
    "real_only": (0.3, 19),
    "cotraining": (1, 17.5),
    "beacon": (2, 20),
    "ambient": (2, 19),
    "remix": (2, 18),
    "importance": (2, 17),
    "reweighted": (2, 15.9),
    "loss S + beta loss T": (2.25, 14.3),
    "cfg": (2, 12.9),
    "conditional policy": (1, 13.3),
    "unconditional policy": (1, 12.5),
    "wei_cfg": (3, 13.9),
    "one_hot": (2, 13.7),
    "cfg_adda": (3, 12.4),
    "adda": (2, 11.6),
    "probe": (1, 12.1),
    "discernibility": (1, 11.1),
    "dann": (3, 11.7),
    "tzeng": (3, 10.8),
    "cdan": (3, 10.0),
    "uot": (3, 8.2),
    "entropic OT": (2, 8.1),
    "exact OT": (1, 7.6),
    "egobridge": (3, 7.3),
    "entropic OT, ones": (3, 9.0),
    "ot": (2, 6.6),
    "mean matching": (1, 6.0),
    "wei_mmd": (2, 5.6),
    "jumbot": (3, 5.2),
    "deepjdot": (2, 4.9),
    "jan": (3, 4.2),
    "mmd": (2, 4.2),
    "uot, diagonal": (3, 3.4),
    "paired matching": (2, 3.4),
    "co-trained score, latents": (3, 2.6),
    "co-trained score": (2, 2.6),
    "target's score": (1, 2.6),
    "paired sampling": (3, 1.4),
    "unpaired sampling": (2, 1.8),
    "nearest demonstration": (2, 0.9),
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

    figure = Figure(figsize=(7.6, 14))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0.05, 3.5), ylim=(0.4, 20.5))
    axes.axis("off")
    for name, (x, y) in PLACES.items():
        box = {"boxstyle": "round,pad=0.35", "fc": "#eef4f4", "ec": "#4a8f8f"}
        axes.text(x, y, name, ha="center", va="center", fontsize=9, bbox=box, zorder=3)
    for edge in edges:
        _draw_edge(axes, edge)
    return as_png(figure)


def _draw_edge(axes: Axes, edge: Row) -> None:
    """From the left end of one name to the right end of another."""
    (right, y0), (left, y1) = PLACES[edge["start"]], PLACES[edge["end"]]
    x0, x1 = right - 0.06 - 0.0138 * len(edge["start"]), left + 0.07 + 0.0138 * len(edge["end"])
    second = edge["setting"].startswith("whole passes")  # two edges join these methods
    arrow = {"arrowstyle": "->", "color": "#3b4656" if edge["holds"] else "#c0392b", "shrinkA": 0, "shrinkB": 0}
    arrow |= {"linestyle": "--" if edge["edge"] == "limit" else "-", "connectionstyle": f"arc3,rad={-0.25 * second}"}
    axes.annotate("", (x1, y1), (x0, y0), arrowprops=arrow, zorder=1)
    at = 0.7 if edge["end"] == "cotraining" else 0.5
    x, y = at * x0 + (1 - at) * x1, at * y0 + (1 - at) * y1 - 0.4 * second
    box = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.85}
    axes.text(x, y, _lines(edge["setting"]), ha="center", va="center", fontsize=7.5, bbox=box, zorder=2)


def _lines(setting: str) -> str:
    """A setting in lines of about 15 letters, none of which begins or ends at a sign.

    >>> _lines("drop = 1, scale = 0").split("\\n")
    ['drop\\xa0=\\xa01,', 'scale\\xa0=\\xa00']
    """
    return fill(re.sub(r" (=|->) ", "\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}", setting), 15, break_long_words=False)
