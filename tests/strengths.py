"""What the tests of measured strengths share: a policy, its steps, and features whose gradients are known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cotrain_losses import MMD, CoTrain, DomainClassifier, DomainGuidance, Method, Seam
from cotrain_losses.strength import relative
from cotrain_losses.strength.probe import Seen, held_out_accuracy
from tests.toy import Policy
from tests.training import SEAM


def joined(method: Method, seam: Seam = SEAM, policy: nn.Module | None = None, **how: Any) -> CoTrain:
    torch.manual_seed(0)
    cotrain = CoTrain(policy or Policy(), method, seam=seam, **how)
    cotrain.double()
    return cotrain


def measured_method() -> Method:
    torch.manual_seed(1)
    terms = relative(0.3) * MMD() - relative(0.2) * DomainClassifier(4, hidden=(5,))
    return Method(regularizer=terms, guidance=DomainGuidance(drop=0.5))


def optimizer_of(cotrain: CoTrain) -> torch.optim.Optimizer:
    return torch.optim.AdamW(cotrain.parameters(), lr=1e-2)


def clouds(seed: int, n: int, shift: float, d: int = 4) -> tuple[Tensor, Tensor]:
    """Two unit Gaussians `shift` apart along one axis, turned at random."""
    generator = torch.Generator().manual_seed(seed)
    turn, _ = torch.linalg.qr(torch.randn(d, d, generator=generator))
    source, target = torch.randn(2, n, d, generator=generator)
    target[:, 0] += shift
    return 3 * source @ turn - 7, 3 * target @ turn - 7


def read(source: Tensor, target: Tensor, episodes: Tensor | None = None) -> float:
    return held_out_accuracy(Seen(source, episodes), Seen(target, episodes))
