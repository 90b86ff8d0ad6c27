"""What a cap prevents, where the truth is known: the toy with an encoder, and terms at its output.

    z = f(x)        v(a_t, t | z) ~ a - eps        one policy, trained by `CoTrain` with the seam at z

Aligned planes (dz = 1) need no term: whatever one takes away there is harm.  A raw weight says how much of a term's
value counts; a normalised one (`relative(fraction, raw=inf)`) says how loud it is at every step, also when it has
nothing left to say; a cap (`relative(fraction)`) is the smaller of both.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import cotrain_losses as ctl
from cotrain_losses.strength import balanced, relative
from cotrain_losses.strength.probe import Seen, held_out_accuracy
from cotrain_losses.terms.mmd import EnergyDistance

from ..results import Row
from . import curves
from .flow import PAIRS, SCALE, waves

WIDTH = 16
DISTANCE, RATIO, FRACTION, RAW = 1.0, 0.1, 0.5, 0.1
STEPS, BATCH, RATE, EULER, POSITIONS = 2000, 64, 3e-3, 25, 500

ARMS: dict[str, Callable[[], ctl.Regularizer | None]] = {
    "none": lambda: None,
    "raw": lambda: RAW * EnergyDistance(),
    "normalised, features as they are": lambda: _energy(raw=math.inf, standardise=False),
    "normalised": lambda: _energy(raw=math.inf),
    "capped": lambda: _energy(raw=RAW),
    "capped and balanced": lambda: balanced(relative(FRACTION, raw=RAW)) * EnergyDistance(),
    "adversary, raw": lambda: -1.0 * ctl.DomainClassifier(WIDTH, hidden=(64,)),
    "adversary, capped": lambda: -relative(FRACTION) * ctl.DomainClassifier(WIDTH, hidden=(64,)),
}
"""name -> what is asked of z"""


def _energy(**how: Any) -> ctl.Regularizer:
    term: ctl.Regularizer = relative(FRACTION, **how) * EnergyDistance()
    return term


class Velocity(nn.Module):
    """The head: a velocity from a noisy output, a time and a condition."""

    def __init__(self) -> None:
        super().__init__()
        self.net = _mlp(WIDTH + 2 + 2 * PAIRS, 64, 64, 64, 2)

    def forward(self, noisy: Tensor, time: Tensor, z: Tensor) -> Tensor:
        velocity: Tensor = self.net(torch.cat([z, noisy, waves(time)], 1))
        return velocity


class Policy(nn.Module):
    """An encoder of inputs and a rectified flow of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.velocity = _mlp(3, 64, WIDTH), Velocity()

    def compute_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """The flow's matching loss at one draw of noise and times."""
        output = batch["output"] / SCALE
        noise, time = torch.randn_like(output), torch.rand(len(output))
        noisy = torch.lerp(noise, output, time[:, None])
        velocity: Tensor = self.velocity(noisy, time, z=self.encoder(batch["x"]))
        return (velocity - (output - noise)).square().mean()

    @torch.no_grad()
    def sample(self, x: Tensor, noise: Tensor) -> Tensor:
        """Outputs for inputs x (n, 3), by Euler steps."""
        z, output = self.encoder(x), noise
        for k in range(EULER):
            output = output + self.velocity(output, torch.full((len(x),), k / EULER), z=z) / EULER
        return SCALE * output


def trained(arm: str, seed: int, distance: float = DISTANCE, steps: int = STEPS) -> Row:
    """Train one policy with an arm's regularizer and say what became of it and of its features.

    `loss`, `loss_ood`, `share_source` and `share_target` are those of the toy, `accuracy` the domain probe's on
    held-out rows of z, `spread` the root mean square deviation of z from its mean, `weight` the last weight.
    """
    torch.manual_seed(seed)
    data, policy = curves.data(seed), Policy()
    is_target = torch.arange(len(data.positions)) >= curves.N_SOURCE
    x = curves.inputs(data.positions, torch.tensor(distance), is_target)
    seam = ctl.Seam(head="velocity", condition="z", width=WIDTH)
    cotrain = ctl.CoTrain(policy, ctl.Method(RATIO, ARMS[arm]()), seam=seam)
    if "balanced" in arm:
        cotrain.hold_out(_held_out(seed, distance))
    optimizer = torch.optim.AdamW(cotrain.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    sampler = ctl.MixedBatchSampler(is_target, BATCH, RATIO, seed=seed)
    batches = itertools.chain.from_iterable(itertools.repeat(sampler))
    for step, rows in zip(range(steps), batches, strict=False):
        losses = cotrain({"x": x[rows], "output": data.outputs[rows]}, domain=is_target[rows], step=step)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        schedule.step()
    weight = next(iter(losses.strengths.values()), 0.0)
    return {"arm": arm, "seed": seed, "dz": distance, "weight": weight, **_found(policy, seed, distance)}


def _found(policy: Policy, seed: int, distance: float) -> Row:
    positions = curves.test_positions(POSITIONS)
    both = [curves.inputs(positions, torch.tensor(distance), torch.tensor(side)) for side in (False, True)]
    noise = torch.randn(POSITIONS, 2, generator=curves.stream("samples", seed))
    scores = curves.scores(policy.sample(both[1], noise), positions[:, 0])
    with torch.no_grad():
        source, target = (policy.encoder(x) for x in both)
    order = torch.randperm(POSITIONS, generator=curves.stream("probe", seed))
    pooled = torch.cat([source, target])
    return {
        **{name: float(value) for name, value in scores.items()},
        "accuracy": held_out_accuracy(Seen(source[order], None), Seen(target[order], None)),
        "spread": float((pooled - pooled.mean(0)).square().mean().sqrt()),
    }


def _held_out(seed: int, distance: float) -> dict[str, Tensor]:
    """Other samples of the target, drawn as its training samples were."""
    other = curves.data(seed + 1_000_000)
    positions = other.positions[curves.N_SOURCE :]
    x = curves.inputs(positions, torch.tensor(distance), torch.tensor(True))
    return {"x": x, "output": other.outputs[curves.N_SOURCE :]}


def _mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), nn.SiLU()]
    return nn.Sequential(*layers[:-1])
