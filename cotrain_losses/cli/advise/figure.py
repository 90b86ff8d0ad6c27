"""The advice as one figure of four panels: contribution, overlap, shifts, and the ratio's range."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ...importance import relative_contribution
from ..report import COLOURS

NOISE = "noise level (0: action, 1: noise)"

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figure(report: dict[str, Any]) -> Figure:
    """The four panels."""
    from matplotlib.figure import Figure  # not pyplot: no window system is asked for
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    canvas = Figure(figsize=(10, 8.4), layout=ConstrainedLayoutEngine(h_pad=0.12))
    for axes, panel in zip(canvas.subplots(2, 2).flat, (_contribution, _overlap, _shifts, _range), strict=True):
        panel(axes, report)
    return canvas


def _contribution(axes: Axes, report: dict[str, Any]) -> None:
    for k, (colour, curve) in enumerate(zip(COLOURS * 3, report["contribution"]["curves"], strict=False)):
        marks: dict[str, Any] = {
            "color": colour,
            "marker": "os^Dv"[k % 5],
            "markersize": 4,
            "label": f"ratio {curve['ratio']:.3g}",
        }
        axes.plot(report["contribution"]["noise"], curve["share"], **marks)
    axes.set(title="The target's share of the optimal score", xlabel=NOISE, ylabel="share at target actions")
    axes.set_ylim(-0.02, 1.02)
    axes.legend(frameon=False, fontsize=8)


def _overlap(axes: Axes, report: dict[str, Any]) -> None:
    axes.plot(report["overlap"]["noise"], report["overlap"]["bhattacharyya"], color=COLOURS[0])
    axes.set(title="Overlap of noised actions", xlabel=NOISE, ylabel="overlap (Bhattacharyya, 1: alike)")
    axes.set_ylim(-0.02, 1.02)


def _shifts(axes: Axes, report: dict[str, Any]) -> None:
    rows = [r for r in report["action_shift"] if r["shift"] is not None]
    rows = sorted(rows, key=lambda r: -abs(r["shift"]))[:20][::-1]
    many = len({r["source"] for r in rows}) > 1
    labels = [f"{r['name']} ({r['source']})" if many else r["name"] for r in rows]
    axes.barh(range(len(rows)), [r["shift"] for r in rows], color=COLOURS[0], height=0.6)
    axes.set_ylim(-0.8, max(len(rows), 2) - 0.2)
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(title="Shift of action means", xlabel="source - target (deviations)", ylabel="action dimension")


def _range(axes: Axes, report: dict[str, Any]) -> None:
    target, *sources = (dataset["frames"] for dataset in report["datasets"])
    ratio, w = report["ratio"], [10 ** (-4 + 4 * k / 200) for k in range(200)]
    curve = [relative_contribution(x, source=sum(sources), target=target) for x in w]
    axes.plot(w, curve, color=COLOURS[0], label="one target frame")
    axes.axvspan(ratio["lower"], ratio["upper"], color=COLOURS[1], alpha=0.25, label="search range")
    axes.axvline(ratio["crossing"], color=COLOURS[4], linestyle="--", label="crossing")
    axes.set(title="One target frame against one source frame", xlabel="ratio (share of target)", xscale="log")
    axes.set_ylabel("share of the contribution")
    axes.set_xlim(max(1e-4, 10 ** math.floor(math.log10(ratio["lower"]) - 0.5)), 1)
    axes.legend(frameon=False, fontsize=8)
