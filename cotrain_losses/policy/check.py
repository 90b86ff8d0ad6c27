"""One step tried on a batch: is the seam where it was meant to be?

Three faults that training would not show are looked for: features without gradient, a head that the loss does not
pass, and sample weights that part of the loss goes around (with all weights zero, no parameter may get a gradient).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .._core.modes import training
from .._core.rows import Rows
from .losses import Losses
from .paths import network, networks, unwrapped
from .step import Labels, Observer, Sides, TrainingStep


class Check(NamedTuple):
    """What was found at the seam."""

    features: tuple[int, int] | None
    """samples and width of z, where a regularizer reads it."""
    gradient: bool | None
    """whether z carries a gradient to the encoder."""
    head_calls: int | None
    """calls of the head in one loss."""
    weights_reach_all: bool | None
    """whether zero weights give a zero gradient; None where nothing can be weighed."""
    counts: dict[str, int]
    """samples of each domain."""
    losses: Losses
    """the step's losses."""

    def __str__(self) -> str:
        lines = {
            "features (samples, width)": self.features,
            "features carry a gradient": self.gradient,
            "head calls a step": self.head_calls,
            "sample weights reach the whole loss": self.weights_reach_all,
            "samples": self.counts,
            "policy loss": round(float(self.losses.policy), 6),
            "terms": {name: round(float(value), 6) for name, value in self.losses.raw.items()},
        }
        return "\n".join(f"{name}: {value}" for name, value in lines.items() if value not in (None, {}))


def checked(step: TrainingStep, batch: Any, domain: Any, at: int | None) -> Check:
    """Run one step with the method's weights and one with zero weights, leaving no trace.

    Raises:
        ValueError: when part of the policy's loss reaches parameters around the seam, naming some of them.
    """
    labels = Labels(step.domains.labels(domain, batch), step=at)
    head, seen = None if step.seam is None or not step.seam.heads else step.seam.left, _Seen()
    with _without_trace(step):
        step.observers = [seen]
        losses = step(batch, labels)
        calls = None if step.hooks is None or head is None else step.hooks.fired["head"]
        weighs = head is not None and step.seam is not None and not step.seam.dormant(unwrapped(step.policy))
        around = _gradients_around(step, batch, labels) if weighs else None
    if around:
        raise ValueError(
            "sample weights must scale the whole policy loss, got a gradient with all weights zero at "
            f"{', '.join(around[:3])}{' and others' if len(around) > 3 else ''}: part of the loss does not pass "
            f"{head}. Name as head the module that all predictions leave."
        )
    z, reaches = seen.features, None if around is None else True
    shape, gradient = (None, None) if z is None else ((len(z), z.shape[1]), z.requires_grad)
    return Check(shape, gradient, calls, reaches, losses.counts, losses)


class _Seen(Observer):
    features: Tensor | None = None

    def on_rows(self, rows: Rows, sides: Sides) -> None:
        self.features = rows.features


def _gradients_around(step: TrainingStep, batch: Any, labels: Labels) -> list[str] | None:
    """Parameters that get a gradient though all weights are zero; None where the policy learns none."""
    named = [(name, p) for name, p in network(step.policy).named_parameters() if p.requires_grad]
    if not named:
        return None
    weightless = replace(labels, weight=torch.zeros(len(labels.domain)))
    step.method = replace(step.method, regularizer=None)
    losses = step(batch, weightless)
    gradients = torch.autograd.grad(losses.total, [p for _, p in named], allow_unused=True)
    return [name for (name, _), g in zip(named, gradients, strict=True) if g is not None and bool((g != 0).any())]


@contextmanager
def _without_trace(step: TrainingStep) -> Iterator[None]:
    """The step, random numbers, buffers, counters, modes, draws and measured strengths are afterwards as before."""
    policy, roots = unwrapped(step.policy), [*networks(step.policy), *step.method.modules()]
    modules = [module for root in roots for module in root.modules()]
    restored = [_restoring(owner) for owner in (*modules, *([] if isinstance(policy, nn.Module) else [policy]))]
    method, observers = step.method, step.observers
    states = [(m, m.get_extra_state()) for m in modules if type(m).get_extra_state is not _NO_STATE]
    try:
        with training(*roots), torch.random.fork_rng(), torch.enable_grad():
            yield
    finally:
        step.method, step.observers = method, observers
        for restore in restored:
            restore()
        for module, state in states:
            module.set_extra_state(state)


def _restoring(owner: Any) -> Callable[[], None]:
    """Puts an object's buffers, replaced ones included, and its plain attributes (mode, counters) back."""
    plain = {name: value for name, value in getattr(owner, "__dict__", {}).items() if isinstance(value, _PLAIN)}
    module = owner if isinstance(owner, nn.Module) else nn.Module()
    buffers = {name: (buffer, buffer.clone()) for name, buffer in module.named_buffers(recurse=False)}

    def restore() -> None:
        for name, attribute in plain.items():
            object.__setattr__(owner, name, attribute)
        for name in dict(module.named_buffers(recurse=False)).keys() - buffers.keys():
            setattr(module, name, None)
        with torch.no_grad():
            for name, (buffer, value) in buffers.items():
                setattr(module, name, buffer.copy_(value))

    return restore


_NO_STATE = nn.Module.get_extra_state
_PLAIN = (bool, int, float, str, type(None))
