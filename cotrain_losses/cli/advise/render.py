"""The report as text, as a figure, and as one page that needs no other file."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Console, RenderableType

Report = dict[str, Any]
Cells = list[list[str]]

_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#555555")


def tables(found: Report) -> list[tuple[str, list[str], Cells]]:
    """(title, columns, rows) of every table, as text: what the console and the page both show."""
    ratio = found["ratio"]
    guideline = [[f"{ratio[k]:.4f}" for k in ("natural", "lower", "upper", "crossing")]]
    out = [
        ("Datasets", ["role", "name", "format", "episodes", "frames", "frames per episode"], _datasets(found)),
        ("Ratio (share of target samples)", ["natural", "search from", "to", "crossing"], guideline),
        (
            f"Batches of {found['settings']['batch_size']}",
            ["ratio", "target rows", *_batch_titles(found), "batches per epoch", "target passes"],
            [_batch(b) for b in found["batches"]],
        ),
    ]
    for what in ("action", "state"):
        if rows := found[f"{what}_shift"]:
            columns = [
                "source",
                what,
                "target mean",
                "std",
                "source mean",
                "std",
                "pooled mean",
                "std",
                "shift",
                "scale",
            ]
            out.append((f"{what.capitalize()}s: target against source", columns, [_shift(r) for r in rows]))
    if ratio := found["density_ratio"]:
        cells = [[ratio["on"], f"{ratio['ess']:.0f} of {ratio['samples']}", f"{ratio['told_apart']:.0%}"]]
        out.append(("Density ratio", ["on", "effective source samples", "domains told apart"], cells))
    return out


def text(found: Report, console: Console) -> None:
    """Print the report."""
    from rich.table import Table

    for title, columns, rows in tables(found):
        table = Table(title=title, title_justify="left", title_style="bold")
        for column in columns:
            table.add_column(column, justify="left" if column in _WORDS else "right", overflow="fold")
        for row in rows[:40]:
            table.add_row(*row)
        console.print(table)
        if len(rows) > 40:
            console.print(f"  ... and {len(rows) - 40} more; --json and --out show all")
    console.print(_advice(found))


def figure(found: Report, path: Path) -> Path:
    """Four panels as PNG: contribution, overlap, shifts, and the ratio's range."""
    from matplotlib.figure import Figure  # not pyplot: no window system is asked for

    canvas = Figure(figsize=(11, 8), layout="constrained")
    axes = canvas.subplots(2, 2)
    _contribution(axes[0, 0], found)
    _overlap(axes[0, 1], found)
    _shifts(axes[1, 0], found)
    _range(axes[1, 1], found)
    canvas.savefig(path, dpi=120)
    return path


def page(found: Report, png: Path, path: Path) -> Path:
    """One HTML file with the figure inside it."""
    from jinja2 import Environment

    image = base64.b64encode(png.read_bytes()).decode()
    template = Environment(autoescape=True).from_string(_PAGE)
    path.write_text(template.render(advice=found["advice"], tables=tables(found), image=image), encoding="utf-8")
    return path


_WORDS = {"role", "name", "format", "source", "action", "state", "on"}


def _datasets(found: Report) -> Cells:
    rows = []
    for d in found["datasets"]:
        span = f"{d['episode_frames']['min']} to {d['episode_frames']['max']}"
        rows.append([d["role"], d["name"], d["format"], str(d["episodes"]), str(d["frames"]), span])
    return rows


def _batch_titles(found: Report) -> list[str]:
    enough = found["settings"]["enough"]
    return [f"under {enough}, drawn independently", f"under {enough}, MixedBatchSampler"]


def _batch(b: Report) -> list[str]:
    shares = [f"{b['too_few_independent']:.1%}", f"{b['too_few_exact']:.1%}"]
    return [f"{b['ratio']:.4g}", f"{b['rows']:.2f}", *shares, str(b["batches_per_epoch"]), f"{b['target_passes']:.1f}"]


def _shift(r: Report) -> list[str]:
    moments = [r[f"{side}_{part}"] for side in ("target", "source", "pooled") for part in ("mean", "std")]
    return [r["source"], r["name"], *("-" if x is None else f"{x:.3g}" for x in (*moments, r["shift"], r["scale"]))]


def _advice(found: Report) -> RenderableType:
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts: list[RenderableType] = [Text("Advice", style="bold")]
    for number, item in enumerate(found["advice"], 1):
        parts += [Text(f"{number}. {item['do']}"), Padding(Text(item["because"], style="dim"), (0, 0, 0, 3))]
    return Group(*parts)


def _contribution(axes: Axes, found: Report) -> None:
    noise = found["contribution"]["noise"]
    for colour, curve in zip(_COLOURS * 3, found["contribution"]["curves"], strict=False):
        axes.plot(noise, curve["share"], color=colour, label=f"w = {curve['ratio']:.3g}")
    axes.set(title="The target's share of the optimal score", xlabel="noise x", ylabel="share at target actions")
    axes.set_ylim(-0.02, 1.02)
    axes.legend(frameon=False, fontsize=8)


def _overlap(axes: Axes, found: Report) -> None:
    axes.plot(found["overlap"]["noise"], found["overlap"]["bhattacharyya"], color=_COLOURS[0])
    axes.set(title="Overlap of noised actions", xlabel="noise x", ylabel="Bhattacharyya coefficient")
    axes.set_ylim(-0.02, 1.02)


def _shifts(axes: Axes, found: Report) -> None:
    rows = [r for r in found["action_shift"] if r["shift"] is not None]
    rows = sorted(rows, key=lambda r: -abs(r["shift"]))[:20][::-1]
    many = len({r["source"] for r in rows}) > 1
    labels = [f"{r['name']} ({r['source']})" if many else r["name"] for r in rows]
    axes.barh(range(len(rows)), [r["shift"] for r in rows], color=_COLOURS[0])
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(title="Shift of action means", xlabel="source - target, in deviations")


def _range(axes: Axes, found: Report) -> None:
    n = found["datasets"][0]["frames"]
    rho = n / sum(d["frames"] for d in found["datasets"][1:])
    ratio = found["ratio"]
    w = [10 ** (-4 + 4 * k / 200) for k in range(200)]
    axes.plot(w, [(x / rho) / (x / rho + 1 - x) for x in w], color=_COLOURS[0], label="g of one target frame")
    axes.axvspan(ratio["lower"], ratio["upper"], color=_COLOURS[1], alpha=0.25, label="search range")
    axes.axvline(ratio["crossing"], color=_COLOURS[4], linestyle="--", label="crossing")
    axes.set(title="One target frame against one source frame", xlabel="ratio w", ylabel="contribution", xscale="log")
    axes.set_xlim(max(1e-4, 10 ** math.floor(math.log10(ratio["lower"]) - 0.5)), 1)
    axes.legend(frameon=False, fontsize=8)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>cotrain advise</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: .5rem 0 2rem; font-variant-numeric: tabular-nums; font-size: 13px }
th, td { padding: .2rem .7rem; border-bottom: 1px solid #ddd; text-align: right }
th { background: #f5f5f5 } td:first-child, td:nth-child(2), th:first-child, th:nth-child(2) { text-align: left }
.wide { overflow-x: auto } img { max-width: 100% } li { margin-bottom: .6rem } .why { color: #666 }
</style></head><body>
<h1>Before co-training</h1>
<ol>{% for item in advice %}<li>{{ item.do }}<br><span class="why">{{ item.because }}</span></li>{% endfor %}</ol>
<img alt="contribution, overlap, shifts and ratio range" src="data:image/png;base64,{{ image }}">
{% for title, columns, rows in tables %}<h2>{{ title }}</h2><div class="wide"><table>
<tr>{% for column in columns %}<th>{{ column }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</table></div>{% endfor %}
</body></html>
"""
