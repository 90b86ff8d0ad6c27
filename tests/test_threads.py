"""Hooks act in the thread that trains, and in autograd's recomputation of the step that it belongs to."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cotrain_losses import MMD, CoTrain, DomainGuidance, Method
from tests.installed import HALF, SEAM, half
from tests.lives import heavier_target
from tests.toy import Policy, batch
from tests.training import noiseless


class Fixed(Policy):
    """A loss without noise, its head recomputed in the backward pass if asked."""

    def __init__(self, checkpointed: bool = False) -> None:
        super().__init__()
        self.checkpointed = checkpointed

    def compute_loss(self, batch: Any) -> Tensor:
        if not self.checkpointed:
            return noiseless(self, batch).mean()
        time = torch.full((len(batch["action"]),), 0.5, dtype=torch.float64)
        head = lambda z: self.head(batch["action"], time, condition=z)
        predicted = checkpoint(head, self.encoder(batch["observation"]), use_reentrant=False)
        return (predicted - batch["action"]).square().mean()


def joined(**more: Any) -> CoTrain:
    torch.manual_seed(0)
    method = Method(regularizer=0.1 * MMD(), guidance=DomainGuidance(width=4, drop=0.0), weights=heavier_target)
    cotrain = CoTrain(Fixed(**more), method, seam=SEAM)
    assert method.guidance is not None and method.guidance.table is not None
    torch.nn.init.normal_(method.guidance.table)
    return cotrain


@pytest.mark.parametrize("installed", [False, True])
def test_a_second_thread_that_rolls_out_disturbs_nothing_and_is_not_disturbed(installed: bool) -> None:
    cotrain = joined()
    policy = cotrain.policy
    if installed:
        cotrain.install(domain=half)
    take = lambda: policy.compute_loss(batch()) if installed else cotrain(batch(), domain=HALF).total
    expected, bare = take().item(), policy.sample(batch()["observation"])
    stop, wrong = threading.Event(), list[bool]()

    def roll_out() -> None:
        while not stop.is_set():
            wrong.append(not torch.equal(policy.sample(batch()["observation"]), bare))

    thread = threading.Thread(target=roll_out)
    thread.start()
    found = [take().item() for _ in range(400)]
    stop.set()
    thread.join()
    assert set(found) == {expected} and wrong and not any(wrong)


def test_two_forwards_before_one_backward_under_checkpointing_have_their_own_gradients() -> None:
    gradients = []
    for checkpointed in (True, False):
        cotrain = joined(checkpointed=checkpointed)
        first, second = cotrain(batch(0), domain=HALF).total, cotrain(batch(1), domain=~HALF).total
        with torch.no_grad():
            cotrain(batch(2), domain=HALF)  # an evaluation in between
        (first + second).backward()
        gradients.append({name: p.grad for name, p in cotrain.named_parameters() if p.grad is not None})
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
