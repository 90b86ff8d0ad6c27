"""Which files of features belong together, which layers they share, and at which ratio each was trained."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...datasets.names import shown
from ...measures.features import SUFFIXES, Features


class Checkpoint(NamedTuple):
    """One trained policy's features."""

    name: str
    source: Path
    target: Path
    ratio: float | None


def checkpoints(sources: Sequence[Path], targets: Sequence[Path], ratios: Sequence[float] | None) -> list[Checkpoint]:
    """The checkpoints in the order given; a folder stands for the files in it.  A missing one raises ValueError."""
    if missing := [path for path in (*targets, *sources) if not path.exists()]:
        raise ValueError(f"features are read from files, got {', '.join(map(shown, missing))}, which do not exist.")
    sources, targets = ([file for path in paths for file in _files(path)] for paths in (sources, targets))
    if len(targets) != len(sources) or not targets:
        raise ValueError(
            f"every checkpoint has a file of target and one of source features, got {len(targets)} target and "
            f"{len(sources)} source files. Repeat --target and --source in the same order."
        )
    if same := [target for target, source in zip(targets, sources, strict=True) if target.samefile(source)]:
        raise ValueError(
            f"target and source are files of two domains, got {shown(same[0])} for both. Name one of each."
        )
    names = _names(targets)
    return [Checkpoint(*each) for each in zip(names, sources, targets, _ratios(names, ratios), strict=True)]


def common_layers(
    source: Features, target: Features, wanted: Sequence[str], of: Checkpoint
) -> tuple[list[str], list[str]]:
    """The layers both files hold (their only ones whatever the names) or those asked for; what a user should know."""
    told = list[str]()
    both = [name for name in target.layers if name in source.layers]
    if not both and len(source.layers) == len(target.layers) == 1:
        (only,), both = source.layers, list(target.layers)
        source.layers[both[0]] = source.layers.pop(only)
        if ".npy" not in (of.source.suffix, of.target.suffix):  # which name no layers
            pair = f"{shown(both[0])} of {shown(of.target)} is compared with {shown(only)} of {shown(of.source)}"
            told.append(f"{pair}: the only layers there are, under two names.")
    missing = [name for name in wanted if name not in both]
    if missing or not both:
        raise ValueError(
            f"a layer is compared under one name in both files, got {', '.join(source.layers)} in {of.source.name} and "
            f"{', '.join(target.layers)} in {of.target.name}{', but not ' + ', '.join(missing) if missing else ''}."
        )
    where = f"is in one of {of.target.name} and {of.source.name} only and was left out."
    told += [f"{shown(name)} {where}" for name in sorted({*source.layers, *target.layers} - set(both))]
    return list(wanted) or both, told


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.suffix in SUFFIXES) if path.is_dir() else [path]


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest names that are all different."""
    for name in (lambda p: p.stem, lambda p: f"{p.parent.name}/{p.stem}", str):
        names = [name(path) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _ratios(names: Sequence[str], given: Sequence[float] | None) -> list[float | None]:
    """Those given, or those in the names: "w0.1", "ratio=.3"."""
    if given:
        if len(given) != len(names) or not all(0 <= r <= 1 for r in given):
            raise ValueError(
                f"ratio is the share of target samples in [0, 1], one for each of the {len(names)} checkpoints, got "
                f"{', '.join(map(str, given))}."
            )
        return list(given)
    matches = [re.search(r"(?:^|[^a-z])(?:w|ratio)[_=-]?([01]?\.\d+|[01])(?![\d.])", name.lower()) for name in names]
    return [float(m.group(1)) if m and float(m.group(1)) <= 1 else None for m in matches]
