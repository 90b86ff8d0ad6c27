"""Mixed batches inside a training script that builds its loaders itself."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, SequentialSampler

from .domains import Domain, read_labels
from .sampler import MixedBatchSampler
from .shares import Ratio

_log = logging.getLogger("cotrain_losses")


@contextmanager
def mixed_loaders(
    ratio: Ratio,
    domain: Callable[[Any], Domain | None],
    *,
    domains: Sequence[str] = ("source", "target"),
    target: str = "target",
    key: str = "domain",
    seed: int = 0,
) -> Iterator[list[MixedBatchSampler]]:
    """Let every `DataLoader` built in the block over a labelled dataset label its batches, and mix if it shuffles.

    Args:
        ratio: the target's share of each batch, or a share of each domain, as for `MixedBatchSampler`.
        domain: function of a loader's dataset giving (N,) labels of its samples, or None where it is left alone.
        domains, target: names of the domains and of the target among them, as for `MixedBatchSampler`.
        key: where a batch holds its labels, as positions among `domains`; samples are mappings.
        seed: of the samplers.

    A loader that has `shuffle` or a sampler draws from a `MixedBatchSampler` of its batch size, rank and world size;
    one whose samples are all of one domain (held-out data) only labels them.  Yields the samplers, in the order built.
    torchdata's StatefulDataLoader is built in another way and is not seen: give it a `MixedBatchSampler`.  Rank and
    world size are those of a DistributedSampler; with `shuffle` alone every rank draws the same batches, which is what
    Accelerate's prepare shares out.

    Raises RuntimeError when the block ends without a loader that mixes; ValueError on labels of another number than the
    samples, or a loader that has a batch sampler of its own; TypeError on samples that are no mappings.

    >>> import torch
    >>> from torch.utils.data import DataLoader
    >>> frames = [{"state": torch.zeros(2), "real": number >= 12} for number in range(16)]
    >>> labels = lambda dataset: torch.tensor([frame["real"] for frame in dataset])
    >>> with mixed_loaders(0.5, labels):
    ...     loader = DataLoader(frames, batch_size=4, shuffle=True)
    >>> next(iter(loader))["domain"].float().mean().item()
    0.5
    """
    mixed, original = list[MixedBatchSampler](), DataLoader.__init__
    named = tuple(domains)

    @functools.wraps(original)
    def build(loader: DataLoader[Any], dataset: Any, *args: Any, **kwargs: Any) -> None:
        given = None if isinstance(dataset, Labelling) else domain(dataset)  # one that was built here, built again
        if given is None:
            return original(loader, dataset, *args, **kwargs)
        labels, _ = read_labels(given, named, target)
        options = inspect.signature(original).bind(loader, dataset, *args, **kwargs).arguments
        own = {name: value for name, value in options.items() if name not in ("self", "dataset")}
        if _draws(own) and len(labels.bincount().nonzero()) > 1:
            mixed.append(_sampler(own, labels, ratio, seed, named, target))
            own["batch_sampler"] = mixed[-1]
            _log.info("a loader of the script draws from %r", mixed[-1])
        return original(loader, Labelling(dataset, labels, key), **own)

    DataLoader.__init__ = build  # type: ignore
    try:
        yield mixed
    finally:
        DataLoader.__init__ = original  # type: ignore[method-assign]
    if not mixed:
        raise RuntimeError(
            "a script within mixed_loaders builds a DataLoader that shuffles samples of several domains, got none. Let "
            "`domain(dataset)` give the labels of the dataset that it trains on, and build the loader in the block."
        )


class Labelling(Dataset[Any]):
    """A dataset whose samples hold their label under a key, and which is else as it was."""

    def __init__(self, dataset: Any, labels: Tensor, key: str) -> None:
        self.dataset, self.labels, self.key = dataset, labels, key
        if len(labels) != len(dataset):
            raise ValueError(
                f"`domain` gives one label for each sample, got {len(labels)} for a {type(dataset).__name__} of "
                f"{len(dataset)}. Count what the loader indexes: sequences, if they are its samples."
            )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        sample = self.dataset[index]
        if not isinstance(sample, Mapping):
            raise TypeError(
                f"a label stands among the keys of its sample, got a {type(sample).__name__}. Join the domains in a "
                "DomainDataset, which puts labels beside samples."
            )
        return {**sample, self.key: int(self.labels[index])}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)


def _draws(own: Mapping[str, Any]) -> bool:
    """Whether a loader draws samples out of their order."""
    if own.get("batch_sampler") is not None:
        raise ValueError(
            "mixed_loaders takes the place of a loader's shuffle or sampler, got one with a batch_sampler of its own. "
            "Let `domain` return None for its dataset, or mix there: MixedBatchSampler."
        )
    sampler = own.get("sampler")
    return bool(own.get("shuffle")) or not (sampler is None or isinstance(sampler, SequentialSampler))


def _sampler(
    own: dict[str, Any], labels: Tensor, ratio: Ratio, seed: int, names: tuple[str, ...], target: str
) -> MixedBatchSampler:
    """In place of what a loader was given to draw by."""
    batch_size, sampler = own.pop("batch_size", 1), own.pop("sampler", None)
    own.pop("shuffle", None), own.pop("drop_last", None)
    rank, world = getattr(sampler, "rank", 0), getattr(sampler, "num_replicas", 1)
    return MixedBatchSampler(
        labels, batch_size, ratio, seed=seed, domains=names, target=target, rank=rank, world_size=world
    )
