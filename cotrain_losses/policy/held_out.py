"""The policy's own loss on target samples that it does not train on, with the same noise every time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .paths import network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .cotrain import CoTrain


class HeldOut:
    """A batch of held-out target samples, and the policy's loss on it.

    Args:
        batch: whatever the policy's loss entry takes.
        domain: its labels; None when all are the target's.
    """

    def __init__(self, cotrain: CoTrain, batch: Any, domain: Any) -> None:
        if domain is None:
            domain = [cotrain.domains.target] * _samples(batch)
        self.batch, self.labels = batch, cotrain.domains.labels(domain, batch)

    def report(self, cotrain: CoTrain) -> None:
        """Tell the weights that are about to take a reading."""
        due = (
            [weight for weight in cotrain.regularizer.measured_strengths() if weight.due] if cotrain.regularizer else []
        )
        if due and cotrain.training and torch.is_grad_enabled():
            value = self.loss(cotrain)
            for strength in due:
                strength.on_target_loss(value)

    def loss(self, cotrain: CoTrain) -> float:
        """The policy's loss in eval mode; random numbers and modes are afterwards what they were."""
        with _evaluating(network(cotrain.policy)), torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            return float(cotrain._step(self.batch, domain=self.labels).policy)


@contextmanager
def _evaluating(policy: nn.Module | None) -> Iterator[None]:
    modes = [] if policy is None else [(module, module.training) for module in policy.modules()]
    if policy is not None:
        policy.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _samples(batch: Any) -> int:
    rows = {len(x) for x in tree_leaves(batch) if isinstance(x, Tensor) and x.ndim}
    if len(rows) != 1:
        raise ValueError(
            f"a held-out batch has one row per sample, got tensors of {sorted(rows)} rows. Say how many samples there "
            "are with their labels: cotrain.hold_out(batch, domain=['target'] * samples)."
        )
    return rows.pop()
