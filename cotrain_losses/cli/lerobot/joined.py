"""Several LeRobot datasets as one, sample by sample: the features they share, and where each sample came from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from ...datasets.labels import DomainDataset
from ...mixing.rounding import Counts
from .settings import Refused

Change = Callable[[dict[str, Any]], dict[str, Any]]


class Sample:
    """What is kept of one domain's samples, under its new name; `change` moves its numbers."""

    def __init__(self, features: Mapping[str, Any], renamed: Mapping[str, str], change: Change | None = None) -> None:
        self.features, self.renamed, self.change = dict(features), dict(renamed), change

    def __call__(self, sample: Mapping[str, Any], index: int) -> dict[str, Any]:
        named = {self._name(key): value for key, value in sample.items()}
        kept = {key: _pixels(value) for key, value in named.items() if self._keeps(key)}
        kept = kept if self.change is None else self.change(kept)
        return kept | {"index": torch.tensor(index)}

    def _name(self, key: str) -> str:
        bare = key.removesuffix("_is_pad")
        return self.renamed.get(bare, bare) + key[len(bare) :]

    def _keeps(self, key: str) -> bool:
        return key == "task" or key in self.features or key.removesuffix("_is_pad") in self.features


def _pixels(value: Any) -> Any:
    """Pictures as LeRobot trains on them, in [0, 1], whether they were stored as images or as video."""
    return value.float() / 255.0 if isinstance(value, Tensor) and value.dtype == torch.uint8 else value


class Joined(Dataset[dict[str, Any]]):
    """Datasets one after another; `index` of a sample, its place here after `first` others, finds its domain again.

    What `lerobot-train` reads of a dataset is the target's, with the features, numbers and sizes of all: see `meta_of`.
    """

    episodes = absolute_to_relative_idx = None

    def __init__(self, parts: Mapping[str, Any], samples: Mapping[str, Sample], meta: Any, first: int = 0) -> None:
        self.data, self.samples, self.meta, self.first = DomainDataset(parts), dict(samples), meta, first
        self.names, self.domain = self.data.names, self.data.domain

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, place: int) -> dict[str, Any]:
        labelled = self.data[place]
        return self.samples[self.names[labelled.domain]](labelled.sample, self.first + place)

    @property
    def num_frames(self) -> int:
        return len(self)

    @property
    def num_episodes(self) -> int:
        return sum(part.num_episodes for part in self.data.datasets.values())

    def places(self, frames: Callable[[Any], list[int]]) -> Tensor:
        """(n,) the places of the frames that `frames` names in each dataset."""
        sizes = torch.tensor([len(part) for part in self.data.datasets.values()])
        firsts = (sizes.cumsum(0) - sizes).tolist()
        each = zip(firsts, self.data.datasets.values(), strict=True)
        return torch.cat([torch.tensor(frames(part), dtype=torch.long) + first for first, part in each])


class Streams(IterableDataset[dict[str, Any]]):
    """Streams of several domains, one apiece, dealt so that every `batch_size` samples are one batch of exact shares.

    `index` of a sample is its domain.  A stream that ends begins again.
    """

    def __init__(
        self, parts: Mapping[str, Any], samples: Mapping[str, Sample], meta: Any, shares: list[float], batch_size: int
    ) -> None:
        self.parts, self.samples, self.meta, self.names = dict(parts), dict(samples), meta, tuple(parts)
        self.counts = Counts(shares, batch_size, 0)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        streams = {name: _endless(part) for name, part in self.parts.items()}
        for number in range(1 << 62):
            domains = [name for name, n in zip(self.names, self.counts.of(number), strict=True) for _ in range(n)]
            for name in domains:
                yield self.samples[name](next(streams[name]), self.names.index(name))

    def few(self, n: int) -> list[dict[str, Any]]:
        """The first n samples of each domain, of copies: a stream that was read may be none that goes to a worker."""
        each = enumerate((name, copy.copy(part)) for name, part in self.parts.items())
        return [self.samples[name](sample, k) for k, (name, part) in each for sample in islice(_endless(part), n)]

    @property
    def num_frames(self) -> int:
        return sum(part.num_frames for part in self.parts.values())

    @property
    def num_episodes(self) -> int:
        return sum(part.num_episodes for part in self.parts.values())


def _endless(stream: Any) -> Iterator[dict[str, Any]]:
    while True:
        empty = True
        for sample in stream:
            empty = False
            yield sample
        if empty:
            raise Refused(f"a domain that is mixed has samples, got a {type(stream).__name__} that gives none.")


def meta_of(target: Any, features: Mapping[str, Any], statistics: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
    """The target's metadata, with the features that are kept and the numbers to normalise by."""
    meta = copy.copy(target.meta)
    meta.info = replace(meta.info, features=dict(features))
    meta.stats = {key: statistics[key] for key in features if key in statistics}
    meta.info.total_frames = sum(part.num_frames for part in parts.values())
    meta.info.total_episodes = sum(part.num_episodes for part in parts.values())
    return meta
