"""What the tests of installed methods share: a robomimic-like policy, its batch, and its gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cotrain_losses import Seam
from cotrain_losses.policy.paths import network

SEAM = Seam(head="head", condition="condition", width=4)
HALF = torch.arange(6) % 2 == 0


def half(batch: Any) -> Tensor:
    return HALF


def gradients(policy: Any) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in network(policy).named_parameters() if p.grad is not None}


class RobomimicBC:
    """ARISE-Initiative/robomimic 0.3.0 algo/bc.py: forward and losses are two methods of one sealed step."""

    def __init__(self) -> None:
        nets = {"encoder": nn.Linear(3, 4), "mlp": nn.Tanh(), "decoder": nn.Linear(4, 2)}
        policy = nn.Module()
        policy.nets = nn.ModuleDict(nets)
        self.nets = nn.ModuleDict({"policy": policy})
        self.optimizers = {"policy": torch.optim.SGD(self.nets.parameters(), lr=0.1)}

    def _forward_training(self, batch: Any) -> dict[str, Tensor]:
        nets = self.nets["policy"].nets
        return {"actions": nets["decoder"](nets["mlp"](nets["encoder"](batch["obs"])))}

    def _compute_losses(self, predictions: Any, batch: Any) -> dict[str, Tensor]:
        return {"action_loss": (predictions["actions"] - batch["actions"]).square().mean(), "other": torch.ones(())}

    def train_on_batch(self, batch: Any, epoch: int, validate: bool = False) -> dict[str, Any]:
        with torch.set_grad_enabled(not validate):
            losses = self._compute_losses(self._forward_training(batch), batch)
            if not validate:
                self.optimizers["policy"].zero_grad()
                losses["action_loss"].backward()
                self.optimizers["policy"].step()
        return {"losses": losses}


RobomimicBC.__module__, RobomimicBC.__name__ = "robomimic.algo.bc", "BC"


def robomimic_batch() -> dict[str, Tensor]:
    torch.manual_seed(5)
    return {"obs": torch.randn(6, 3), "actions": torch.randn(6, 2)}
