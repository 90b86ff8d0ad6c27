"""Does what a user can measure follow what no user can see?  The path error against success on the unseen side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from cotrain_losses.cli.report import COLOURS

from ..style import GRID, percent
from .claims import related
from .findings import Result
from .recipe import arm_of
from .tables import interval


def over_path_error(results: Sequence[Result]) -> tuple[str, str, Figure]:
    """A trained policy a point, its colour and mark those of its arm."""
    plot, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    results = [(cell, row) for cell, row in results if row["path_error"] is not None]  # a policy that diverged has none
    named = [(arm_of(cell), row) for cell, row in results]
    for arm, colour, mark in zip(
        dict.fromkeys(arm for arm, _ in named), cycle(COLOURS), cycle("o^sDvP*X"), strict=False
    ):
        points = [(row["path_error"], row["unseen"]) for name, row in named if name == arm]
        axes.plot(*zip(*points, strict=True), mark, color=colour, markersize=5, alpha=0.8, label=arm)
    axes.set(xlabel="path error on target frames from everywhere (cm)", ylabel="success on the unseen side")
    axes.set_ylim(-0.03, 1.03)
    percent(axes.yaxis)
    axes.grid(color=GRID)
    plot.legend(loc="outside right upper", frameon=False, fontsize=8)
    correlation = related([(cell, {**row, "success": row["unseen"]}) for cell, row in results], of="path_error")
    found = "" if correlation is None else f" r = {interval(correlation)}, 95 % bootstrap interval over pairs."
    caption = (
        "Path error (where a policy's commands would take the hand, against where the expert's hand went) and success "
        f"where the target has no demonstrations: a trained policy a point (n = {len(results)}).{found}"
    )
    return "criterion", caption, plot
