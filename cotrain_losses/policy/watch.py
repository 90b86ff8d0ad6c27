"""What a co-training run is doing, at a chosen interval, as a flat dict that any logger takes.

    cotrain.watch(every=100, to=wandb.log)                     Weights & Biases
    cotrain.watch(every=100, to=tensorboard(writer))           TensorBoard

    policy, total                 the policy's own loss and the whole
    raw/<term>, strength/<term>   a term's unweighted value and its strength
    share/<term>                  |strength * raw| / (|policy| + sum over terms |strength * raw|)
    reading/<term>/<what>         what a measured weight went by: its probe, its brake, the lengths of gradients
    accuracy/<term>               balanced accuracy of a domain classifier on this batch, before it learns from it
    norm/source, norm/target      root mean square length of the features at the seam, and their ratio norm/ratio
    ratio                         share of target samples in all batches since the last record
    loss_share/<domain>           share of the policy's loss by count, steps of padding left out

Between records nothing is computed; a record costs one pass over the classifier and one transfer from the device.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .._core.rows import Rows
from ..strength.averages import Average
from ..strength.strength import leaves
from ..terms.discriminator import DomainClassifier
from .labels import Labels
from .losses import Losses
from .step import Observer, Sides, TrainingStep

WATCHED = ("policy", "norm/source", "norm/target")


class Watch(Observer):
    """Records of training steps, those of an installed method included (`CoTrain.watch`).

    `to(values, step=step)` is called every so many steps, from step 0 on; `values` holds the last record, `step` is its
    step.  A policy loss or feature length that runs away is warned about.  Features are those the regularizer
    compares, so norms need one; give it weight 0 to only watch: `0.0 * DomainClassifier(width)`.

    >>> from torch import nn
    >>> from cotrain_losses import CoTrain, DomainClassifier, Method, Seam
    >>> policy = nn.ModuleDict({"encoder": nn.Linear(3, 4), "head": nn.Linear(4, 2)})
    >>> loss = lambda policy, x: policy.head(policy.encoder(x)).square().mean()
    >>> method = Method(regularizer=0.0 * DomainClassifier(width=4))  # only watches
    >>> seam = Seam(feature="encoder", head="head", sampler=False)
    >>> cotrain = CoTrain(policy, method, seam=seam, loss=loss)
    >>> log = []
    >>> watch = cotrain.watch(every=1, to=lambda values, step: log.append(values))
    >>> cotrain(torch.randn(8, 3), domain=torch.arange(8) >= 6, step=0).total.backward()
    >>> log[0]["ratio"]
    0.25
    """

    def __init__(self, step: TrainingStep, *, every: int = 100, to: Callable[..., Any] | None = None) -> None:
        if every < 1:
            raise ValueError(f"every is the number of steps between records and at least 1, got {every}.")
        self.every, self.to, self.step = every, to, -1
        self.values: dict[str, float] = {}
        self.divergence = Divergence()
        self._watched, self._due, self._seen = step, False, dict[str, Tensor]()
        self._counts = Counter[str]()
        step.observers.append(self)

    def remove(self) -> None:
        """Stop watching."""
        if self in self._watched.observers:
            self._watched.observers.remove(self)

    def on_start(self, labels: Labels) -> None:
        if labels.step is None:
            raise ValueError(
                "a watch records every so many optimizer steps and counts none itself, got step=None. "
                "Pass it at the call: cotrain(batch, domain=..., step=step)."
            )
        self._due = labels.step % self.every == 0

    def on_rows(self, rows: Rows, sides: Sides) -> None:
        if not self._due or self._watched.regularizer is None:
            return
        with torch.no_grad():
            for _, source, target in sides:
                self._seen |= {"norm/source": _norm(source), "norm/target": _norm(target)}
                for name, strength, term in self._watched.regularizer.parts():
                    if isinstance(term, DomainClassifier) and min(len(source), len(target)):
                        pair = (source, target)
                        for measured in leaves(strength):
                            pair = measured.transform(*pair)
                        self._seen[f"accuracy/{name}"] = _accuracy(*(term.logits(side) for side in pair))

    def on_losses(self, losses: Losses, labels: Labels) -> None:
        self._counts.update(losses.counts)
        if not self._due:
            return
        self.step, self._due = int(labels.step or 0), False
        self.values = self._record(losses)
        self.divergence.look(self.values, self.step)
        if self.to is not None:
            self.to(self.values, step=self.step)

    def _record(self, losses: Losses) -> dict[str, float]:
        target = self._watched.domains.target
        seen, self._seen = self._seen, {}
        values = losses.scalars(target, seen)
        if "norm/source" in values:
            values["norm/ratio"] = values["norm/target"] / values["norm/source"] if values["norm/source"] else 0.0
        values["ratio"] = self._counts[target] / max(self._counts.total(), 1)
        self._counts.clear()
        return values


class Divergence:
    """Warns once for each of the policy's loss and the features' lengths that runs away: an adversary that wins.

    x > factor <x>      <x>: running average of decay a record, corrected for its bias; or x not finite

    No finite number runs away before `least` records.
    """

    def __init__(self, factor: float = 5.0, decay: float = 0.9, least: int = 3) -> None:
        self.factor, self.decay, self.least = factor, decay, least
        self.diverged: dict[str, int] = {}
        self._running: dict[str, tuple[Average[float], int]] = {}

    def look(self, values: Mapping[str, float], step: int) -> None:
        """Take in a record; `diverged` holds the step at which each number ran away."""
        for name in [name for name in WATCHED if name in values and name not in self.diverged]:
            value, (average, count) = values[name], self._running.get(name, (Average[float](self.decay), 0))
            usual = average.value
            grown = count >= self.least and usual is not None and value > self.factor * abs(usual)
            if math.isfinite(value) and not grown:
                average.add(value)
                self._running[name] = average, count + 1
                continue
            self.diverged[name] = step
            before = "its first record" if usual is None else f"{usual:.3g} before"
            warnings.warn(
                f"training diverges: {name} is {value:.3g} at step {step}, {before}. Lower the weight or cap it, "
                "relative(0.1) * term; balanced(...) turns it down by itself.",
                stacklevel=3,
            )


def tensorboard(writer: Any) -> Callable[..., None]:
    """A receiver for `Watch(to=...)` that writes scalars to a `SummaryWriter`.

    >>> class Writer:
    ...     def add_scalar(self, name, value, step):
    ...         print(name, value, step)
    >>> tensorboard(Writer())({"policy": 0.5}, step=10)
    policy 0.5 10
    """

    def write(values: dict[str, float], *, step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return write


def _norm(rows: Rows) -> Tensor:
    return rows.features.float().square().sum(1).sum().div(max(len(rows), 1)).sqrt()


def _accuracy(source: Tensor, target: Tensor) -> Tensor:
    return ((source < 0).float().mean() + (target > 0).float().mean()) / 2
