"""What the tests of resumed loaders share: the data, the sampler, and the batches of a run that is never cut off."""

from __future__ import annotations

from typing import Any

import torch

from cotrain_losses import MixedBatchSampler
from tests.masks import mask

MASK = mask(6, 50)
FRAMES = torch.arange(56)
EPOCHS = 5


def sampler(**options: Any) -> MixedBatchSampler:
    return MixedBatchSampler(MASK, 8, 0.3, seed=3, **options)


def unbroken() -> list[list[int]]:
    alone = sampler()
    return [batch for _ in range(EPOCHS) for batch in alone]


LENGTH = len(sampler())
