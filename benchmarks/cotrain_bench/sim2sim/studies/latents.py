"""Features of trained policies in space: domains by colour and mark, sides of the table by shade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from cotrain_losses.cli.report import SOURCE, TARGET

from ...results import Row
from ..style import bare_space
from .findings import Result, select
from .plans import arm, place

LIGHT = {SOURCE: "#8fc1ea", TARGET: "#f7b26a"}
"""a domain's colour on the unseen side"""
ACROSS = 4
"""panels side by side, so that their titles can be read"""


def latents(results: Sequence[Result]) -> tuple[str, str, Figure] | None:
    """Features of the first pair, a panel an arm, gap by gap; where sides are told apart, each its shade."""
    first = min(c.seed for c, _ in results)
    some: dict[tuple[str, str], Row] = {}
    for c, row in select(results, seed=first):
        if "picture" in row:
            some.setdefault((place(c), arm(c)), row)
    if not some:
        return None
    places, names = ([*dict.fromkeys(key[k] for key in some)] for k in (0, 1))
    across = min(len(names), ACROSS)
    down = -(-len(names) // across)
    plot = plt.figure(figsize=(2.3 * across, 2.5 * down * len(places)))
    for (i, where), (j, name) in product(enumerate(places), enumerate(names)):
        if (where, name) in some:
            k = 1 + across * (i * down + j // across) + j % across
            axes = plot.add_subplot(down * len(places), across, k, projection="3d")
            _cloud(axes, some[where, name]["picture"]["features"])
            axes.set_title(fill(f"{where}: {name}", 32), fontsize=7, y=0.94)
    plot.subplots_adjust(left=0, right=1, bottom=0, top=1 - 0.4 / plot.get_figheight(), wspace=0, hspace=0.16)
    sided = any("unseen" in row["picture"]["features"] for row in some.values())
    marks = ", dark where the target has demonstrations and light where it has none" if sided else ""
    caption = (
        "Features z of the first pair's policies on fresh frames, along their three largest principal components (axes "
        f"of their own): source blue circles, target orange triangles{marks}."
    )
    return "latents", caption, plot


def _cloud(axes: Any, features: Mapping[str, Any]) -> None:
    """Frames of both domains; those of episodes that start on the unseen side are light."""
    for name, colour, mark in (("source", SOURCE, "o"), ("target", TARGET, "^")):
        z = np.asarray(features[name])
        unseen = np.asarray(features["unseen"][name], bool) if "unseen" in features else np.zeros(len(z), bool)
        for side, shade in ((~unseen, colour), (unseen, LIGHT[colour])):
            axes.scatter(*z[side].T, s=7, color=shade, marker=mark, alpha=0.8, linewidths=0)
    bare_space(axes, 0.4)
