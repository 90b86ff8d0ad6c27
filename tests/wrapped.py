"""What the tests of a wrapped policy share: the policy, two terms, and its gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cotrain_losses import Rows, Seam, Term
from tests.toy import Policy

SEAM = Seam(head="head", condition="condition", time="time")
LABELS = torch.tensor([False, False, False, False, True, True])


class Critic(Term):
    """A linear head on the features and, if asked, on an extra."""

    def __init__(self, width: int, extra: str | None = None) -> None:
        super().__init__()
        self.head, self.extra = nn.Linear(width, 1).double(), extra

    def compare(self, pair) -> Tensor:
        source, target = pair.source, pair.target
        return self._score(source).mean() - self._score(target).mean()

    def _score(self, rows: Rows) -> Tensor:
        return self.head(
            rows.features if self.extra is None else torch.cat([rows.features, rows.extras[self.extra]], 1)
        )


def policy(seed: int = 0) -> Policy:
    torch.manual_seed(seed)
    return Policy()


def seeded(function: Callable[[], Any]) -> Any:
    torch.manual_seed(7)
    return function()
