"""The method of a run, in the policy that LeRobot made: named, tried on a batch, installed, and resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...guidance import DomainGuidance
from ...method import Method
from ...policy.cotrain import CoTrain
from ...recipes.named import named
from ...terms.mmd import MMD
from .settings import Ratio, Refused


@dataclass
class Trial:
    """A batch of every domain as the policy receives it, with its labels, and how the domains are called."""

    batch: Mapping[str, Any]
    domain: Tensor
    names: tuple[str, ...]
    target: str
    frames: tuple[int, int]
    """how many of the sources, of the target"""


def method_of(text: str, policy: Any, trial: Trial, steps: int, ratio: Ratio | None) -> Method:
    """The method that a text names, of the widths that the policy has."""
    known: dict[str, Any] = {"width": lambda: _width(policy, trial), "steps": steps, "frames": trial.frames}
    if ratio is not None:
        known["ratio"] = ratio
    if len(trial.names) > 2:
        known["domains"] = len(trial.names)
    method = named(text, **known)
    if isinstance(method.guidance, DomainGuidance) and not method.guidance.one_hot:  # its width is the condition's
        made = method.guidance
        method = replace(method, guidance=DomainGuidance(drop=made.drop, scale=made.scale, domains=len(trial.names)))
    return method if ratio is None else replace(method, ratio=ratio)


def _width(policy: Any, trial: Trial) -> int:
    """The width of the features, measured on a batch."""
    probe = CoTrain(policy, Method(regularizer=0.0 * MMD()), domains=trial.names, target=trial.target)
    found = probe.check(trial.batch, domain=trial.domain).features
    probe.unwrap()
    if found is None:
        raise Refused(
            f"a {type(policy).__name__} shows no features in its first step, so that no width can be measured. "
            "Write it: adda(width=...)."
        )
    return found[1]


def attached(policy: Any, method: Method, trial: Trial) -> tuple[CoTrain, str]:
    """The policy with the method at its seam, and what a step on the trial's batch says of it."""
    extras = None if method.regularizer is None else _extras
    valid = (lambda batch: ~batch["action_is_pad"]) if "action_is_pad" in trial.batch else None
    cotrain = CoTrain(policy, method, extras=extras, valid=valid, domains=trial.names, target=trial.target)
    return cotrain, str(cotrain.check(trial.batch, domain=trial.domain))


def _extras(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """What the costs of published methods read: actions, and the state."""
    given = {"action": "action", "state": "observation.state"}
    return {name: batch[key].flatten(1) for name, key in given.items() if key in batch}


def state_of(method: Method) -> dict[str, Any]:
    """What the method has learned."""
    parts = {"regularizer": method.regularizer, "guidance": method.guidance, "weights": method.weights}
    return {name: part.state_dict() for name, part in parts.items() if isinstance(part, torch.nn.Module)}


def load_state(method: Method, state: Mapping[str, Any]) -> None:
    """Give the method back what it had learned; Refused if it is of another method."""
    own = {name: getattr(method, name) for name in ("regularizer", "guidance", "weights")}
    parts = {name: part for name, part in own.items() if isinstance(part, torch.nn.Module)}
    if set(parts) != set(state):
        raise Refused(
            f"a run goes on with the method it began with, which holds {', '.join(state) or 'nothing'}, got one that "
            f"holds {', '.join(parts) or 'nothing'}. Pass the same --method, or none."
        )
    for name, part in parts.items():
        part.load_state_dict(state[name])
