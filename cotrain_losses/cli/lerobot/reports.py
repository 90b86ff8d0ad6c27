"""What is told while LeRobot trains: the method's scalars in its log, and the held-out loss of each domain.

training     forward(batch) -> total, {...: what LeRobot returned, and the method's scalars}
evaluation   forward(batch) -> the mean over samples of the losses of each domain's rows, told when training goes on
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...policy.install import Installation
from ...policy.override import Override
from ...policy.paths import unwrapped


class Reports:
    """Around the loss of an installed policy."""

    def __init__(self, policy: Any, installation: Installation, labels: Callable[[Any], Tensor], main: bool) -> None:
        self.installation, self.labels, self.main, self.step = installation, labels, main, 0
        self.names = installation.step.domains.names
        self._sums = torch.zeros(2, len(self.names), dtype=torch.float64)
        self._home = next(unwrapped(policy).parameters()).device
        self._overrides = [Override(unwrapped(policy), name, getattr(self, name)) for name in ("forward", "train")]

    def forward(self, original: Callable[..., Any], batch: Any, *args: Any, **kwargs: Any) -> Any:
        """The policy's loss in place."""
        if not self.installation.step.learns:
            return self._held_out(original, batch, *args, **kwargs)
        self.step += 1
        return original(batch, *args, **kwargs)

    def train(self, original: Callable[..., Any], mode: bool = True) -> Any:
        """The policy's own; LeRobot calls it when an evaluation is over, on every rank."""
        if mode:
            self._flush()
        return original(mode)

    def _held_out(self, original: Callable[..., Any], batch: Any, *args: Any, **kwargs: Any) -> Any:
        labels, losses, info = self.labels(batch), [], None
        for domain in sorted(set(labels.tolist())):
            rows = (labels == domain).nonzero().squeeze(1)
            loss, info = original(_rows(batch, rows, len(labels)), *args, **kwargs)
            losses.append(loss * len(rows))
            self._sums[:, domain] += torch.tensor([float(loss) * len(rows), len(rows)], dtype=torch.float64)
        return torch.stack(losses).sum() / len(labels), info

    def _flush(self) -> None:
        """Tell the held-out losses that were measured since the last time."""
        if not self._sums[1].any():
            return
        sums = self._sums.float().to(self._home)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        self._sums.zero_()
        each = zip(self.names, sums[0].tolist(), sums[1].tolist(), strict=True)
        told = ", ".join(f"{name} {total / n:.4f} ({n:.0f} samples)" for name, total, n in each if n)
        if self.main:
            logging.info(f"held-out loss of each domain: {told}")


def _rows(batch: Any, rows: Tensor, samples: int) -> Any:
    def taken(value: Any) -> Any:
        if isinstance(value, Tensor) and value.ndim and len(value) == samples:
            return value[rows.to(value.device)]
        return [value[i] for i in rows.tolist()] if isinstance(value, list) and len(value) == samples else value

    return {key: taken(value) for key, value in batch.items()}
