"""One step of a small policy through `CoTrain`, and the same step written sample by sample.

z_i = tanh(W o_i + b)        c_i = z_i + E[label_i], or (z_i, one-hot)        a_hat_i = V (x_i, t_i, c_i) + v
l_i = mean |a_hat_i - a_i|^2      total = sum_i weight_i l_i / b + sum_k lambda_k R_k(z_source, z_target)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cotrain_losses import CoTrain, Method, Seam

from .case import Answer, gradients
from .draws import Draw


class Head(nn.Module):
    """A prediction (b, a) from a noised action (b, a), its time (b,) and a condition (b, width)."""

    def __init__(self, actions: int, condition: int) -> None:
        super().__init__()
        self.net = nn.Linear(actions + 1 + condition, actions)

    def forward(self, noised: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        prediction: Tensor = self.net(torch.cat([noised, time[:, None], condition], 1))
        return prediction


class Policy(nn.Module):
    """Encoder and head, and a loss for each sample; noise and times come with the batch."""

    def __init__(self, draw: Draw, columns: int) -> None:
        super().__init__()
        torch.manual_seed(draw.seed)
        self.linear = nn.Linear(3, draw.width)
        self.encoder = nn.Sequential(self.linear, nn.Tanh())
        self.head = Head(2, draw.width + columns)
        self.double()

    def compute_loss(self, batch: dict[str, Tensor]) -> Tensor:
        return (self.predict(batch) - batch["action"]).square().mean(1)

    def predict(self, batch: dict[str, Tensor]) -> Tensor:
        prediction: Tensor = self.head(batch["noised"], batch["time"], condition=self.encoder(batch["observation"]))
        return prediction


def policy_of(draw: Draw, method: Method) -> Policy:
    """A policy whose head has columns for one-hot labels where the method asks for them."""
    return Policy(draw, 2 if method.guidance is not None and method.guidance.one_hot else 0)


def data_of(draw: Draw) -> tuple[dict[str, Tensor], Tensor]:
    """All samples of the draw, source first, and which are target samples."""
    n, m = len(draw.source.features), len(draw.target.features)
    rng = draw.generator
    batch = {"observation": rng.normal(size=(n + m, 3)), "action": rng.normal(size=(n + m, 2))}
    batch |= {"noised": rng.normal(size=(n + m, 2)), "time": rng.uniform(size=n + m)}
    return {name: torch.from_numpy(value) for name, value in batch.items()}, torch.arange(n + m) >= n


def at_the_seam(draw: Draw, method: Method) -> Answer:
    """One training step on all samples, and one guided prediction."""
    policy = policy_of(draw, method)
    batch, is_target = data_of(draw)
    cotrain = CoTrain(policy, method, seam=Seam(head="head", condition="condition", time="time"))
    losses = cotrain(batch, domain=is_target, index=torch.arange(len(is_target)), step=draw.step)
    value = losses.policy if losses.weighted is None else losses.weighted
    groups = [gradients(losses.total, list(policy.parameters()))]
    if own := [p for p in cotrain.plugin_parameters() if p.requires_grad]:
        groups.append(gradients(losses.total, own))
    with torch.no_grad(), cotrain.guided():
        guided = policy.predict(batch)
    return Answer(torch.cat([(value + losses.regularizer)[None], guided.flatten()]), groups)


def predicted(draw: Draw, policy: Policy, method: Method, labels: Sequence[int]) -> list[Tensor]:
    """Each sample's prediction under its label; -1 is no label."""
    batch, _ = data_of(draw)
    encoder, head, guidance = policy.linear, policy.head.net, method.guidance
    predictions = []
    for i, label in enumerate(labels):
        condition = torch.tanh(encoder.weight @ batch["observation"][i] + encoder.bias)
        if guidance is not None and guidance.one_hot:
            one_hot = [float(label == k) for k in range(2)]
            condition = torch.cat([condition, condition.new_tensor(one_hot)])
        elif guidance is not None and guidance.table is not None and label >= 0:
            condition = condition + guidance.table[label]
        read = torch.cat([batch["noised"][i], batch["time"][i : i + 1], condition])
        predictions.append(head.weight @ read + head.bias)
    return predictions


def step_written(
    draw: Draw,
    method: Method,
    weights: Sequence[float] | None = None,
    *,
    labels: Sequence[int] | None = None,
    lam: float = 0.0,
) -> tuple[Tensor, Tensor, Policy]:
    """sum_i weight_i l_i / b, weights of 1 unless given; the guided prediction (1 + lam) conditional - lam
    unconditional; the policy."""
    policy = policy_of(draw, method)
    batch, is_target = data_of(draw)
    count = len(is_target)
    predictions = predicted(draw, policy, method, labels or [-1] * count)
    each = [(p - a).square().mean() for p, a in zip(predictions, batch["action"], strict=True)]
    total = sum(weight * l for weight, l in zip(weights or [1.0] * count, each, strict=True)) / count
    conditional, unconditional = (torch.stack(predicted(draw, policy, method, [k] * count)) for k in (1, -1))
    return total, (1 + lam) * conditional - lam * unconditional, policy


def answer(value: Tensor, guided: Tensor, *groups: Sequence[Tensor]) -> Answer:
    return Answer(torch.cat([value.detach()[None], guided.detach().flatten()]), [*groups])


def step_answer(draw: Draw, method: Method, weights: Sequence[float] | None = None, **how: Any) -> Answer:
    """A step without parameters of the method's own: `step_written`, and the gradients of the policy's."""
    total, guided, policy = step_written(draw, method, weights, **how)
    return answer(total, guided, gradients(total, list(policy.parameters())))
