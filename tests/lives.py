"""What the tests of a run's life share: a method with every choice, and a policy that trains with it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from cotrain_losses import MMD, CoTrain, DomainClassifier, DomainGuidance, Method
from cotrain_losses.strength.schedules import warmup


def full_method() -> Method:
    """Every choice at once: a term, a discriminator with a schedule, guidance, weights."""
    terms = 0.1 * MMD() + warmup(-0.1, 4) * DomainClassifier(4, hidden=(5,))
    return Method(regularizer=terms, guidance=DomainGuidance(drop=0.5), weights=heavier_target)


def heavier_target(samples: Any) -> Tensor:
    return 1.0 + samples.is_target.double()


def gradients(cotrain: CoTrain) -> list[Tensor]:
    return [p.grad.clone() for p in cotrain.parameters() if p.grad is not None]
