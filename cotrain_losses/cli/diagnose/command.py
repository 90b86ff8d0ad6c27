"""Files in; a table, JSON, or a page with figures out.  What fails is named and the rest kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ...datasets.names import shown
from ...measures.features import Features
from ...measures.layer import diagnosis
from ...measures.sides import Side
from ..report import check_writable
from .files import Checkpoint, checkpoints, common_layers
from .layer import Layer, embeddings
from .page import html, text


def diagnose(
    target: Annotated[list[Path], typer.Option(help="Features of the target domain; repeat for more checkpoints.")],
    source: Annotated[list[Path], typer.Option(help="Features of the source domain, one file for each target.")],
    ratio: Annotated[list[float] | None, typer.Option(help="Share of target per checkpoint; else from names.")] = None,
    layer: Annotated[list[str] | None, typer.Option(help="Layer to diagnose; repeat for more [all].")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the page ['diagnosis'; none with --json].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to stdout.")] = False,
    rows: Annotated[int, typer.Option(min=2, help="Largest halves that distances are measured between.")] = 1024,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Halvings that distances are averaged over.")] = 5,
    neighbours: Annotated[int, typer.Option(min=1, help="Neighbours that the measure of mixing counts.")] = 10,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of every draw.")] = 0,
) -> None:
    """Say for every layer whether sim and real are disjoint, structured or overlapping.

    Files: .npy (one layer), .npz or .pt (a layer per name).  The names `groups` or `episodes` hold the episode of each
    row; without them frames of one episode are taken for independent.  A folder stands for the files in it.
    """
    options = {"rows": rows, "repeats": repeats, "neighbours": neighbours, "seed": seed}
    folder = out or (None if as_json else Path("diagnosis"))
    try:
        given = checkpoints(source, target, ratio)
        check_writable(folder)
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    layers = list[Layer]()
    for each in _layers(given, layer or [], options, pictures=folder is not None):
        layers.append(each)
        _keep(layers, folder)  # what follows may fail, or be interrupted
    numbers = as_nested(layers)
    if as_json:
        print(json.dumps(numbers, indent=2, allow_nan=False))
    else:
        text(layers)
    if folder is not None:
        _draw(layers, folder)
    for each in layers:
        if each.error:
            typer.echo(f"{each.title}: {each.error}", err=True)
    if any(each.error for each in layers):
        raise typer.Exit(1)


def as_nested(layers: Sequence[Layer]) -> Any:
    """{checkpoint: {layer: {...}}}; a level with a single entry is left out."""
    nested: dict[str, dict[str, Any]] = {}
    for layer in layers:
        numbers: dict[str, Any] = {"error": layer.error} if layer.diagnosis is None else layer.diagnosis.as_dict()
        if layer.ratio is not None:
            numbers["ratio"] = layer.ratio
        nested.setdefault(layer.checkpoint, {})[layer.name] = numbers
    by_checkpoint = {name: next(iter(x.values())) if len(x) == 1 else x for name, x in nested.items()}
    return next(iter(by_checkpoint.values())) if len(by_checkpoint) == 1 else by_checkpoint


def _layers(
    given: Sequence[Checkpoint], wanted: Sequence[str], options: dict[str, int], *, pictures: bool
) -> Iterator[Layer]:
    """A `Layer` for every layer of every checkpoint; a bad one holds its error."""
    from rich.markup import escape

    from ..progress import progress

    with progress(transient=True) as bars:
        task, total = bars.add_task("layers", total=len(given)), len(given)
        for each in given:
            title = each.name if len(given) > 1 else ""
            try:
                source, target = Features.read(each.source), Features.read(each.target)
                names, told = common_layers(source, target, wanted, each)
            except ValueError as error:
                yield Layer(title or each.name, "file", each.ratio, error=str(error))
                names, told = [], []
            for sentence in told:
                typer.echo(sentence, err=True)
            total += len(names) - 1
            bars.update(task, total=total)
            for name in names:
                bars.update(task, description=escape(shown(f"{each.name} {name}")))
                yield _layer(Layer(title, name, each.ratio), source, target, options, pictures)
                bars.advance(task)


def _layer(layer: Layer, source: Features, target: Features, options: dict[str, int], pictures: bool) -> Layer:
    """The layer with its diagnosis, or with the sentence that says why there is none."""
    try:
        s, t = (side.layer(layer.name) for side in (source, target))
        measured = diagnosis(s, t, source_groups=source.groups, target_groups=target.groups, **options)
        drawn = embeddings(Side.of("source", s), Side.of("target", t)) if pictures else ()
    except (ValueError, TypeError, RuntimeError, ArithmeticError, MemoryError) as error:
        return replace(layer, error=str(error) or type(error).__name__)
    return replace(layer, diagnosis=measured, embeddings=drawn)


def _keep(layers: Sequence[Layer], folder: Path | None) -> None:
    """The numbers of the layers so far, in place of those before."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(as_nested(layers), indent=2, allow_nan=False)
        (folder / "diagnosis.json").write_text(text, encoding="utf-8")


def _draw(layers: Sequence[Layer], folder: Path) -> None:
    from .figures import figure

    figure(layers).savefig(folder / "diagnosis.png", dpi=150)
    (folder / "diagnosis.html").write_text(
        html(layers, shown(" ".join(["cotrain", *sys.argv[1:]]), 10_000)), encoding="utf-8"
    )
    typer.echo(f"wrote {folder / 'diagnosis.html'}, diagnosis.png and diagnosis.json", err=True)
