"""The method at work inside a policy's own entries: three shapes that a training script's loss has.

returned    entry(batch) -> loss, (loss, info), {"loss": ...}        returns task + regularizer instead
split       forward(batch) -> predictions; losses(predictions, batch) -> {...: loss}
sealed      train(batch) runs forward, backward and step             the regularizer joins the predictions
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..terms.evaluation import Evaluation
from .joining import JoiningPass, loss_scales
from .losses import Losses
from .paths import unwrapped
from .step import Labels, TrainingStep


@dataclass
class InstalledStep:
    """A training step that a policy's own entries take."""

    step: TrainingStep
    labels: Callable[[Any], Labels | None]
    """labels of a batch; None where the policy's own entry is all that is asked for."""
    latest: Losses | Evaluation | None = None
    """what the last step was made of."""

    @property
    def policy(self) -> Any:
        """The policy outside its wrappers."""
        return unwrapped(self.step.policy)


class ReturnedLoss:
    """An entry that returns its loss; while installed, the total in the same place."""

    def __init__(self, installed: InstalledStep) -> None:
        self.installed = installed

    def __call__(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        batch = (args[0] if len(args) == 1 else args) if args else kwargs
        if (labels := self.installed.labels(batch)) is None:
            return original(*args, **_accepted(original, kwargs))
        returned: list[Any] = []

        def run() -> Any:
            returned.append(original(*args, **_accepted(original, kwargs)))
            return returned[0]

        self.installed.latest = losses = self.installed.step(batch, labels, run)
        return _with_loss(returned[0], losses, "loss")


class SplitLoss:
    """A method that predicts and one that turns predictions into a mapping of losses, called one after the other.

    Args:
        losses: name of the second method.
        key: where the loss is in the mapping that it returns.
    """

    def __init__(self, installed: InstalledStep, losses: str, key: str) -> None:
        self.installed, self.losses_entry, self.key = installed, losses, key
        self._ready: tuple[Any, Any] | None = None

    def forward(self, original: Callable[..., Any], batch: Any) -> Any:
        """The predictions; the losses are made at once and kept until they are asked for."""
        if (labels := self.installed.labels(batch)) is None:
            return original(batch)
        made: list[Any] = []

        def run() -> Any:
            predictions = original(batch)
            made.extend((predictions, getattr(self.installed.policy, self.losses_entry)(predictions, batch)))
            return made[1][self.key]

        self.installed.latest = losses = self.installed.step(batch, labels, run)
        self._ready = made[0], _with_loss(made[1], losses, self.key)
        return made[0]

    def losses(self, original: Callable[..., Any], predictions: Any, batch: Any) -> Any:
        """The losses of those predictions, the total among them."""
        ready, self._ready = self._ready, None
        return ready[1] if ready is not None and ready[0] is predictions else original(predictions, batch)


class SealedStep:
    """A method that keeps forward, backward and step to itself."""

    def __init__(self, installed: InstalledStep) -> None:
        self.installed = installed

    def __call__(self, original: Callable[..., Any], batch: Any, *args: Any, **kwargs: Any) -> Any:
        step, labels = self.installed.step, self.installed.labels(batch)
        if labels is None or step.hooks is None:
            return original(batch, *args, **kwargs)
        called = inspect.signature(original).bind(batch, *args, **kwargs).arguments
        with torch.set_grad_enabled(torch.is_grad_enabled() and not called.get("validate", False)):
            acting = step.begin(batch, labels, JoiningPass)

        def evaluate() -> Evaluation | None:
            self.installed.latest = evaluation = step.evaluate(acting, batch)
            return evaluation

        acting.evaluate = evaluate
        with loss_scales(self.installed.policy, *args, *kwargs.values()) as acting.scales, step.hooks.use(acting):
            returned = original(batch, *args, **kwargs)
        acting.check_fired(step.hooks)
        return returned


def _accepted(original: Callable[..., Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A call's keywords without a `domain` that came with the batch and that the policy does not take."""
    parameters = inspect.signature(original).parameters
    takes = "domain" in parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return kwargs if takes else {name: value for name, value in kwargs.items() if name != "domain"}


def _with_loss(returned: Any, losses: Losses, key: str) -> Any:
    """What the entry returned, its loss now the total."""
    if isinstance(returned, Tensor):
        return losses.total if returned.ndim == 0 else returned + (losses.total - returned.mean())
    if isinstance(returned, tuple):
        return type(returned)((_with_loss(returned[0], losses, key), *returned[1:]))
    if isinstance(returned, Mapping):
        kind: Any = type(returned)
        return kind({**returned, key: _with_loss(returned[key], losses, key)})
    returned.loss = _with_loss(returned.loss, losses, key)
    return returned
