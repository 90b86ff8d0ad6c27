"""What the tests of compiled policies share: a policy whose loss is its call, and its steps, compiled or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cotrain_losses import CoTrain, Method
from tests.lives import gradients
from tests.toy import Head, Policy, batch
from tests.training import HALF, SEAM

Compile = Callable[[Any], Any]


class Called(Policy):
    """A policy whose loss is its call; encoder or head may run under activation checkpointing."""

    def __init__(self, checkpointed: str = "", reentrant: bool = False) -> None:
        super().__init__()
        self.checkpointed, self.reentrant = checkpointed, reentrant

    def forward(self, b: dict[str, Tensor]) -> Tensor:
        time, observation = torch.full_like(b["action"][:, 0], 0.5), b["observation"]
        z = self.run("encoder", self.encoder, observation)
        predicted = self.run("head", lambda x, t, c: self.head(x, t, condition=c), b["action"], time, z)
        return (predicted - b["action"]).square().mean()

    def run(self, name: str, part: Callable[..., Tensor], *args: Any) -> Tensor:
        if name != self.checkpointed:
            return part(*args)
        made: Tensor = checkpoint(part, *args, use_reentrant=self.reentrant)
        return made


class Body(nn.Module):
    """An encoder and a head with something before and behind: a graph of it saves other tensors than its pieces do."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = nn.Linear(3, 4), Head(4, 2)

    def forward(self, observation: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        made: Tensor = self.head(noisy.sin().exp(), time.cos(), condition=self.encoder(observation).tanh().sin())
        return made.tanh().exp()


class Deep(nn.Module):
    """A policy that runs all of its body under activation checkpointing."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body().double()

    def forward(self, b: dict[str, Tensor]) -> Tensor:
        time = torch.full_like(b["action"][:, 0], 0.5)
        made: Tensor = checkpoint(self.body, b["observation"], b["action"], time, use_reentrant=False)
        return (made - b["action"]).square().mean()


def wrapped(policy: nn.Module, method: Method, compile: Compile | None = None) -> CoTrain:
    """A policy under a method whose token is not zero, then compiled."""
    seam = replace(SEAM, head="body.head") if isinstance(policy, Deep) else SEAM
    cotrain = CoTrain(policy, method, seam=seam, loss="__call__")
    if cotrain.guidance is not None:
        nn.init.constant_(cotrain.guidance.table, 0.3)  # type: ignore[arg-type]
    if compile is not None:
        compile(policy)
    return cotrain


def stepped(policy: nn.Module, method: Method, compile: Compile | None = None, steps: int = 3) -> list[Any]:
    """What each of some steps was worth, and the gradients they left."""
    cotrain, found = wrapped(policy, method, compile), list[Any]()
    for step in range(steps):
        torch.manual_seed(step)
        b = batch(step)
        b["observation"].requires_grad_()  # what reentrant checkpointing asks for
        losses = cotrain(b, domain=HALF, step=step)
        losses.total.backward()
        found.append((losses.total.detach(), dict(losses.strengths)))
    return [*found, *gradients(cotrain)]


def assert_steps_of_eager(
    make: Callable[[], nn.Module], method: Callable[[], Method], compile: Compile, steps: int = 3
) -> None:
    """A compiled policy's steps are worth what the eager one's are, and leave the same gradients."""
    found = []
    for how in (None, compile):
        torch.manual_seed(0)
        found.append(stepped(make(), method(), how, steps))
    torch.testing.assert_close(*found)
