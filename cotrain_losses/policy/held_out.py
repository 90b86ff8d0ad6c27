"""The policy's own loss on target samples that it does not train on, with the same noise every time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from .._core.device import drawn_on, reseed
from .._core.modes import evaluating
from .labels import Labels
from .paths import networks
from .step import Observer, TrainingStep


class HeldOut(Observer):
    """A batch of held-out samples, all the target's without `domain`, whose loss is measured when a strength asks."""

    def __init__(self, step: TrainingStep, batch: Any, domain: Any) -> None:
        if domain is None:
            rows = {len(x) for x in tree_leaves(batch) if isinstance(x, Tensor) and x.ndim}
            if len(rows) != 1:
                raise ValueError(
                    f"a held-out batch has one row per sample, got tensors of {sorted(rows)} rows. Say how many "
                    "samples there are with their labels: cotrain.hold_out(batch, domain=['target'] * samples)."
                )
            domain = [step.domains.target] * rows.pop()
        self.step, self.batch = step, batch
        self.labels = Labels(step.domains.labels(domain, batch))

    def on_start(self, labels: Labels) -> None:
        """Tell strengths that are about to take a reading; random numbers and modes are afterwards what they were."""
        due = [each for each in self.step.measured_strengths() if each.due]
        if not due:
            return
        roots = networks(self.step.policy)
        devices = drawn_on(*roots)
        with evaluating(*roots), torch.random.fork_rng(devices), torch.no_grad():
            reseed(0, devices)
            value = float(self.step(self.batch, self.labels).policy)
        for strength in due:
            strength.on_target_loss(value)
