"""Features of trained policies in space: domains by colour and mark, sides of the table by shade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from cotrain_losses.cli.report import SOURCE, TARGET

from ..style import bare_space
from .findings import Result, select
from .plans import arm, place

LIGHT = {SOURCE: "#9ec5e8", TARGET: "#f5c08a"}
"""a domain's colour on the unseen side"""


def latents(results: Sequence[Result]) -> tuple[str, str, Figure] | None:
    """Features of the first pair, a row a task and gap, a column an arm; where sides are told apart, each its mark."""
    first = min(c.seed for c, _ in results)
    some = {(place(c), arm(c)): row for c, row in reversed(select(results, seed=first)) if "picture" in row}
    if not some:
        return None
    rows, columns = ([*dict.fromkeys(name(c) for c, _ in results if c.seed == first)] for name in (place, arm))
    plot = plt.figure(figsize=(1.9 * len(columns), 2.1 * len(rows)))
    for k, both in enumerate(product(rows, columns), 1):
        if both in some:
            axes = plot.add_subplot(len(rows), len(columns), k, projection="3d")
            _cloud(axes, some[both]["picture"]["features"])
            axes.set_title("\n".join(both), fontsize=7)
    plot.subplots_adjust(left=0, right=1, bottom=0, top=0.93, wspace=0, hspace=0.16)
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
            axes.scatter(*z[side].T, s=4, color=shade, marker=mark, alpha=0.7, linewidths=0)
    bare_space(axes, 0.4)
