"""Policies the suite can train: the suite's own, LeRobot's, or anybody's.

    factory(spaces) -> nn.Module      compute_loss({"observations": (b, steps, o), "actions": (b, h, a)}) -> scalar
                                      predict_action((b, steps, o)) -> (b, h, a)
                                      seam: ctl.Seam, unless one of CoTrain's adapters knows the class

A factory is named "module:factory", or by a short name of `READY`.  Beyond these two methods the suite touches a policy
through `CoTrain` alone.  docs/your-policy.md shows one.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

import cotrain_losses as ctl
from cotrain_losses.policy import adapters
from cotrain_losses.policy.losses import PolicyLoss

from ..results import CannotContinue, WrongSetting, source_digest, versions

READY = {
    "flow": f"{__package__}.policy:flow",
    "stems": f"{__package__}.policy:stemmed",
    "lerobot-diffusion": f"{__package__}.lerobot_policies:diffusion",
    "lerobot-act": f"{__package__}.lerobot_policies:act",
}
"""short names of the factories that come with the suite"""

LIBRARIES = ("lerobot", "diffusers", "robomimic", "transformers", "timm")  # their versions name cells too


@dataclass(frozen=True)
class Spaces:
    """What a policy reads and gives, and the frames it is trained on, for its normalisation."""

    steps: int  # observations that a policy sees at once, the latest last
    observation: int  # numbers in an observation
    horizon: int  # commands in a chunk, the first of them for now
    action: int  # numbers in a command
    observations: Tensor = field(repr=False)  # (n, observation) of every training frame
    actions: Tensor = field(repr=False)  # (n, action) of every training frame
    device: str = "cpu"  # where the policy is trained; it is moved there, wherever it was made


class Policy(Protocol):
    """What the suite asks of a policy, which is an `nn.Module` besides.

    Optional attributes: `seam`, a `ctl.Seam`; `learning_rate`, in the place of the budget's; `get_base_model()`, the
    policy inside a wrapper, which CoTrain then looks at (PEFT's word).
    """

    def compute_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """A scalar, or one loss per sample, of {"observations": (b, steps, o), "actions": (b, h, a)}."""

    def predict_action(self, observations: Tensor) -> Tensor:
        """(b, h, a) commands for (b, steps, o) observations; all h are carried out before the next call."""


Factory: TypeAlias = "Callable[[Spaces], nn.Module]"


def check_name(name: str) -> None:
    """Raise WrongSetting unless a name is a short one or "module:factory"."""
    module, _, attribute = name.partition(":")
    if name not in READY and not (module and attribute.isidentifier()):
        raise WrongSetting(f"a policy is one of {', '.join(READY)}, or module:factory, got {name!r}.")


def factory(name: str) -> Factory:
    """The factory of that name, imported; modules in the current folder are found too.

    Raises CannotContinue for a name that leads nowhere, or to something that cannot be called with the spaces.
    """
    place = _place(name)
    module, _, attribute = place.partition(":")
    try:
        _see_current_folder()
        built = getattr(importlib.import_module(module), attribute)
    except (ImportError, RuntimeError) as error:  # a torchvision for another torch raises the latter
        raise CannotContinue(_not_imported(name, module, error)) from error
    except AttributeError as error:
        raise CannotContinue(f"--policy names a factory, got {place!r}, but {module} has no {attribute!r}.") from error
    if not callable(built):
        raise CannotContinue(f"--policy names a factory, got {place!r}, which is a {type(built).__name__}.")
    with suppress(ValueError):  # a builtin has no signature: the call will tell
        signature = inspect.signature(built)
        try:
            signature.bind("spaces")
        except TypeError as error:
            called = f"got {place} which takes {signature}: {error}."
            raise CannotContinue(f"a factory is called with the spaces alone, factory(spaces), {called}") from error
    return built  # type: ignore[no-any-return]


def policy_key(name: str) -> dict[str, Any]:
    """What of a policy names a cell: the factory, its source (the whole package, where it is in one), its libraries."""
    return {"policy": name, "policy_code": source_digest(*_sources(_place(name))), "libraries": versions(*LIBRARIES)}


def made(policy: str | Factory, spaces: Spaces) -> Any:
    """A fresh policy from a factory or its name; a TypeError where it is not what the protocol asks for."""
    built = (factory(policy) if isinstance(policy, str) else policy)(spaces)
    origin = policy if isinstance(policy, str) else getattr(policy, "__qualname__", policy)
    named = f"got a {type(built).__name__} from {origin}"
    if not isinstance(built, nn.Module):
        raise TypeError(f"a factory returns an nn.Module, {named}. Return the policy itself.")
    missing = [name for name in ("compute_loss", "predict_action") if not callable(getattr(built, name, None))]
    if missing:
        raise TypeError(f"a policy has compute_loss(batch) and predict_action(observations), {named} without {missing}")
    if not any(p.requires_grad for p in built.parameters()):
        raise TypeError(f"a policy has parameters to train, {named} without any. Register its parts as modules.")
    if not isinstance(seam := getattr(built, "seam", None), ctl.Seam | None):
        raise TypeError(f"a policy's seam is a ctl.Seam, {named} with a {type(seam).__name__}.")
    if seam is None and adapters.find(built) is None:
        raise TypeError(
            f"a policy says where its features are, {named}, which no adapter knows. Give it an attribute such as "
            "seam = ctl.Seam(feature='encoder', head='decoder')."
        )
    return built


def loss_of(policy: Any, batch: dict[str, Tensor]) -> Any:
    """The policy's loss: the entry the suite gives `CoTrain`."""
    return policy.compute_loss(batch)


def feature_width(policy: Any, batch: dict[str, Tensor]) -> int:
    """Width of the features at the policy's seam, tried on a copy with a batch; random numbers stay as they are."""
    watching = ctl.Method(regularizer=0.0 * ctl.MMD())
    rows = len(batch["observations"])
    cotrain = ctl.CoTrain(copy.deepcopy(policy), watching, seam=getattr(policy, "seam", None), loss=loss_of)
    features = cotrain.check(batch, domain=torch.arange(rows) % 2 == 0).features
    assert features is not None
    return features[1]


def check_policy(policy: Any, batch: dict[str, Tensor]) -> None:
    """Refuse, before it is trained, a policy whose loss is none or whose commands have another shape."""
    observations, actions = batch["observations"], batch["actions"]
    with torch.random.fork_rng(drawn_on(policy)):
        loss = PolicyLoss.of(copy.deepcopy(policy).train().compute_loss(batch), len(actions)).scalar
        with torch.no_grad():
            chunk = copy.deepcopy(policy).eval().predict_action(observations)
    if not loss.requires_grad:
        raise ValueError(
            "compute_loss returns a loss that depends on the policy's parameters, got one without gradient."
        )
    shape = tuple(chunk.shape) if isinstance(chunk, Tensor) else ()
    if len(shape) != 3 or shape[::2] != (len(observations), actions.shape[2]) or not shape[1]:
        raise ValueError(
            f"predict_action returns commands of shape (b, h, {actions.shape[2]}), h at least 1, got "
            f"{shape or type(chunk).__name__} for observations {tuple(observations.shape)}."
        )


def drawn_on(policy: nn.Module) -> list[torch.device]:
    """The GPUs whose random numbers a policy takes."""
    return [device for device in {p.device for p in policy.parameters()} if device.type == "cuda"]


def _place(name: str) -> str:
    check_name(name)
    return READY.get(name, name)


def _see_current_folder() -> None:
    if not {"", os.getcwd()} & set(sys.path):  # an installed command does not look there by itself
        sys.path.append(os.getcwd())
        importlib.invalidate_caches()


def _not_imported(name: str, module: str, error: Exception) -> str:
    if name.startswith("lerobot-") and name in READY:
        told = "is trained where LeRobot 0.4.4 is installed (docs/codebases.md says how)"
        return f"--policy {name} {told}, got: {error}. Or take --policy flow."
    known = f"--policy names a module that can be imported from here, got {name!r}"
    return f"{known}, and importing {module} says: {error}. The current folder is {os.getcwd()}."


def _sources(place: str) -> list[Path]:
    _see_current_folder()
    module = place.partition(":")[0]
    spec = find_spec(module if module.startswith(f"{__package__}.") else module.partition(".")[0])
    if spec is None or not (spec.submodule_search_locations or spec.has_location):
        raise CannotContinue(f"--policy names a module that can be imported from here, got {place!r}.")
    return [Path(folder) for folder in spec.submodule_search_locations or [str(spec.origin)]]
