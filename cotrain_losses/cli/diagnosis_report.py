"""What a diagnosis looks like: a table for the terminal, one figure, one self-contained page.

The figure follows the paper's: embeddings coloured by domain (principal components), distance and readability over
layers, and over the mixing ratio where checkpoints differ in it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..measures.layer import Diagnosis
from .embedding import Embedding

SOURCE, TARGET = "#0072B2", "#D55E00"
SHORT = ("regime", "W debiased", "x split-half", "u", "mixing", "probe")
HEADINGS = ("regime", "W debiased", "u", "probe", "W", "x split-half", "SW", "GW", "mixing", "MMD p", "linear")


@dataclass(frozen=True)
class Layer:
    """One layer of one checkpoint: its diagnosis, or the sentence that says why there is none."""

    checkpoint: str
    name: str
    ratio: float | None = None
    diagnosis: Diagnosis | None = None
    error: str | None = None
    embeddings: tuple[Embedding, ...] = ()

    @property
    def title(self) -> str:
        """Checkpoint and layer in a line."""
        return f"{self.checkpoint} · {self.name}" if self.checkpoint else self.name

    @property
    def regime(self) -> str:
        """The regime's name, or a dash."""
        return self.diagnosis.regime.name if self.diagnosis and self.diagnosis.regime else "-"

    @property
    def transport(self) -> float | None:
        """The debiased Wasserstein distance in units of the pooled spread."""
        found = self.diagnosis.distances.get("wasserstein") if self.diagnosis else None
        return None if found is None else found.debiased

    @property
    def accuracy(self) -> float | None:
        """The probe's held-out accuracy."""
        return self.diagnosis.probe.accuracy if self.diagnosis and self.diagnosis.probe else None

    def cells(self) -> list[str]:
        """The row of the table under HEADINGS."""
        d = self.diagnosis
        if d is None:
            return ["failed"] + ["-"] * (len(HEADINGS) - 1)
        w, sliced, gromov = (d.distances.get(n) for n in ("wasserstein", "sliced_wasserstein", "gromov_wasserstein"))
        between = () if d.regime is None else d.regime.between
        return [
            self.regime if len(between) < 2 else f"{self.regime}: {_or(between)}",
            "-" if w is None else _with_interval(w.debiased, w.debiased_interval),
            "-" if d.regime is None else f"{d.regime.distance[0]:.2f}",
            "-" if d.probe is None else _with_interval(d.probe.accuracy, d.probe.interval),
            "-" if w is None else f"{w.value:.3f} ± {w.standard_error:.3f}",
            "-" if w is None else f"{w.multiple:.2f}",
            "-" if sliced is None else f"{sliced.value:.3f}",
            "-" if gromov is None else f"{gromov.value:.3f}",
            "-" if d.mixing is None else f"{d.mixing:.2f}",
            "-" if d.kernel is None else f"{d.kernel.p_value:.3f}",
            "-" if d.linear_probe is None else f"{d.linear_probe.accuracy:.3f}",
        ]


def print_table(layers: Sequence[Layer]) -> None:
    """The table, then what the regimes suggest, then what could not be measured."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(
        caption="W in pooled spreads, u in pair distances of the target; every number is in the HTML and JSON"
    )
    for heading in ("layer", *SHORT):
        table.add_column(heading, overflow="fold")
    for layer in layers:
        cells = dict(zip(HEADINGS, layer.cells(), strict=True)) | {
            "regime": layer.regime if not layer.error else "failed"
        }
        table.add_row(layer.title, *(cells[heading] for heading in SHORT))
    console.print(table)
    for layer in layers:
        if layer.diagnosis and layer.diagnosis.regime:
            regime = layer.diagnosis.regime
            console.print(
                f"[bold]{layer.title}: {regime.name}[/bold]. {regime.because}.\n  {regime.found}\n  {regime.next}"
            )
    for note, where in notes(layers).items():
        console.print(f"[yellow]{', '.join(where)}[/yellow]: {note}", highlight=False)


def notes(layers: Sequence[Layer]) -> dict[str, list[str]]:
    """Each thing that was not measured or not certain, with the layers it was said of."""
    said: dict[str, list[str]] = {}
    for layer in layers:
        for note in [layer.error] if layer.error else layer.diagnosis.notes if layer.diagnosis else []:
            said.setdefault(note, []).append(layer.title)
    return said


def write_png(layers: Sequence[Layer], path: Path) -> None:
    """Curves on top, embeddings below."""
    figure = _figure(layers)
    figure.savefig(path, dpi=150, format="png")


def write_html(layers: Sequence[Layer], path: Path, command: str) -> None:
    """One page with every number, figure and sentence inside it."""
    from jinja2 import Environment

    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(PAGE)
    page = template.render(
        layers=layers,
        headings=HEADINGS,
        curves=_base64(_curves(layers)) if _plotted(layers) else None,
        pictures={layer.title: _base64(_portraits(layer)) for layer in layers if layer.embeddings},
        notes=notes(layers),
        command=command,
    )
    path.write_text(page, encoding="utf-8")


def _figure(layers: Sequence[Layer]) -> Any:
    from matplotlib.figure import Figure

    shown = [layer for layer in layers if layer.embeddings][:12]
    columns = min(4, max(len(shown), 2))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.0 + 3.1 * rows), layout="constrained")
    if not shown:
        _draw_curves(figure, layers)
        return figure
    parts: Any = figure.subfigures(2, 1, height_ratios=[3.0, 3.1 * rows])
    top, below = parts
    _draw_curves(top, layers)
    for i, layer in enumerate(shown):
        axes = below.add_subplot(rows, columns, i + 1)
        _scatter(axes, layer.embeddings[0], 2)
        axes.set_title(f"{layer.title}\n{layer.regime}", fontsize=9)
        if i == 0:
            axes.legend(fontsize=8, loc="best", markerscale=3)
    return figure


def _curves(layers: Sequence[Layer]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    _draw_curves(figure, layers)
    return figure


def _draw_curves(figure: Any, layers: Sequence[Layer]) -> None:
    """Distance and accuracy over the ratio where there are several, else over layers."""
    left, right = figure.subplots(1, 2)
    ratios = {layer.ratio for layer in layers if layer.ratio is not None}
    over_ratio = len(ratios) > 1
    for axes, what, label in (
        (left, "transport", "Wasserstein, debiased (spreads)"),
        (right, "accuracy", "probe accuracy"),
    ):
        (_over_ratio if over_ratio else _over_layers)(axes, layers, what)
        axes.set_ylabel(label)
        axes.set_xlabel("mixing ratio w (share of target)" if over_ratio else "layer")
        axes.grid(alpha=0.3)
    left.set_ylim(bottom=0)
    right.axhline(0.5, color="grey", lw=1, ls=":")
    right.set_ylim(0.4, 1.03)
    if left.get_legend_handles_labels()[0]:
        left.legend(fontsize=8)


def _colours(names: Iterable[str]) -> list[tuple[str, Any]]:
    """A colour for each name, none of them a domain's."""
    from matplotlib import colormaps

    distinct = list(dict.fromkeys(names))
    return [(name, colormaps["viridis"](0.9 * i / max(len(distinct) - 1, 1))) for i, name in enumerate(distinct)]


def _over_ratio(axes: Any, layers: Sequence[Layer], what: str) -> None:
    from matplotlib.ticker import ScalarFormatter

    for name, colour in _colours(layer.name for layer in layers):
        points = [(x.ratio, getattr(x, what)) for x in layers if x.name == name and x.ratio is not None]
        points = sorted(p for p in points if p[1] is not None)
        axes.plot(*zip(*points, strict=True), "o-", color=colour, label=name) if points else None
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_xticks(sorted({x.ratio for x in layers if x.ratio is not None}))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.tick_params(axis="x", labelrotation=60, labelsize=8)


def _over_layers(axes: Any, layers: Sequence[Layer], what: str) -> None:
    names = list(dict.fromkeys(layer.name for layer in layers))
    for checkpoint, colour in _colours(layer.checkpoint for layer in layers):
        points = [(names.index(x.name), getattr(x, what)) for x in layers if x.checkpoint == checkpoint]
        points = [p for p in points if p[1] is not None]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", color=colour, label=checkpoint or None)
    axes.set_xticks(range(len(names)), names, rotation=30 if max(map(len, names)) > 8 else 0, fontsize=8)
    axes.set_xlim(-0.5, len(names) - 0.5)


def _portraits(layer: Layer) -> Any:
    """2-D and 3-D views of every embedding of a layer, side by side."""
    from matplotlib.figure import Figure

    views = [(e, k) for e in layer.embeddings for k in (2, 3)]
    figure = Figure(figsize=(3.6 * len(views), 3.5), layout="constrained")
    for i, (embedding, dimensions) in enumerate(views):
        axes = figure.add_subplot(1, len(views), i + 1, projection="3d" if dimensions == 3 else None)
        _scatter(axes, embedding, dimensions)
        axes.set_title(f"{embedding.method}, {dimensions}-D", fontsize=9)
        if i == 0:
            axes.legend(fontsize=8, markerscale=3)
    return figure


def _scatter(axes: Any, embedding: Embedding, dimensions: int) -> None:
    points: Tensor = embedding.points(dimensions)
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    colours = [TARGET if t else SOURCE for t in embedding.is_target[order].tolist()]
    axes.scatter(*points[order].T.tolist(), c=colours, s=4, alpha=0.5, linewidths=0)
    for name, colour in (("source", SOURCE), ("target", TARGET)):
        axes.scatter(*[[] for _ in range(dimensions)], c=colour, s=4, label=name)
    axes.tick_params(labelbottom=False, labelleft=False, length=0)
    if dimensions == 3:
        axes.tick_params(labelright=False)
        axes.set_zticklabels([])


def _plotted(layers: Sequence[Layer]) -> bool:
    return any(layer.transport is not None or layer.accuracy is not None for layer in layers)


def _base64(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return base64.b64encode(buffer.getvalue()).decode()


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _or(names: Sequence[str]) -> str:
    return " or ".join(names)


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Co-training diagnosis</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}
th,td{border-bottom:1px solid #ddd;padding:.3rem .6rem;text-align:right;white-space:nowrap}
th:first-child,td:first-child,td:last-child{text-align:left}
img{max-width:100%} section{margin:2rem 0;border-top:1px solid #ddd} code{background:#f4f4f4;padding:.1rem .3rem}
.source{color:#0072B2}.target{color:#D55E00}
</style></head><body>
<h1>Co-training diagnosis</h1>
<p>Structured alignment is close, yet distinguishable: <span class="source">source</span> and
<span class="target">target</span> features near one another, with the domain still readable.</p>
<table><tr><th>layer</th>{% for h in headings %}<th>{{ h }}</th>{% endfor %}</tr>
{% for layer in layers %}
<tr><td>{{ layer.title }}</td>{% for cell in layer.cells() %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
<p>W, SW, GW: Wasserstein, sliced and Gromov-Wasserstein distance in units of the pooled spread, between halves of the
domains; "x split-half" is W over the distance of the target's halves from one another; u is the debiased W over the
distance of two target samples; mixing is the share of cross-domain neighbours against perfect mixing; probe and linear
are held-out accuracies, 95 % intervals in brackets.</p>
{% if curves %}<img alt="distance and accuracy" src="data:image/png;base64,{{ curves }}">{% endif %}
{% for layer in layers %}{% if layer.diagnosis %}<section><h2>{{ layer.title }}: {{ layer.regime }}</h2>
{% if layer.diagnosis.regime %}<p>{{ layer.diagnosis.regime.because }}.</p>
<p>{{ layer.diagnosis.regime.found }}</p><p><b>Next:</b> {{ layer.diagnosis.regime.next }}</p>{% endif %}
{% if layer.title in pictures %}<img alt="embedding of {{ layer.title }}"
 src="data:image/png;base64,{{ pictures[layer.title] }}">{% endif %}</section>
{% endif %}{% endfor %}
{% if notes %}<section><h2>Not measured, or not certain</h2><ul>
{% for note, where in notes.items() %}<li><b>{{ where | join(', ') }}</b>: {{ note }}</li>{% endfor %}
</ul></section>{% endif %}
<p><code>{{ command }}</code></p>
</body></html>
"""
