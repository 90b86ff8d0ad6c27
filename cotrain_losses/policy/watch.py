"""What a co-training run is doing, at a chosen interval, as a flat dict that any logger takes.

    Watch(cotrain, every=100, to=wandb.log)                     Weights & Biases
    Watch(cotrain, every=100, to=tensorboard(writer))           TensorBoard

    policy, total                 the policy's own loss and the whole
    raw/<term>, strength/<term>   a term's unweighted value and its strength
    share/<term>                  |strength * raw| / (|policy| + sum over terms |strength * raw|)
    reading/<term>/<what>         what a measured weight went by: its probe, its brake, the lengths of gradients
    accuracy/<term>               balanced accuracy of a domain classifier on this batch, before it learns from it
    norm/source, norm/target      root mean square length of the features at the seam, and their ratio norm/ratio
    ratio                         share of target samples in all batches since the last record
    loss_share/<domain>           share of the policy's loss by count, steps of padding left out

Between records a step costs a few Python comparisons and two integer additions: nothing is computed, nothing is
synchronised.  A record is one pass over the classifier and one transfer from the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .._core.rows import Rows
from ..terms.discriminator import DomainClassifier
from ..terms.pair import Pair
from .cotrain import CoTrain
from .divergence import Divergence
from .losses import Losses


class Watch:
    """Records of a `CoTrain` while it trains.

    Args:
        cotrain: what is watched.  Attach before DDP or torch.compile wrap it.
        every: steps between records; step 0 is recorded.
        to: called as `to(values, step=step)` at each record.  None leaves the record in `values`.

    `values` holds the last record and `step` its step; a policy loss or feature length that runs away is warned about
    (`divergence`).  Features are those the regularizer compares, so norms need
    one; give it weight 0 to only watch: `0.0 * DomainClassifier(width)`.

    Raises:
        ValueError: `every` below 1; or, at the first training step, a step that was not passed.
    """

    def __init__(self, cotrain: CoTrain, *, every: int = 100, to: Callable[..., Any] | None = None) -> None:
        if every < 1:
            raise ValueError(f"every is the number of steps between records and at least 1, got {every}.")
        self.every, self.to, self.step = every, to, -1
        self.values: dict[str, float] = {}
        self.divergence = Divergence()
        self._target, self._counts = cotrain.domains.target, dict.fromkeys(cotrain.domains.names, 0)
        self._due, self._seen = False, dict[str, Tensor]()
        self._handles = [
            cotrain.register_forward_pre_hook(self._before, with_kwargs=True),
            cotrain.register_forward_hook(self._after, with_kwargs=True),
        ]
        if cotrain.regularizer is not None:
            self._terms = cotrain.regularizer.parts()
            self._handles.append(cotrain.regularizer.register_pair_hook(self._observe))

    def remove(self) -> None:
        """Stop watching."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _before(self, cotrain: nn.Module, args: Any, kwargs: Any) -> None:
        if not (cotrain.training and torch.is_grad_enabled()):
            return
        step = kwargs.get("step")
        if step is None:
            raise ValueError(
                "a watch records every so many optimizer steps and counts none itself, got step=None. "
                "Pass it at the call: cotrain(batch, domain=..., step=step)."
            )
        self._due = step % self.every == 0

    @torch.no_grad()
    def _observe(self, pair: Pair) -> None:
        if not self._due:
            return
        self._seen |= {"norm/source": _norm(pair.source), "norm/target": _norm(pair.target)}
        for name, _, term in self._terms:
            if isinstance(term, DomainClassifier) and min(len(pair.source), len(pair.target)):
                self._seen[f"accuracy/{name}"] = _accuracy(term.logits(pair.source), term.logits(pair.target))

    def _after(self, cotrain: nn.Module, args: Any, kwargs: Any, losses: Losses) -> None:
        if not (cotrain.training and torch.is_grad_enabled()):
            return
        for name, count in losses.counts.items():
            self._counts[name] += count
        if not self._due:
            return
        self.step, self._due = kwargs["step"], False
        self.values = self._record(losses)
        self.divergence.look(self.values, self.step)
        if self.to is not None:
            self.to(self.values, step=self.step)

    def _record(self, losses: Losses) -> dict[str, float]:
        seen, self._seen = self._seen, {}
        tensors = {"policy": losses.policy, "total": losses.total.detach()}
        tensors |= {f"raw/{name}": value for name, value in losses.raw.items()} | seen
        numbers = torch.stack([value.detach().double().to(losses.total.device) for value in tensors.values()]).tolist()
        values: dict[str, float] = dict(zip(tensors, numbers, strict=True))
        parts = {name: abs(weight * values[f"raw/{name}"]) for name, weight in losses.strengths.items()}
        whole = abs(values["policy"]) + sum(parts.values())
        for name, weight in losses.strengths.items():
            values |= {f"strength/{name}": weight, f"share/{name}": parts[name] / whole if whole else 0.0}
        if "norm/source" in values:
            values["norm/ratio"] = values["norm/target"] / values["norm/source"] if values["norm/source"] else 0.0
        values |= {f"reading/{name}": value for name, value in losses.readings.items()}
        values["ratio"] = self._counts[self._target] / max(sum(self._counts.values()), 1)
        self._counts = dict.fromkeys(self._counts, 0)
        return values | {f"loss_share/{name}": share for name, share in losses.shares.items()}


def tensorboard(writer: Any) -> Callable[..., None]:
    """A receiver for `Watch(to=...)` that writes scalars to a `SummaryWriter`."""

    def write(values: dict[str, float], *, step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return write


def _norm(rows: Rows) -> Tensor:
    return rows.features.float().square().sum(1).sum().div(max(len(rows), 1)).sqrt()


def _accuracy(source: Tensor, target: Tensor) -> Tensor:
    return ((source < 0).float().mean() + (target > 0).float().mean()) / 2
