"""LeRobot's own DiffusionPolicy and ACTPolicy (0.4.4) as policies of the suite: small, and normalised as LeRobot does.

Each sees the observation steps side by side as one, and predicts the chunk from now on.  The wrapper only names things;
CoTrain looks through it (`get_base_model`) and finds the seam by its adapters:

    diffusion   seam at the UNet's condition, here the observation: mixing, weights, guidance; a term could move nothing
    act         seam at the observation's projection: mixing, weights, terms; it regresses, so there is no guidance

This module imports LeRobot, and only a run that trains its policies imports this module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
from lerobot.policies.factory import make_pre_post_processors
from torch import Tensor, nn

from .policies import Spaces

STATE, SURROUNDINGS, ACTION = "observation.state", "observation.environment_state", "action"


class LeRobotPolicy(nn.Module, ABC):
    """A policy of LeRobot between its processors."""

    policy: Any

    def __init__(self, policy: Any, spaces: Spaces) -> None:
        super().__init__()
        self.policy = policy
        observed, commands = _statistics(spaces.observations.repeat(1, spaces.steps)), _statistics(spaces.actions)
        statistics = {STATE: observed, SURROUNDINGS: observed, ACTION: commands}
        self.before, self.after = make_pre_post_processors(policy.config, dataset_stats=statistics)

    def get_base_model(self) -> Any:
        """LeRobot's policy: what CoTrain's adapters know."""
        return self.policy

    def compute_loss(self, batch: dict[str, Tensor]) -> Tensor:
        padded = torch.zeros(batch["actions"].shape[:2], dtype=torch.bool, device=batch["actions"].device)
        named = self.observed(batch["observations"]) | {ACTION: batch["actions"], "action_is_pad": padded}
        loss: Tensor = self.policy.forward(self.before(named))[0]
        return loss

    @torch.no_grad()
    def predict_action(self, observations: Tensor) -> Tensor:
        chunk: Tensor = self.after(self.chunk(self.before(self.observed(observations))))
        return chunk

    @abstractmethod
    def observed(self, observations: Tensor) -> dict[str, Tensor]:
        """(b, steps, o) observations under LeRobot's names."""

    @abstractmethod
    def chunk(self, named: dict[str, Tensor]) -> Any:
        """(b, horizon, a) what LeRobot's policy predicts, normalised."""


class Diffusion(LeRobotPolicy):
    """DiffusionPolicy: the robot's state is all that is observed, its surroundings are a state of width 0."""

    def observed(self, observations: Tensor) -> dict[str, Tensor]:
        state = observations.flatten(1)[:, None]
        return {STATE: state, SURROUNDINGS: state[..., :0]}

    def chunk(self, named: dict[str, Tensor]) -> Any:
        return self.policy.diffusion.generate_actions(named)


class ACT(LeRobotPolicy):
    """ACTPolicy: all that is observed are surroundings.  Of the state it asks the device only."""

    def observed(self, observations: Tensor) -> dict[str, Tensor]:
        return {name: observations.flatten(1) for name in (STATE, SURROUNDINGS)}

    def compute_loss(self, batch: dict[str, Tensor]) -> Tensor:
        if self.training:
            return super().compute_loss(batch)
        error = self.predict_action(batch["observations"]) - batch["actions"]
        return error.abs().mean()  # LeRobot 0.4.4's has no latent to take the divergence of outside training

    def chunk(self, named: dict[str, Tensor]) -> Any:
        return self.policy.predict_action_chunk(named)


def diffusion(spaces: Spaces, **changes: Any) -> Diffusion:
    """A UNet of 1 M parameters over the chunk, 100 noise levels, 10 steps of DDIM; `changes` go to DiffusionConfig."""
    settings: dict[str, Any] = {"n_obs_steps": 1, "horizon": spaces.horizon, "down_dims": (64, 128)}
    settings |= {"diffusion_step_embed_dim": 64, "noise_scheduler_type": "DDIM", "num_inference_steps": 10}
    state = PolicyFeature(FeatureType.STATE, (spaces.steps * spaces.observation,))
    features = {STATE: state, SURROUNDINGS: PolicyFeature(FeatureType.ENV, (0,))}
    return Diffusion(DiffusionPolicy(DiffusionConfig(**{**_shared(spaces, features), **settings, **changes})), spaces)


def act(spaces: Spaces, **changes: Any) -> ACT:
    """A variational transformer of width 128 that regresses the chunk; `changes` go to ACTConfig."""
    settings: dict[str, Any] = {"chunk_size": spaces.horizon, "dim_model": 128, "n_heads": 4, "latent_dim": 16}
    settings |= {"dim_feedforward": 256, "n_encoder_layers": 2, "n_vae_encoder_layers": 1}
    settings["normalization_mapping"] = dict.fromkeys(("ENV", "ACTION"), NormalizationMode.MEAN_STD)
    features = {SURROUNDINGS: PolicyFeature(FeatureType.ENV, (spaces.steps * spaces.observation,))}
    return ACT(ACTPolicy(ACTConfig(**{**_shared(spaces, features), **settings, **changes})), spaces)


def _shared(spaces: Spaces, features: dict[str, PolicyFeature]) -> dict[str, Any]:
    commands = {ACTION: PolicyFeature(FeatureType.ACTION, (spaces.action,))}
    given = {"input_features": features, "output_features": commands, "n_action_steps": spaces.horizon}
    return {**given, "device": spaces.device}


def _statistics(x: Tensor) -> dict[str, Tensor]:
    return {"mean": x.mean(0), "std": x.std(0).clamp_min(1e-3), "min": x.amin(0), "max": x.amax(0)}
