"""What a diagnosis looks like: a table on the terminal, and one page that holds every number and figure."""

from __future__ import annotations

from collections.abc import Sequence

from ..report import Code, Figure, Part, Points, Section, Table, Text, as_png, console, page, print_table
from .layer import HEADINGS, Layer

SHORT = ("regime", "W debiased", "x split-half", "u", "mixing", "probe")
LEAD = "A policy transfers best where its features are structured: both domains are close and can be told apart."
CURVES = (
    "Left: the debiased Wasserstein distance of the two domains. Right: the accuracy of a probe that reads the domain "
    "from the features of episodes that it has not seen. Bars are 95 % intervals over episodes: {}."
)
EMBEDDED = "{}: {} rows of both domains, projected to two and three dimensions without regard to the domain."
CAPTION = (
    "W, SW, GW: Wasserstein, sliced and Gromov-Wasserstein distance in units of the pooled spread, between halves of "
    'the domains; "x split-half" is W over the distance of the target\'s halves from one another; u is the debiased W '
    "over the distance of two target samples; mixing is the share of cross-domain neighbours against perfect mixing; "
    "probe and linear are held-out accuracies, 95 % intervals in brackets."
)


def text(layers: Sequence[Layer]) -> None:
    """Print the table, then what the regimes suggest, then what could not be measured."""
    from rich.text import Text as Line

    terminal, rows = console(), []
    for layer in layers:
        cells = dict(zip(HEADINGS, layer.cells(), strict=True)) | {"regime": "failed" if layer.error else layer.regime}
        rows.append([layer.title, *(cells[heading] for heading in SHORT)])
    caption = "W in pooled spreads, u in pair distances of the target; every number is in the HTML and JSON"
    print_table(Table(("layer", *SHORT), rows, caption))
    for layer in layers:
        if layer.diagnosis and (regime := layer.diagnosis.regime):
            terminal.print(Line.assemble((f"{layer.title}: {regime.name}", "bold"), f". {_sentence(regime.because)}"))
            terminal.print(Line(f"  {regime.found}\n  {regime.next}"))
    for note, titles in notes(layers).items():
        terminal.print(Line.assemble((", ".join(titles), "yellow"), f": {note}"))


def html(layers: Sequence[Layer], command: str) -> str:
    """The page: numbers, curves, then each layer's sentences and embeddings."""
    from .figures import curves

    first: list[Part] = [Table(("layer", *HEADINGS), [[layer.title, *layer.cells()] for layer in layers], CAPTION)]
    if any(layer.transport is not None or layer.accuracy is not None for layer in layers):
        first.append(Figure(as_png(curves(layers)), CURVES.format(_episodes(layers))))
    sections = [Section("Layers", first), *(_section(layer) for layer in layers if layer.diagnosis)]
    if uncertain := notes(layers):
        points = Points([(note, ", ".join(titles)) for note, titles in uncertain.items()])
        sections.append(Section("Not measured, or not certain", [points]))
    return page("Co-training diagnosis", [*sections, Section("Command", [Code(command)])], lead=LEAD)


def notes(layers: Sequence[Layer]) -> dict[str, list[str]]:
    """Each thing that was not measured or not certain, with the layers that it is true of."""
    titles: dict[str, list[str]] = {}
    for layer in layers:
        for note in [layer.error] if layer.error else layer.diagnosis.notes if layer.diagnosis else []:
            titles.setdefault(note, []).append(layer.title)
    return titles


def _episodes(layers: Sequence[Layer]) -> str:
    """On how many episodes of both domains the probes' intervals rest."""
    counts = sorted({x.diagnosis.probe.episodes for x in layers if x.diagnosis and x.diagnosis.probe})
    return f"n = {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))}" if counts else "no probe was fitted"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _section(layer: Layer) -> Section:
    from .figures import views

    parts: list[Part] = []
    if layer.diagnosis and (regime := layer.diagnosis.regime):
        parts += [Text(_sentence(regime.because)), Text(regime.found), Text(f"Next: {regime.next}")]
    if layer.embeddings:
        parts.append(Figure(as_png(views(layer)), EMBEDDED.format(layer.title, len(layer.embeddings[0].is_target))))
    return Section(f"{layer.title}: {layer.regime}", parts)
