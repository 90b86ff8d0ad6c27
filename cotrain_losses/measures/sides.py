"""One side of a diagnosis: rows of features and the episodes they come from; halves and samples of it.

Frames of one episode resemble each other, so whatever asks "how far apart are two samples of one domain" or
"does this generalise" must put whole episodes on one side.  Without groups every row is its own episode.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Side:
    """Features (n, d) of one domain, with the episode (n,) of each row as integers 0 .. episodes - 1."""

    features: Tensor
    groups: Tensor
    grouped: bool

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: Tensor) -> Side:
        return replace(self, features=self.features[index], groups=self.groups[index])

    @property
    def episodes(self) -> int:
        """How many independent pieces the rows come in."""
        return numbered(self.groups)[1]

    @classmethod
    def of(cls, name: str, features: Any, groups: Any = None) -> Side:
        """Checked rows on the CPU in float64: (n, ...) is folded to (n, d), groups may be integers or names."""
        x = _real(name, features)
        if len(x) < 2 or x.numel() == 0:
            raise ValueError(
                f"a diagnosis compares two samples of features, got {name} of shape {tuple(x.shape)}. "
                "One sample shows no distribution: collect at least 2 rows a domain, better several hundred."
            )
        x = x.double().flatten(1) if x.ndim > 1 else x.double()[:, None]
        bad = ~torch.isfinite(x).all(1)
        if bad.any():
            raise ValueError(
                f"features are finite, got {int(bad.sum())} rows of {name} with NaN or infinity, the first in row "
                f"{int(bad.nonzero()[0])}. Drop them, or look for the step at which the encoder diverged."
            )
        return cls(x, _episodes(name, groups, len(x)), groups is not None)


def numbered(labels: Tensor) -> tuple[Tensor, int]:
    """Labels (n,) as 0 .. k - 1, and k."""
    values, place = torch.unique(labels, return_inverse=True)
    return place, len(values)


def normalised(x: Tensor) -> Tensor:
    """Rows (n, d) in float32, around their mean and in units of their spread."""
    x = x - x.mean(0)
    return (x / x.square().sum(1).mean().sqrt().clamp_min(1e-300)).float()


def in_units(source: Side, target: Side) -> tuple[Side, Side] | None:
    """Both sides in units of their pooled spread, about their common mean (each about its own where widths differ).

    What is measured then depends on no shift and no scale, from 1e-300 to 1e300.  None where both sides are constant,
    to 1e-12 of their largest number.
    """
    largest = max(float(side.features.abs().max()) for side in (source, target))
    x, y = (side.features / largest if largest > 0 else side.features for side in (source, target))
    means = (x.mean(0), y.mean(0))
    if x.shape[1] == y.shape[1]:
        means = (torch.cat([x, y]).mean(0),) * 2
    x, y = x - means[0], y - means[1]
    unit = ((_squared_spread(x) + _squared_spread(y)) / 2) ** 0.5
    if unit <= 1e-12:
        return None
    return replace(source, features=x / unit), replace(target, features=y / unit)


def _squared_spread(x: Tensor) -> float:
    return float((x - x.mean(0)).square().sum(1).mean())


def subsample(side: Side, rows: int, generator: torch.Generator) -> Side:
    """At most `rows` rows, drawn without replacement, in random order."""
    return side if len(side) <= rows else side[torch.randperm(len(side), generator=generator)[:rows]]


def joined(source: Side, target: Side) -> tuple[Tensor, Tensor, Tensor]:
    """All rows (n + m, d), their domain (1 = target), and their episode, none shared between the domains."""
    domain = torch.arange(len(source) + len(target)) >= len(source)
    episode = torch.cat([source.groups, target.groups + int(source.groups.max()) + 1])
    return torch.cat([source.features, target.features]), domain.long(), episode


def halves(side: Side, generator: torch.Generator) -> tuple[Side, Side]:
    """Two disjoint parts of about equal size, no episode in both; of a single episode, halves of its rows."""
    groups = side.groups if side.episodes > 1 else torch.arange(len(side))
    place, episodes = numbered(groups)
    order, counts = torch.randperm(episodes, generator=generator), place.bincount()
    before = counts[order].cumsum(0) - counts[order]
    first = order[before * 2 < len(side)][: episodes - 1]
    in_first = torch.isin(place, first)
    return side[in_first], side[~in_first]


class Replicate(NamedTuple):
    """Two disjoint halves of each domain, all four of one size."""

    source: tuple[Tensor, Tensor]
    target: tuple[Tensor, Tensor]


def replicates(source: Side, target: Side, *, rows: int, repeats: int, seed: int = 0) -> Iterator[Replicate]:
    """`repeats` random halvings of both domains into parts of at most `rows` rows each."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(repeats):
        parts = [*halves(source, generator), *halves(target, generator)]
        size = min(rows, *(len(part) for part in parts))
        c, d, a, b = (subsample(part, size, generator).features for part in parts)
        yield Replicate((c, d), (a, b))


def _real(name: str, features: Any) -> Tensor:
    """Features as a dense tensor of real numbers in rows, on the CPU."""
    x = features if isinstance(features, Tensor) else np.asarray(features)
    given = f"{name} of shape {tuple(x.shape)} and type {str(x.dtype).removeprefix('torch.')}"
    if isinstance(x, np.ndarray) and x.dtype.kind in "fiu":
        with np.errstate(over="ignore"):  # what is infinite then is refused
            x = torch.from_numpy(x.astype(np.float64))
    if not isinstance(x, Tensor) or x.is_complex() or x.is_quantized or x.dtype == torch.bool or x.ndim == 0:
        raise TypeError(f"features are real numbers, one row per sample, got {given}. Pass (samples, width).")
    if x.layout != torch.strided or x.is_meta:
        raise TypeError(
            f"features are dense and hold values, got {given}, {x.layout} on {x.device}. Save x.to_dense()."
        )
    return x.detach().cpu()


def _episodes(name: str, groups: Any, rows: int) -> Tensor:
    if groups is None:
        return torch.arange(rows)
    labels = np.asarray(groups.detach().cpu() if isinstance(groups, Tensor) else groups)
    if labels.shape != (rows,):
        raise ValueError(
            f"groups name the episode of each row, shape ({rows},), got shape {labels.shape} for {name}. "
            "Repeat the episode's number for every frame of it."
        )
    if labels.dtype.kind in "fc" and not np.isfinite(labels).all():
        raise ValueError(
            f"groups name the episode of each row, got NaN or infinity in {int((~np.isfinite(labels)).sum())} rows for "
            f"{name}. Number every episode."
        )
    return torch.from_numpy(np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.int64))
