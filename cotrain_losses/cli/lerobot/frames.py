"""LeRobot's order of frames: every `batch_size` of them, one after another, are one batch of the exact shares.

    batch number n of rank r  =  batch  (n world_size + r)  of the run

LeRobot cuts the order into batches, Accelerate deals batches to ranks in turn, and `lerobot-train` finds the place of a
step in it when a run is resumed.  A batch is a function of the seed and its number, so the run goes on at the next one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import Sampler

from ...mixing import MixedBatchSampler
from .settings import Ratio


class MixedFrames(Sampler[int]):
    """Places of frames in a joined dataset.

    Args:
        places: (n,) the frames that are used.
        domain: (n,) the domain of each.
        plan: the ratio from each optimizer step on.
        world_size: how many ranks there are.
        how: `seed`, `domains` and `target` of `MixedBatchSampler`.
    """

    def __init__(
        self,
        places: Tensor,
        domain: Tensor,
        batch_size: int,
        plan: Mapping[int, Ratio],
        world_size: int = 1,
        **how: Any,
    ) -> None:
        self.places, self.batch_size = places.tolist(), batch_size
        self.phases = {
            step * world_size: MixedBatchSampler(domain, batch_size, ratio, **how) for step, ratio in plan.items()
        }
        batches = max(len(sampler) for sampler in self.phases.values())
        self.batches = world_size * math.ceil(batches / world_size)
        self.epoch = self.start = 0

    def __len__(self) -> int:
        """Frames of an epoch, a whole number of batches on every rank."""
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[int]:
        epoch, start = self.epoch, self.start
        self.epoch, self.start = epoch + 1, 0
        return self._frames(epoch, start)

    def _frames(self, epoch: int, start: int) -> Iterator[int]:
        first, skipped = divmod(start, self.batch_size)
        for number in range(epoch * self.batches + first, (epoch + 1) * self.batches):
            for place in self._batch(number)[skipped:]:
                yield self.places[place]
            skipped = 0

    def _batch(self, number: int) -> list[int]:
        since = max(first for first in self.phases if first <= number)
        return self.phases[since].batch(number - since)

    def set_epoch(self, epoch: int) -> None:
        """Which epoch is next."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """The epoch that is next, and where it begins."""
        return {"epoch": self.epoch, "start_index": self.start}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where a state says."""
        self.epoch, self.start = state["epoch"], state["start_index"]
