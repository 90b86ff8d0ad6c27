"""One step tried on a batch: is the seam where it was meant to be?

Three silent faults are looked for: features without gradient, a head that the loss does not pass, and
sample weights that part of the loss goes around (with all weights zero, no parameter may get a gradient).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from .losses import Losses
from .paths import network, unwrapped

if TYPE_CHECKING:
    from .cotrain import CoTrain


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


def checked(cotrain: CoTrain, batch: Any, domain: Any, step: int | None) -> Check:
    """Run one step with the method's weights and one with zero weights, leaving no trace.

    Raises:
        ValueError: when part of the policy's loss reaches parameters around the seam, naming some of them.
    """
    with _without_trace(cotrain):
        seen: list[Tensor] = []
        losses = cotrain._step(batch, domain=domain, step=step, observe=seen.append)
        tap = cotrain._tap
        around = _gradients_around(cotrain, batch, domain, step)
    if around:
        raise ValueError(
            "sample weights must scale the whole policy loss, got a gradient with all weights zero at "
            f"{', '.join(around[:3])}{' and others' if len(around) > 3 else ''}: part of the loss does not pass "
            f"{cotrain.seam.head if cotrain.seam else 'the seam'}. Name as head the module that all predictions leave."
        )
    return Check(
        features=(len(seen[0]), seen[0].shape[1]) if seen else None,
        gradient=seen[0].requires_grad if seen else None,
        head_calls=None if tap is None or cotrain.seam is None or cotrain.seam.head is None else tap.fired["head"],
        weights_reach_all=None if around is None else True,
        counts=losses.counts,
        losses=losses,
    )


def _gradients_around(cotrain: CoTrain, batch: Any, domain: Any, step: int | None) -> list[str] | None:
    policy = network(cotrain.policy)
    weighable = cotrain.seam is not None and cotrain.seam.head is not None
    if policy is None or not weighable or cotrain.dormant:
        return None
    labels = cotrain.domains.labels(domain, batch)
    silent = cotrain._step(batch, domain=labels, step=step, weight=torch.zeros(len(labels)), only_policy=True)
    named = [(name, p) for name, p in policy.named_parameters() if p.requires_grad]
    found = torch.autograd.grad(silent.total, [p for _, p in named], allow_unused=True)
    return [name for (name, _), g in zip(named, found, strict=True) if g is not None and bool((g != 0).any())]


@contextmanager
def _without_trace(cotrain: CoTrain) -> Iterator[None]:
    """Random numbers, buffers, counters, modes, the label draws and measured weights are afterwards what they were."""
    inner, policy = network(cotrain.policy), unwrapped(cotrain.policy)
    whole = nn.ModuleList([cotrain] if inner is None else [cotrain, inner])
    restored = [_restoring(owner) for owner in (*whole.modules(), *([] if isinstance(policy, nn.Module) else [policy]))]
    states = [(m, m.get_extra_state()) for m in whole.modules() if type(m).get_extra_state is not _NO_STATE]
    try:
        with torch.random.fork_rng(), torch.enable_grad():
            whole.train()
            yield
    finally:
        for restore in restored:
            restore()
        for module, state in states:
            module.set_extra_state(state)


def _restoring(owner: Any) -> Callable[[], None]:
    """Puts an object's buffers, replaced ones included, and its plain attributes (mode, counters) back."""
    plain = {name: value for name, value in getattr(owner, "__dict__", {}).items() if isinstance(value, _PLAIN)}
    buffers = dict(owner._buffers) if isinstance(owner, nn.Module) else {}
    values = {name: None if buffer is None else buffer.clone() for name, buffer in buffers.items()}

    def restore() -> None:
        for name, attribute in plain.items():
            object.__setattr__(owner, name, attribute)
        if isinstance(owner, nn.Module):
            owner._buffers.clear()
            owner._buffers.update(buffers)
        with torch.no_grad():
            for name, buffer in buffers.items():
                if buffer is not None and (value := values[name]) is not None:
                    buffer.copy_(value)

    return restore


_NO_STATE = nn.Module.get_extra_state
_PLAIN = (bool, int, float, str, type(None))
