"""What tests that train the small policy share: where its seam is, its labels, a term, and a run of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cotrain_losses import CoTrain, Seam, Term
from tests.toy import batch

SEAM = Seam(head="head", condition="condition", time="time", width=4)
HALF = torch.arange(6) % 2 == 0


class Gap(Term):
    """|mean source - mean target|^2."""

    def compare(self, pair) -> Tensor:
        source, target = pair.source, pair.target
        return (source.features.mean(0) - target.features.mean(0)).square().sum()


def noiseless(policy: Any, b: dict[str, Tensor]) -> Tensor:
    time = torch.full((len(b["action"]),), 0.5, dtype=torch.float64)
    return (policy.head(b["action"], time, condition=policy.encoder(b["observation"])) - b["action"]).square().mean(1)


def run(
    cotrain: CoTrain, optimizer: torch.optim.Optimizer, steps: range, draw: Callable[[int], dict[str, Tensor]] = batch
) -> list[tuple[float, ...]]:
    found = []
    for step in steps:
        torch.manual_seed(step)
        losses = cotrain(draw(step), domain=HALF, step=step)
        losses.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append((float(losses.total.detach()), *losses.strengths.values()))
    return found
