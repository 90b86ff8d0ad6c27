"""Drawn inputs: two sides of unequal sizes with features, states, actions, labels and predictions, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cotrain_losses import Rows


@dataclass(frozen=True)
class Draw:
    """One drawn input of a comparison."""

    seed: int
    width: int
    """of the features"""
    source: Rows
    """n rows"""
    target: Rows
    """m rows"""
    ratio: float
    """a share of target samples that whole rows of a batch of 12 can hold"""
    blur: float
    """a length in feature units"""
    step: int
    """an optimizer step in [0, 1000]"""

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """What gradients are taken for: the features of both sides, and the target's predictions."""
        predictions = self.target.extras["action_hat"], self.target.extras["logits"]
        return (self.source.features, self.target.features, *predictions)

    @property
    def generator(self) -> np.random.Generator:
        """Numbers that belong to this draw and to nothing above."""
        return np.random.default_rng((self.seed, 1))


def draw_of(seed: int, *, paired: bool = False, scale: float = 1.0) -> Draw:
    """The draw of a seed.

    Args:
        paired: both sides have one number of rows; else never.
        scale: of the features.
    """
    rng = np.random.default_rng(seed)
    n, m = rng.choice(np.arange(2, 9), size=2, replace=False)
    width = int(rng.integers(2, 6))
    source = _rows(rng, int(n), width, scale, 0.0)
    target = _rows(rng, int(n if paired else m), width, scale, 0.5)
    step = int(rng.choice([0, 1000, int(rng.integers(1, 1000))]))
    return Draw(seed, width, source, target, int(rng.integers(1, 12)) / 12, float(rng.uniform(0.8, 1.5)), step)


def _rows(rng: np.random.Generator, n: int, width: int, scale: float, shift: float) -> Rows:
    def draw(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(size=shape))

    extras = {
        "state": draw(n, 3),
        "action": draw(n, 4, 2).cumsum(1),
        "action_hat": draw(n, 4, 2).requires_grad_(),
        "label": torch.from_numpy(np.eye(3)[rng.integers(0, 3, n)]),
        "logits": draw(n, 3).requires_grad_(),
    }
    return Rows(((draw(n, width) + shift) * scale).requires_grad_(), extras)
