"""`cotrain diagnose`: which regime each layer of each checkpoint is in, from files of features."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..measures.features import Features
from ..measures.layer import diagnosis
from ..measures.sides import Side
from .diagnosis_report import Layer, print_table, write_html, write_png
from .embedding import Embedding, embeddings

SUFFIXES = (".npy", ".npz", ".pt", ".pth")


def diagnose(
    target: Annotated[list[Path], typer.Option(help="Features of the target domain; repeat for more checkpoints.")],
    source: Annotated[list[Path], typer.Option(help="Features of the source domain, one file for each target.")],
    ratio: Annotated[
        list[float] | None,
        typer.Option(help="Share of target each checkpoint was trained with; read off names if left."),
    ] = None,
    layer: Annotated[list[str] | None, typer.Option(help="Layers to look at; all if left.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for diagnosis.html, .png and .json ['diagnosis'; none with --json].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to stdout.")] = False,
    rows: Annotated[int, typer.Option(help="Distances are measured between halves of at most this many rows.")] = 1024,
    repeats: Annotated[int, typer.Option(help="Halvings that distances are averaged over.")] = 5,
    neighbours: Annotated[int, typer.Option(help="Neighbours that mixing looks at.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
) -> None:
    """Say for every layer whether sim and real are disjoint, structured or overlapping.

    Files: .npy (one layer), .npz or .pt (a layer per name).  The names `groups` or `episodes` hold the episode of each
    row; without them frames of one episode are taken for independent.  A folder stands for the files in it.
    """
    options = {"rows": rows, "repeats": repeats, "neighbours": neighbours, "seed": seed}
    try:
        pairs = _pairs(_files(target), _files(source))
        ratios = _ratios([name for name, _, _ in pairs], ratio)
    except ValueError as problem:
        _say(str(problem))
        raise typer.Exit(2) from None
    folder = out or (None if as_json else Path("diagnosis"))
    layers = list(_diagnosed(pairs, ratios, layer or [], options, pictures=folder is not None))
    found = as_nested(layers)
    if as_json:
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        print_table(layers)
    if folder is not None:
        _write(layers, found, folder)
    for each in layers:
        if each.error:
            _say(f"{each.title}: {each.error}")
    if any(each.error for each in layers):
        raise typer.Exit(1)


def as_nested(layers: Sequence[Layer]) -> Any:
    """{checkpoint: {layer: {...}}}; a level with a single entry is left out."""
    found: dict[str, dict[str, Any]] = {}
    for layer in layers:
        plain: dict[str, Any] = {"error": layer.error} if layer.diagnosis is None else layer.diagnosis.as_dict()
        if layer.ratio is not None:
            plain["ratio"] = layer.ratio
        found.setdefault(layer.checkpoint, {})[layer.name] = plain
    by_checkpoint = {name: next(iter(x.values())) if len(x) == 1 else x for name, x in found.items()}
    return next(iter(by_checkpoint.values())) if len(by_checkpoint) == 1 else by_checkpoint


def _diagnosed(
    pairs: Sequence[tuple[str, Path, Path]],
    ratios: Sequence[float | None],
    wanted: Sequence[str],
    options: dict[str, int],
    *,
    pictures: bool,
) -> Any:
    """A `Layer` for every layer of every pair of files; a bad one holds its error."""
    from rich.console import Console
    from rich.progress import Progress

    several = len(pairs) > 1
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("files", total=len(pairs))
        for (name, target, source), ratio in zip(pairs, ratios, strict=True):
            checkpoint = name if several else ""
            try:
                s, t = Features.read(source), Features.read(target)
                names = _common(s, t, wanted, source, target)
            except ValueError as problem:
                yield Layer(checkpoint or name, "file", ratio, error=str(problem))
                names = []
            for key in names:
                progress.update(task, description=f"{name} {key}")
                yield _one(checkpoint, key, ratio, s, t, options, pictures)
            progress.advance(task)


def _one(
    checkpoint: str, name: str, ratio: float | None, s: Features, t: Features, options: dict[str, int], pictures: bool
) -> Layer:
    try:
        for side in (s, t):
            if isinstance(side.layers.get(name), Exception):
                raise side.layers[name]
        groups = {"source_groups": s.groups, "target_groups": t.groups}
        found = diagnosis(s.layers[name], t.layers[name], **groups, **options)
    except (ValueError, TypeError) as problem:
        return Layer(checkpoint, name, ratio, error=str(problem))
    return Layer(checkpoint, name, ratio, found, embeddings=_pictures(s, t, name) if pictures else ())


def _pictures(s: Features, t: Features, name: str) -> tuple[Embedding, ...]:
    source, target = Side.of("source", s.layers[name]), Side.of("target", t.layers[name])
    return embeddings(source, target) if source.features.shape[1] == target.features.shape[1] else ()


def _common(s: Features, t: Features, wanted: Sequence[str], source: Path, target: Path) -> list[str]:
    """The layers both files hold, or those asked for."""
    both = [name for name in t.layers if name in s.layers]
    if not both and len(s.layers) == len(t.layers) == 1:
        (only,), (other,) = s.layers, t.layers
        s.layers[other] = s.layers.pop(only)
        both = [other]
    missing = [name for name in wanted if name not in both]
    if missing or not both:
        raise ValueError(
            f"a layer is compared under one name in both files, got {', '.join(s.layers)} in {source.name} and "
            f"{', '.join(t.layers)} in {target.name}{', but not ' + ', '.join(missing) if missing else ''}."
        )
    for name in (set(s.layers) | set(t.layers)) - set(both):
        _say(f"{name} is in one of {source.name} and {target.name} only and was left out.")
    return list(wanted) or both


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found += sorted(p for p in path.iterdir() if p.suffix in SUFFIXES) if path.is_dir() else [path]
    return found


def _pairs(targets: Sequence[Path], sources: Sequence[Path]) -> list[tuple[str, Path, Path]]:
    """(checkpoint, target file, source file), in the order given."""
    if len(targets) != len(sources) or not targets:
        raise ValueError(
            f"every checkpoint has a file of target and one of source features, got {len(targets)} target and "
            f"{len(sources)} source files. Repeat --target and --source in the same order."
        )
    names = [path.stem for path in targets]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}/{path.stem}" for path in targets]
    if len(set(names)) < len(names):
        names = [str(path) for path in targets]
    return list(zip(names, targets, sources, strict=True))


def _ratios(names: Sequence[str], given: Sequence[float] | None) -> list[float | None]:
    if given:
        if len(given) != len(names) or not all(0 <= r <= 1 for r in given):
            raise ValueError(
                f"ratio is the share of target samples in [0, 1], one for each of the {len(names)} checkpoints, got "
                f"{', '.join(map(str, given))}."
            )
        return list(given)
    matches = [re.search(r"(?:^|[^a-z])(?:w|ratio)[_=-]?([01]?\.\d+|[01])(?![\d.])", name.lower()) for name in names]
    return [float(m.group(1)) if m and float(m.group(1)) <= 1 else None for m in matches]


def _write(layers: Sequence[Layer], found: Any, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "diagnosis.json").write_text(json.dumps(found, indent=2, allow_nan=False), encoding="utf-8")
    write_png(layers, folder / "diagnosis.png")
    write_html(layers, folder / "diagnosis.html", " ".join(["cotrain", *sys.argv[1:]]))
    _say(f"wrote {folder / 'diagnosis.html'}, diagnosis.png and diagnosis.json")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
