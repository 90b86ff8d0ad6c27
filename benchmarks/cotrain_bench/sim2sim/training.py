"""The user's training loop, with the lines that co-training adds marked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import cotrain_losses as ctl
from cotrain_losses.policy.losses import Losses, PolicyLoss

from .batches import Batches, Beside, Budget, HeldOut, Phases
from .frames import Frames
from .policies import Factory, check_policy, drawn_on, feature_width, loss_of, made

READ_EVERY = 100  # steps


class Diverged(ValueError):
    """A policy whose loss, or whose commands, stopped being finite."""


@dataclass(frozen=True)
class Trained:
    """A trained policy: its averaged weights, the object that guides it, and what the last losses were."""

    policy: Any
    cotrain: ctl.CoTrain
    loss: float
    raw: dict[str, float]
    strengths: dict[str, float]  # each term's weight, the mean over all steps
    readings: dict[str, list[float | None]]  # what measured weights went by, every READ_EVERY steps
    ratio: float  # share of target samples that was realised
    device: str  # where the policy is


def train(
    data: Frames,
    method: ctl.Method | Callable[[int], ctl.Method],
    budget: Budget,
    *,
    seed: int,
    policy: str | Factory = "flow",
    name: str = "the method",
    extras: Callable[[Any], dict[str, Tensor]] | None = None,
    held_out: HeldOut | None = None,
    phases: Phases = (),
    paired: bool = False,
    device: str = "cpu",
    tick: Callable[[float], None] = lambda _: None,
) -> Trained:
    """Train a fresh policy with a method.

    A function of the features' width may give the method, whose networks are drawn by the seed too; `extras` gives what
    its terms read of a batch beside the features.  `phases` are ratios in the method's place, one after another; with
    `paired` its terms compare rows that a paired sampler draws.

    Raises:
        TypeError: a factory that does not return what the protocol asks for.
        ValueError: a prediction of wrong shape, a step that the method refuses, a first loss that is not finite.
        Diverged: a later one that is not finite.
    """
    torch.manual_seed(seed)
    learner = made(policy, data.spaces(device)).to(device)
    data = data.to(device)
    method = _fitted(method, learner, data)
    average = AveragedModel(learner, multi_avg_fn=get_ema_multi_avg_fn(budget.ema))  # type: ignore[no-untyped-call]
    batches = Batches(data, held_out, budget, method.ratio, seed, phases)
    beside = Beside(data, paired, seed, compares=method.regularizer is not None, phased=bool(phases))
    mass = None if beside.sampler is None else itemgetter("mass")
    seam = getattr(learner, "seam", None)
    cotrain = ctl.CoTrain(learner, method, seam=seam, loss=loss_of, extras=extras, mass=mass)
    if held_out is not None:
        cotrain.hold_out(data[held_out.frames.nonzero().flatten()])
    rate = getattr(learner, "learning_rate", budget.learning_rate)
    optimizer = torch.optim.AdamW(learner.parameters(), rate, weight_decay=budget.weight_decay, fused=True)
    if plugins := list(cotrain.plugin_parameters()):
        optimizer.add_param_group({"params": plugins, "weight_decay": 0.0})
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, budget.steps)
    running, strengths, readings = 0.0, Counter[str](), list[dict[str, float]]()
    for step, rows in enumerate(batches):
        if held_out is not None and step == batches.release:
            cotrain.release_held_out()
        call = beside.call(rows, step)
        try:
            losses = cotrain(**call, step=step)
            value = _finite(losses)
        except (ValueError, TypeError) as error:
            raise _kind(error, learner, call["batch"], step)(f"{name} stopped at step {step}: {error}") from error
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(learner)
        running += (value - running) / min(step + 1, 100)
        strengths.update(losses.strengths)
        if (step + 1) % READ_EVERY == 0:
            readings.append(losses.readings)
        if step % 50 == 0:
            tick(step / budget.steps)
    raw = {name: float(value) for name, value in losses.raw.items()}
    mean = {name: total / budget.steps for name, total in strengths.items()}
    series = {name: [of_step.get(name) for of_step in readings] for name in dict.fromkeys(chain(*readings))}
    return Trained(average.module.eval(), cotrain, running, raw, mean, series, batches.realised(), device)


def _fitted(method: ctl.Method | Callable[[int], ctl.Method], learner: Any, data: Frames) -> ctl.Method:
    """The method for a policy that was tried on a few frames; the random numbers go on as if neither had drawn any."""
    few = data[torch.arange(8) % len(data.is_target)]
    check_policy(learner, few)
    if isinstance(method, ctl.Method):
        return method
    with torch.random.fork_rng(drawn_on(learner)):
        return method(feature_width(learner, few))


def _finite(losses: Losses) -> float:
    """The policy's loss as a number, the loss of the step being one."""
    value, total = float(losses.policy), float(losses.total.detach())
    if not math.isfinite(total):
        blamed = "a term's value" if math.isfinite(value) else "the policy's loss"
        raise Diverged(
            f"a training step has a finite loss, got {total}, from {blamed}. It diverged, or the policy divides by a "
            "deviation of zero: a lower learning_rate (an attribute of the policy) or gradient clipping usually helps."
        )
    return value


def _kind(error: Exception, learner: Any, batch: dict[str, Tensor], step: int) -> type[Exception]:
    """What a step's error is called.  A policy whose loss was never finite has not diverged."""
    if isinstance(error, TypeError):
        return TypeError
    lost = isinstance(error, Diverged)
    with torch.no_grad(), suppress(ValueError):  # a term may have met what is not finite first
        lost = lost or not torch.isfinite(PolicyLoss.of(loss_of(learner, batch), len(batch["actions"])).scalar)
    return Diverged if lost and step else ValueError
