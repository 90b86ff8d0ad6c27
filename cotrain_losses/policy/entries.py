"""The method at work inside a policy's own entries: three shapes that a training script's loss has.

returned    entry(batch) -> loss, (loss, info), {"loss": ...}        returns task + regularizer instead
split       forward(batch) -> predictions; losses(predictions, batch) -> {...: loss}
sealed      train(batch) runs forward, backward and step             the regularizer joins the predictions
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..terms.evaluation import Evaluation
from .joining import JoiningPass, loss_scales
from .keeping import Keeping, restore
from .labels import LabelReaders, Labels
from .losses import Losses
from .paths import unwrapped
from .step import TrainingStep


class InstalledStep:
    """A training step that a policy's own entries take."""

    latest: Losses | Evaluation | None = None
    """what the last step was made of; of a sealed step, what the regularizer was worth."""
    keeping: Keeping

    def __init__(self, step: TrainingStep, readers: LabelReaders) -> None:
        self.step, self.readers, self.policy = step, readers, unwrapped(step.policy)
        self._beside = list[Labels]()

    def state_dict(self) -> dict[str, Any]:
        """The method's own state, for whatever saves objects that have one: a workspace, Accelerate."""
        return self.keeping.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the method as it was saved."""
        restore(self.step.method, state)

    @contextmanager
    def labelled(self, labels: Labels) -> Iterator[None]:
        """Labels for the calls made in the block."""
        self._beside.append(labels)
        try:
            yield
        finally:
            self._beside.pop()

    def labels(self, batch: Any) -> Labels | None:
        """Labels of a batch; None where the policy's own entry is all that is asked for."""
        hooks, read = self.step.hooks, self.readers
        self.step.refuse_guided()
        if hooks is not None and hooks.active is not None:  # a step of CoTrain, or guided sampling, runs already
            return None
        if self._beside:
            labels = self._beside[-1]
        elif read.domain is not None:
            parts = (read.weight, read.index, read.has_action)
            weight, index, has_action = (None if part is None else part(batch) for part in parts)
            labels = Labels(read.domain(batch), weight, index, has_action=has_action)
        elif not self.step.learns:
            return None
        else:
            raise ValueError(
                "an installed method needs the batch's domain labels, got none. Pass cotrain.install(domain=lambda "
                "batch: ...), or call the policy within cotrain.labelled(domain)."
            )
        return replace(labels, step=read.step()) if labels.step is None and read.step is not None else labels

    def returned(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """An entry that returns its loss; the total is in the same place."""
        batch = (args[0] if len(args) == 1 else args) if args else kwargs
        parameters = inspect.signature(original).parameters
        if "domain" not in parameters and all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
            kwargs = {name: value for name, value in kwargs.items() if name != "domain"}  # it came with the batch
        labels, loss = self.labels(batch), partial(original, *args, **kwargs)
        return loss() if labels is None else self.trained(batch, labels, loss)

    def trained(self, batch: Any, labels: Labels, loss: Callable[[], Any], key: str | None = None) -> Any:
        """What `loss` returns under the method, the total in place of the loss (at a key), the log told of all."""
        returned: list[Any] = []

        def run() -> Any:
            returned.append(loss())
            return returned[0] if key is None else returned[0][key]

        self.latest = losses = self.step(batch, labels, run)
        with_total = _with_loss(returned[0], losses, key or self.step.loss_key)
        return _with_scalars(with_total, losses, self.step.domains.target) if self.step.learns else with_total

    def sealed(self, original: Callable[..., Any], batch: Any, *args: Any, **kwargs: Any) -> Any:
        """An entry that keeps forward, backward and step to itself."""
        step, labels = self.step, self.labels(batch)
        if labels is None or step.hooks is None:
            return original(batch, *args, **kwargs)
        called = inspect.signature(original).bind(batch, *args, **kwargs).arguments
        with torch.set_grad_enabled(torch.is_grad_enabled() and not called.get("validate", False)):
            acting = step.begin(batch, labels, JoiningPass)
        acting.evaluate = partial(step.evaluate, acting, batch, [])
        with loss_scales(self.policy, *args, *kwargs.values()) as acting.scales, step.hooks.use(acting):
            returned = original(batch, *args, **kwargs)
        acting.check_fired(step.hooks)
        acting.check_joined()
        self.latest = acting.evaluation or self.latest
        return returned


class SplitLoss:
    """A method that predicts, and one, named `losses`, that turns predictions into a mapping with the loss at `key`."""

    def __init__(self, installed: InstalledStep, losses: str, key: str) -> None:
        self.installed, self.losses_entry, self.key = installed, losses, key
        self._ready: tuple[Any, Any] | None = None

    def forward(self, original: Callable[..., Any], batch: Any) -> Any:
        """The predictions; the losses are made at once and kept until they are asked for."""
        if (labels := self.installed.labels(batch)) is None:
            return original(batch)
        made: list[Any] = []

        def losses() -> Any:
            made.append(original(batch))
            return getattr(self.installed.policy, self.losses_entry)(made[0], batch)

        self._ready = made, self.installed.trained(batch, labels, losses, self.key)
        return made[0]

    def losses(self, original: Callable[..., Any], predictions: Any, batch: Any) -> Any:
        """The losses of those predictions, the total among them."""
        ready, self._ready = self._ready, None
        return ready[1] if ready is not None and ready[0][0] is predictions else original(predictions, batch)


def _with_loss(returned: Any, losses: Losses, key: str) -> Any:
    """What the entry returned, its loss now the total."""
    if isinstance(returned, Tensor):
        return losses.total if returned.ndim == 0 else returned + (losses.total - returned.mean())
    if isinstance(returned, tuple):
        return _rebuilt(returned, _with_loss(returned[0], losses, key), *returned[1:])
    if isinstance(returned, Mapping):
        kind: Any = type(returned)
        return kind({**returned, key: _with_loss(returned[key], losses, key)})
    setattr(returned, key, _with_loss(getattr(returned, key), losses, key))
    return returned


def _with_scalars(returned: Any, losses: Losses, target: str) -> Any:
    """(loss, info) with what the step was made of in its info, where that is a mapping or nothing: scripts log it."""
    if not isinstance(returned, tuple) or len(returned) != 2 or not isinstance(returned[1], Mapping | None):
        return returned
    loss, info = returned
    return _rebuilt(returned, loss, {**losses.scalars(target), **(info or {})})


def _rebuilt(like: tuple[Any, ...], *items: Any) -> Any:
    kind: Any = type(like)
    return kind(*items) if hasattr(kind, "_fields") else kind(items)
