"""The method of a run, in the policy that LeRobot made: named, tried on a batch, installed, and resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ...method import Method
from ...policy.cotrain import CoTrain
from ...recipes.named import as_wide_as_the_condition, named
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


def sketched(text: str, **known: Any) -> Method:
    """The method that a text names, before its policy is known: ratio and guidance are its own, widths are not."""
    return named(text, **{"width": 1, "steps": 1, "frames": (1, 1), **known})


def drawn_at(text: str, ratio: Ratio | None, domains: int, frames: tuple[int, int] = (1, 1)) -> Ratio | None:
    """The ratio of a run, or without one its method's; Refused if both choose, and differently."""
    known: dict[str, Any] = {"frames": frames, "domains": domains, **({} if ratio is None else {"ratio": ratio})}
    try:
        own = sketched(text, **known).ratio
    except (ValueError, TypeError) as error:
        raise Refused(str(error)) from error
    if ratio is not None and own not in (None, ratio):
        raise Refused(
            f"batches are drawn at one ratio, got --ratio {ratio} and a method that draws at {own}, {text}. Leave "
            "--ratio out and write the method's own arguments, or take a method that leaves the ratio open."
        )
    return own if ratio is None else ratio


def method_of(text: str, policy: Any, trial: Trial, steps: int, ratio: Ratio | None) -> Method:
    """The method that a text names, of the widths that the policy has."""
    known: dict[str, Any] = {"width": lambda: _width(policy, trial), "steps": steps, "frames": trial.frames}
    if ratio is not None:
        known["ratio"] = ratio
    if len(trial.names) > 2:
        known["domains"] = len(trial.names)
    method = as_wide_as_the_condition(named(text, **known), len(trial.names))
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
