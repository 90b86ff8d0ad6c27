"""Batches of an exact share, shuffled without replacement, resumable at any batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from .._core.checks import whole
from .domains import Domain, read_labels
from .ratios import ratio_weights
from .rounding import ONE, Counts
from .shares import Ratio, check_drawn, shares

MOST = 10**7
"""rows of a batch"""


class MixedBatchSampler(Sampler[list[int]]):
    """Batches in which every domain has its exact share: `DataLoader(data, batch_sampler=...)`.

    Args:
        domain: (N,) one entry per frame of the dataset: bool, True = target; integers with `domains`; or names.
        batch_size: rows per batch and rank.
        ratio: the target's share in [0, 1], or a mapping name -> share over all domains, summing to 1.  With
            several sources and one number, the sources split the rest by their sizes.
        share: what is drawn, when it is not the ratio; `weights(domain)` then restores the ratio in the loss.
        seed, start: a batch is a function of the seed and its number; `start` is how many batches were consumed
            before, counted over epochs, so a run that stopped after k batches resumes with start=k.
        domains: the names that integer labels index.
        target: which domain a single number speaks of.
        rank, world_size: this process and their number.  Shares are exact over the *global* batch of
            `batch_size * world_size` rows, dealt so that ranks differ by at most one row of a domain.

    Each batch holds the floor or the ceiling of its expected rows per domain.  A domain is shuffled and passed whole
    before any of its frames comes again, across epochs too (a batch in which a pass ends may hold a frame twice).
    An epoch passes the largest domain drawn once, shuffled anew: exactly with two domains, to within a few rows with
    more.  Each iteration is the next epoch, as with a shuffling DataLoader; `set_epoch` says otherwise.  No batch
    depends on what was drawn before it, so workers that prefetch disturb nothing.

    Cost: 8 bytes per frame below 2^31 frames (the indices and one shuffled copy), under a second of shuffling per
    pass of 10^7 frames, tens of microseconds per batch.  The order is that of the installed NumPy's generator.

    Raises ValueError on a share outside [0, 1], shares that do not sum to 1, a name unknown or missing, an empty domain
    that is to be drawn; TypeError on labels that are neither a mask, nor names, nor integers with `domains`.

    >>> is_target = [True] * 3 + [False] * 9
    >>> batches = list(MixedBatchSampler(is_target, batch_size=4, ratio=0.25))
    >>> len(batches), [sum(i < 3 for i in batch) for batch in batches]
    (3, [1, 1, 1])
    """

    drop_last = False
    """every batch is full; Accelerate asks."""

    def __init__(
        self,
        domain: Domain,
        batch_size: int,
        ratio: Ratio,
        *,
        share: Ratio | None = None,
        seed: int = 0,
        start: int = 0,
        domains: Sequence[str] | None = None,
        target: str = "target",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.batch_size, self.world_size = whole("batch_size", batch_size, 1), whole("world_size", world_size, 1)
        if self.batch_size > MOST:
            raise ValueError(f"batch_size counts the rows of a step, {MOST} at most, got {batch_size}. Use 64.")
        self.rank, self.seed, self.target = whole("rank", rank), whole("seed", seed), target
        self._global = self.batch_size * self.world_size
        if self.rank >= self.world_size:
            raise ValueError(
                f"rank lies in [0, world_size - 1], got rank={rank}, world_size={world_size}. "
                "Take both from torch.distributed: get_rank(), get_world_size()."
            )
        labels, self.names = read_labels(domain, domains, target)
        index: Any = np.int32 if len(labels) < 2**31 else np.int64
        self._rows = [np.flatnonzero(labels.numpy() == k).astype(index) for k in range(len(self.names))]
        self.sizes = {name: len(rows) for name, rows in zip(self.names, self._rows, strict=True)}
        self.ratio = self._shares("ratio", ratio)
        self.share = self.ratio if share is None else self._shares("share", share)
        check_drawn(self.sizes, self.share)
        phase = int(self._generator(len(self.names) + 1).integers(ONE))
        self._counts = Counts(list(self.share.values()), self._global, phase)
        largest = max((name for name in self.names if self.share[name] > 0), key=self.sizes.__getitem__)
        self._largest = self.names.index(largest)
        self._length = max(1, math.ceil(round(self.sizes[largest] / (self._global * self.share[largest]), 9)))
        self._shuffled: dict[int, tuple[int, NDArray[Any]]] = {}
        self.epoch, self._start = divmod(whole("start", start), self._length)
        self._named = range(1)  # what whoever calls `set_epoch` may take to be next, counting from 0 again
        self._drawn: tuple[int, int] | None = None  # in the iteration that is under way: its epoch, its batches

    def __len__(self) -> int:
        """Batches of a whole epoch, whatever `start`."""
        return self._length

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Which epoch is next and where it begins.

        Naming the epoch that is next anyway keeps its `start`.  So does a loop that counts on by one an iteration:
        resumed in epoch 3, it may say 3, 4, ... or, as Accelerate does, begin at 0 again.
        """
        whole("epoch", epoch)
        if start or not (epoch == self.epoch or epoch in self._named):
            self.epoch, self._start, self._drawn = epoch, whole("start", start), None
        self._named = range(epoch, epoch + 1)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, start = self.epoch, self._start
        self.epoch, self._start = epoch + 1, 0  # on the first draw: a DataLoader with workers makes two iterators
        certain = int(start < self._length)  # a loader that resumes after the last batch may drop an empty iteration
        self._named = range(self._named.start + certain, self._named.stop + 1)
        for number, batch in enumerate(self._batches(epoch, start), start + 1):
            self._drawn = epoch, number
            yield batch
        self._drawn = None

    def state_dict(self) -> dict[str, Any]:
        """Which batch is drawn next, and what makes it that batch: plain numbers, alike on all ranks.

        Of a loader that draws ahead (workers) save the loader: torchdata's StatefulDataLoader asks here in time.
        """
        epoch, batch = self._drawn or (self.epoch, self._start)
        return {"epoch": epoch, "batch": batch, **self._order()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on at the batch that the state names, in the next iteration."""
        order = self._order()
        if wrong := [name for name in order if state.get(name) != order[name]]:
            received = ", ".join(f"{name} {state.get(name)!r} for {order[name]!r}" for name in wrong)
            raise ValueError(
                f"a state belongs to a sampler of the same data and settings, got {received}. Make the sampler as it "
                "was, or begin elsewhere with MixedBatchSampler(start=)."
            )
        self.epoch, self._start = whole("epoch", state["epoch"]), whole("batch", state["batch"])
        self._drawn = None

    @property
    def sampler(self) -> MixedBatchSampler:
        """Itself: Accelerate and Lightning look here for `set_epoch`."""
        return self

    def batch(self, number: int) -> list[int]:
        """The dataset indices of one batch, by its number counted over epochs."""
        return next(self._batches(*divmod(whole("number", number), self._length)))

    def realised(self, batches: int | None = None) -> dict[str, float]:
        """The share of each domain in the run's first `batches` batches (None: one epoch), all ranks together."""
        batches = self._length if batches is None else whole("batches", batches)
        counts = self._counts.before(batches)
        return {name: n / max(1, batches * self._global) for name, n in zip(self.names, counts, strict=True)}

    def passes(self) -> dict[str, float]:
        """How often an epoch passes each domain: a target seen sixty times an epoch is soon overfitted."""
        rows = self._length * self._global
        return {name: rows * self.share[name] / n if (n := self.sizes[name]) else 0.0 for name in self.names}

    def weights(self, domain: Domain) -> Tensor:
        """(b,) what each sample of a batch counts, so that the loss sees `ratio` where `share` was drawn."""
        return ratio_weights(domain, ratio=self.ratio, share=self.share, domains=self.names, target=self.target)

    def __repr__(self) -> str:
        parts = ", ".join(f"{self.share[name]:.4g} of {name} ({n} frames)" for name, n in self.sizes.items())
        return f"MixedBatchSampler({parts}; {self._length} batches of {self.batch_size} x {self.world_size} an epoch)"

    def _shares(self, what: str, value: Ratio) -> dict[str, float]:
        each = shares(what, value, self.names, target=self.target, sizes=list(self.sizes.values()))
        return dict(zip(self.names, each, strict=True))

    def _order(self) -> dict[str, Any]:
        """What the batches are a function of, their number apart."""
        return {"seed": self.seed, "rows": self._global, "share": self.share, "sizes": self.sizes}

    def _batches(self, epoch: int, start: int) -> Iterator[list[int]]:
        begin = epoch * self._length
        shifts = self._shifts(epoch, self._counts.before(begin))
        places = [n + shift for n, shift in zip(self._counts.before(begin + start), shifts, strict=True)]
        for number in range(begin + start, begin + self._length):
            counts = self._counts.of(number)
            rows = np.concatenate([self._taken(k, places[k], n) for k, n in enumerate(counts)])
            places = [place + n for place, n in zip(places, counts, strict=True)]
            mine = rows[(self.rank - number) % self.world_size :: self.world_size]
            yield self._generator(len(counts), number, self.rank).permutation(mine).tolist()

    def _shifts(self, epoch: int, before: list[int]) -> list[int]:
        """Each domain is read as one endless stream of shuffled passes; the largest begins a fresh one every epoch."""
        n = len(self._rows[self._largest])
        fresh = epoch * (2 + self._global * self._length // n) * n
        return [fresh - before[k] if k == self._largest else 0 for k in range(len(self.names))]

    def _taken(self, k: int, begin: int, count: int) -> NDArray[Any]:
        pieces, end = [self._rows[k][:0]], begin + count
        while begin < end:
            number, offset = divmod(begin, len(self._rows[k]))
            pieces.append(self._pass(k, number)[offset : offset + end - begin])
            begin += len(pieces[-1])
        return np.concatenate(pieces)

    def _pass(self, k: int, number: int) -> NDArray[Any]:
        if self._shuffled.get(k, (-1,))[0] != number:
            self._shuffled[k] = number, self._generator(k, number).permutation(self._rows[k])
        return self._shuffled[k][1]

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *key])
