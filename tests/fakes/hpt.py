"""HPT 549433f7 (models/policy.py): a stem and a head for each domain, one trunk, and batches of one domain each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import Case

B, Tokens, D, Da = 6, 3, 4, 2


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(D, Da)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def losses(self, x: Tensor, data: Any) -> Tensor:
        return nn.functional.smooth_l1_loss(self(x), data["action"], beta=0.05, reduction="none").mean(1)


class Policy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stems = nn.ModuleDict({f"{name}_state": nn.Linear(3, D) for name in ("real", "sim")})
        self.trunk = nn.ModuleDict({"trunk": nn.Sequential(nn.Linear(D, D), nn.Tanh())})
        self.heads = nn.ModuleDict({name: MLP() for name in ("real", "sim")})

    def forward_features(self, domain: str, data: Any) -> Tensor:
        return self.trunk["trunk"](self.stems[domain + "_state"](data["state"])).mean(1)

    def per_sample(self, batch: Any) -> Tensor:
        domain, data = batch["domain"][0], batch["data"]
        return self.heads[domain].losses(self.forward_features(domain, data), data)  # type: ignore[operator]

    def compute_loss(self, batch: Any) -> Tensor:
        return self.per_sample(batch).mean()


def batch(domain: str) -> dict[str, Any]:
    data = {"state": torch.randn(B, Tokens, 3) + (domain == "sim"), "action": torch.randn(B, Da)}
    return {"domain": [domain] * B, "data": data}


def cases() -> list[Case]:
    each = [batch("real"), batch("sim")]
    return [Case(Policy(), b, lambda p, b=b: p.per_sample(b), None, B) for b in each]
