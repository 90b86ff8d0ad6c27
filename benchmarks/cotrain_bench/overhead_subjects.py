"""The policies whose training steps are measured: the suite's own, and LeRobot's where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import cotrain_losses as ctl

from .results import CannotContinue, check_one_of


class Subject(NamedTuple):
    """A policy to be measured, its batch, and how it is sampled."""

    policy: Any
    batch: Any
    loss: Callable[[Any, Any], Tensor]
    seam: ctl.Seam | None
    sample: Callable[[Any], Any] | None
    terms: bool
    """whether something trainable lies before the seam, so that a term means something"""

    @property
    def domain(self) -> Tensor:
        """(b,) bool: a quarter of the batch is the target's, two rows at least."""
        size = len(next(iter(self.batch.values())))
        return torch.arange(size) < max(2, size // 4)

    def width(self) -> int:
        """Of the features at the seam."""
        cotrain = ctl.CoTrain(self.policy, ctl.Method(regularizer=0.0 * ctl.MMD()), seam=self.seam, loss=self.loss)
        features = cotrain.check(self.batch, domain=self.domain).features
        cotrain.unwrap()
        assert features is not None
        return features[1]


def subject(name: str, size: int, device: str) -> Subject:
    """A policy and a batch of that size on a device.

    Raises:
        CannotContinue: an unknown name, or a library that is not installed.
    """
    check_one_of("a policy", name, SUBJECTS)
    made = SUBJECTS[name](size)
    made.policy.to(device)
    return made._replace(batch={key: value.to(device) for key, value in made.batch.items()})


def _suite(size: int) -> Subject:
    from .sim2sim.policy import FlowPolicy
    from .sim2sim.world import COMMAND, WIDTH

    policy = FlowPolicy(WIDTH, COMMAND)
    batch = {"observations": torch.randn(size, 2, WIDTH), "actions": torch.randn(size, 8, COMMAND)}
    seam = ctl.Seam(head="velocity", condition="condition", width=policy.width)
    sample = lambda p: p.predict_action(batch["observations"])  # noqa: E731
    return Subject(policy, batch, lambda p, b: p.compute_loss(b), seam, sample, True)


def _diffusion(size: int, image: bool) -> Subject:
    policies = _lerobot("diffusion")
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {"observation.state": ("STATE", (7,))}
    if image:
        kinds["observation.images.top"], more = ("VISUAL", (3, 84, 84)), {}
    else:
        kinds["observation.environment_state"], more = ("ENV", (16,)), {"down_dims": (64, 128, 256)}
    policy = policies(kinds, crop_shape=None, num_inference_steps=10, **more)
    batch = _observed(kinds, size, 2) | _actions(size, 16)

    def sample(p: Any) -> Any:
        observed = {name: x[:4] for name, x in batch.items() if name.startswith("observation")}
        if image:
            observed["observation.images"] = observed.pop("observation.images.top")[:, :, None]
        return p.diffusion.generate_actions(observed)

    return Subject(policy, batch, lambda p, b: p.forward(b)[0], None, sample, image)


def _act(size: int) -> Subject:
    kinds = {"observation.state": ("STATE", (7,)), "observation.images.top": ("VISUAL", (3, 96, 96))}
    policy = _lerobot("act")(kinds, dim_model=128, dim_feedforward=512, chunk_size=20, n_action_steps=20)
    batch = _observed(kinds, size) | _actions(size, 20)
    return Subject(policy, batch, lambda p, b: p.forward(b)[0], None, None, True)


def _observed(kinds: dict[str, Any], size: int, *steps: int) -> dict[str, Tensor]:
    return {name: torch.rand(size, *steps, *shape) for name, (_, shape) in kinds.items()}


def _actions(size: int, horizon: int) -> dict[str, Tensor]:
    return {"action": torch.randn(size, horizon, 7), "action_is_pad": torch.zeros(size, horizon).bool()}


def _lerobot(kind: str) -> Callable[..., Any]:
    try:
        from lerobot.configs.types import FeatureType, PolicyFeature
        from lerobot.policies.factory import get_policy_class, make_policy_config
    except (ImportError, RuntimeError) as error:
        raise CannotContinue(
            f"LeRobot's policies are measured where LeRobot is installed (docs/codebases.md says how), got: {error}. "
            "Pass --policies suite for the suite's own."
        ) from error

    def make(kinds: dict[str, Any], **settings: Any) -> Any:
        inputs = {name: PolicyFeature(FeatureType[kind], shape) for name, (kind, shape) in kinds.items()}
        outputs = {"action": PolicyFeature(FeatureType.ACTION, (7,))}
        config = make_policy_config(kind, input_features=inputs, output_features=outputs, device="cpu", **settings)
        if hasattr(config, "pretrained_backbone_weights"):
            config.pretrained_backbone_weights = None
        return get_policy_class(kind)(config).train()

    return make


SUBJECTS: dict[str, Callable[[int], Subject]] = {
    "suite": _suite,
    "diffusion-image": lambda size: _diffusion(size, image=True),
    "diffusion-state": lambda size: _diffusion(size, image=False),
    "act": _act,
}
