"""Which rows a training step has: a batch at the mixing ratio, and rows beside it that only terms meet.

    a batch        rows with actions, at one ratio or at several, one after another
    beside it      the target's frames without actions, and as many of the source's where a phase of the batches may
                   have none; or rows that a paired sampler draws (Cheng et al. 2025)

Terms compare what they are given with equal masses: the source's rows with the frames without actions, which are a
sample of all the target's starts, or paired rows with paired rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

import cotrain_losses as ctl
from cotrain_losses.mixing.pairing import PairedSampler, alignments

from .frames import Frames

BESIDE = 32  # frames without actions in a step; pairs in a step
Phases: TypeAlias = "Sequence[tuple[float, float]]"  # (share of the steps, ratio), one after another


@dataclass(frozen=True)
class Budget:
    """How long and how a policy is trained; the same for every method."""

    steps: int = 2500
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    ema: float = 0.995


class HeldOut(NamedTuple):
    """Target frames that a method first measures on, and then trains on."""

    frames: Tensor  # (n,) bool
    share: float = 0.4  # of the steps, after which they are trained on


class Batches:
    """The rows of every step: without the held-out frames at first, then of all; at one ratio, or phase by phase."""

    def __init__(
        self, data: Frames, held_out: HeldOut | None, budget: Budget, ratio: Any, seed: int, phases: Phases = ()
    ) -> None:
        learned = data.has_action
        self.release = 0 if held_out is None else round(held_out.share * budget.steps)
        parts = [(learned, ratio, self.release, budget.steps)]
        if held_out is not None:
            parts.insert(0, (learned & ~held_out.frames, ratio, 0, self.release))
        elif phases:
            ends = [round(budget.steps * sum(share for share, _ in phases[: k + 1])) for k in range(len(phases))]
            spans = zip([0, *ends], ends, strict=False)
            parts = [(learned, ratio, *span) for (_, ratio), span in zip(phases, spans, strict=True)]
        self.parts = []
        for number, (mask, share, begin, end) in enumerate(parts):
            rows, own = mask.nonzero().flatten(), seed + 1000 * number
            sampler = ctl.MixedBatchSampler(data.is_target[rows], budget.batch_size, share, seed=own)
            self.parts.append((rows, sampler, end - begin))

    def __iter__(self) -> Iterator[Tensor]:
        for rows, sampler, steps in self.parts:
            for batch in islice(chain.from_iterable(repeat(sampler)), steps):
                yield rows[batch]

    def realised(self) -> float:
        """The share of target samples."""
        counts = [(sampler.realised(steps)["target"] * steps, steps) for _, sampler, steps in self.parts if steps]
        return sum(share for share, _ in counts) / sum(steps for _, steps in counts)


class Beside:
    """Rows that join a batch for the terms alone, and what each row of both counts there."""

    def __init__(self, data: Frames, paired: bool, seed: int, compares: bool = True, phased: bool = False) -> None:
        self.data, self.seed, self.alone = data, seed, paired or phased  # whether terms meet these rows alone
        self.rows = (~data.has_action).nonzero().flatten()
        self.sampler: Any = None
        if not compares:
            return
        if paired:
            self.sampler, self.rows = _pairs(data, seed), torch.arange(len(data.is_target))
        elif len(self.rows) and phased:
            self.rows = (~data.has_action | ~data.is_target).nonzero().flatten()
            self.sampler = ctl.MixedBatchSampler(data.is_target[self.rows], 2 * BESIDE, 0.5, seed=seed)
        elif len(self.rows):
            self.sampler = ctl.MixedBatchSampler(torch.zeros(len(self.rows), dtype=torch.bool), BESIDE, 0.0, seed=seed)

    def call(self, rows: Tensor, step: int) -> dict[str, Any]:
        """What a step is called with: a batch's rows, those beside it, and which of them count in what."""
        data = self.data
        if self.sampler is None:
            return {"batch": data[rows], "domain": data.is_target[rows], "index": rows}
        every = torch.cat([rows, self.rows[self.sampler.batch(step)]])
        learned = torch.arange(len(every)) < len(rows)
        met = ~learned if self.alone else ~(learned & data.is_target[every])
        how = {"domain": data.is_target[every], "index": every, "has_action": learned}
        return {"batch": {**data[every], "mass": met.float()}, **how}


def _pairs(data: Frames, seed: int) -> PairedSampler:
    """Rows whose hands do alike: demonstrations of both domains aligned by where the hand is in the robot's frame."""
    hand = data.state[:, :3].double().cpu().numpy()
    sides = []
    for mask in (~data.is_target, data.is_target):
        numbers = np.unique(data.episode[mask].numpy()).tolist()
        sides.append([(data.episode == number).nonzero().flatten().numpy() for number in numbers])
    source, target = ([hand[rows] for rows in side] for side in sides)
    aligned = alignments(source, target)
    return PairedSampler(aligned, sides[0], sides[1], BESIDE, seed=seed)
