"""The user's training loop, with the lines that co-training adds marked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import cotrain_losses as ctl
from cotrain_losses.policy.losses import Losses

from .demos import Demos
from .policies import Factory, Spaces, check_policy, feature_width, loss_of, made

READ_EVERY = 100  # steps


@dataclass(frozen=True)
class Frames:
    """Training samples: two observations, the chunk of commands that follows, the domain."""

    observations: Tensor  # (n, 2, 25)
    actions: Tensor  # (n, horizon, 4)
    is_target: Tensor  # (n,) bool
    episode: Tensor  # (n,) which demonstration, numbered over both domains

    def __getitem__(self, rows: Tensor | list[int]) -> dict[str, Tensor]:
        return {name: getattr(self, name)[rows] for name in ("observations", "actions", "episode")}

    def held_out(self) -> Tensor:
        """(n,) bool: the frames of the last target demonstration; a ValueError when it is the only one."""
        held = self.episode == self.episode[self.is_target].max()
        if not (self.is_target & ~held).any():
            raise ValueError("a target demonstration is held out of two at least, got one. Record more target_demos.")
        return held

    def spaces(self) -> Spaces:
        """What a policy of these frames reads and gives."""
        (_, steps, observation), (_, horizon, action) = self.observations.shape, self.actions.shape
        return Spaces(steps, observation, horizon, action, self.observations[:, -1], self.actions[:, 0])


@dataclass(frozen=True)
class Budget:
    """How long and how a policy is trained; the same for every method."""

    steps: int = 2500
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    ema: float = 0.995


class HeldOut(NamedTuple):
    """Target frames that a method first measures on, and then trains on."""

    frames: Tensor  # (n,) bool
    share: float = 0.4  # of the steps, after which they are trained on


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


def frames(target: Demos, source: Demos, horizon: int = 8) -> Frames:
    """Every frame of both domains with its past and its chunk; ends are padded with the nearest frame."""
    parts = [_windows(demos, horizon) for demos in (target, source)]
    is_target = torch.arange(sum(len(part[0]) for part in parts)) < len(parts[0][0])
    observations, actions = (torch.cat(side) for side in zip(*parts, strict=True))
    lengths = torch.from_numpy(np.concatenate([target.lengths, source.lengths]))
    return Frames(observations, actions, is_target, torch.arange(len(lengths)).repeat_interleave(lengths))


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
    tick: Callable[[float], None] = lambda _: None,
) -> Trained:
    """Train a fresh policy with a method.

    A function of the features' width may give the method, whose networks are drawn by the seed too; `extras` gives what
    its terms read of a batch beside the features.

    Raises:
        TypeError: a factory that does not return what the protocol asks for.
        ValueError: a prediction of wrong shape, a loss that is not finite, a step that the method refuses.
    """
    torch.manual_seed(seed)
    learner = made(policy, data.spaces())
    method = _fitted(method, learner, data)
    average = AveragedModel(learner, multi_avg_fn=get_ema_multi_avg_fn(budget.ema))  # type: ignore[no-untyped-call]
    cotrain = ctl.CoTrain(learner, method, seam=getattr(learner, "seam", None), loss=loss_of, extras=extras)
    batches = Batches(data, held_out, budget, method.ratio, seed)
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
        try:
            losses = cotrain(data[rows], domain=data.is_target[rows], index=rows, step=step)
            value = _finite(losses)
        except (ValueError, TypeError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{name} stopped at step {step}: {error}") from error
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
    return Trained(average.module.eval(), cotrain, running, raw, mean, series, batches.realised())


class Batches:
    """The rows of every step: without the held-out frames at first, then of all."""

    def __init__(self, data: Frames, held_out: HeldOut | None, budget: Budget, ratio: Any, seed: int) -> None:
        self.release = 0 if held_out is None else round(held_out.share * budget.steps)
        everything = torch.ones_like(data.is_target)
        kept = everything if held_out is None else ~held_out.frames
        self.parts = []
        for mask, steps in ((kept, self.release), (everything, budget.steps - self.release)):
            rows = mask.nonzero().flatten()
            sampler = ctl.MixedBatchSampler(data.is_target[rows], budget.batch_size, ratio, seed=seed)
            self.parts.append((rows, sampler, steps))

    def __iter__(self) -> Iterator[Tensor]:
        for rows, sampler, steps in self.parts:
            for batch in islice(chain.from_iterable(repeat(sampler)), steps):
                yield rows[batch]

    def realised(self) -> float:
        """The share of target samples."""
        counts = [(sampler.realised(steps)["target"] * steps, steps) for _, sampler, steps in self.parts if steps]
        return sum(share for share, _ in counts) / sum(steps for _, steps in counts)


def _fitted(method: ctl.Method | Callable[[int], ctl.Method], learner: Any, data: Frames) -> ctl.Method:
    """The method for a policy that was tried on a few frames; the random numbers go on as if neither had drawn any."""
    few = data[torch.arange(8) % len(data.is_target)]
    check_policy(learner, few)
    if isinstance(method, ctl.Method):
        return method
    with torch.random.fork_rng(devices=[]):
        return method(feature_width(learner, few))


def _finite(losses: Losses) -> float:
    """The policy's loss as a number, the loss of the step being one."""
    value, total = float(losses.policy), float(losses.total.detach())
    if not math.isfinite(total):
        blamed = "a term's value" if math.isfinite(value) else "the policy's loss"
        raise ValueError(
            f"a training step has a finite loss, got {total}, from {blamed}. It diverged, or the policy divides by a "
            "deviation of zero: a lower learning_rate (an attribute of the policy) or gradient clipping usually helps."
        )
    return value


def _windows(demos: Demos, horizon: int) -> tuple[Tensor, Tensor]:
    """(n, 2, o) and (n, horizon, a): every frame's past and chunk, frames outside its episode being the nearest."""
    lengths = torch.from_numpy(demos.lengths)
    ends, length = (x.repeat_interleave(lengths)[:, None] for x in (lengths.cumsum(0), lengths))
    now, offsets = torch.arange(len(ends))[:, None], (torch.tensor([-1, 0]), torch.arange(horizon))
    observed, meant = ((now + offset).clamp(ends - length, ends - 1) for offset in offsets)
    return torch.from_numpy(demos.observations)[observed], torch.from_numpy(demos.commands)[meant]
