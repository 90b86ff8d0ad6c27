"""The policies whose steps are measured: a small image policy, and LeRobot's image Diffusion where it is installed.

Of LeRobot only the files of that policy are wanted; what they import on the way and do not use is stood in for where it
is missing (`standins`).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import cotrain_losses as ctl

from .standins import stand_in


class Subject(NamedTuple):
    """A policy, its batch, its loss and its seam (None: an adapter knows it)."""

    policy: nn.Module
    batch: dict[str, Tensor]
    loss: Callable[[Any, Any], Tensor]
    seam: ctl.Seam | None
    width: int

    @property
    def domain(self) -> Tensor:
        """(b,) bool on the CPU: a tenth of the batch is the target's, two rows at least."""
        size = len(self.batch["action"])
        return torch.arange(size) < max(2, size // 10)


class Head(nn.Module):
    """(b, h, a) noised actions, (b,) times, (b, w) conditions -> (b, h, a)."""

    def __init__(self, width: int, horizon: int, actions: int) -> None:
        super().__init__()
        self.shape, flat = (horizon, actions), horizon * actions
        self.net = nn.Sequential(nn.Linear(width + flat + 1, 512), nn.SiLU(), nn.Linear(512, flat))

    def forward(self, noised: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        predicted: Tensor = self.net(torch.cat([noised.flatten(1), time[:, None], condition], 1))
        return predicted.view(-1, *self.shape)


class Small(nn.Module):
    """Flow matching from an image: four convolutions and a head of two layers."""

    def __init__(self, width: int = 256, horizon: int = 16, actions: int = 7) -> None:
        super().__init__()
        channels = (3, 32, 64, 128, width)
        layers = [nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(channels)]
        self.encoder = nn.Sequential(
            *(part for layer in layers for part in (layer, nn.SiLU())), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.head = Head(width, horizon, actions)

    def compute_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """The mean squared error of the predicted velocity."""
        action = batch["action"]
        noise, time = torch.randn_like(action), torch.rand(len(action), device=action.device)
        noised = (1 - time[:, None, None]) * noise + time[:, None, None] * action
        predicted: Tensor = self.head(noised, time, condition=self.encoder(batch["image"]))
        return (predicted - (action - noise)).square().mean()


def small(device: str, tiny: bool) -> Subject:
    """The small image policy, 64 images of 96 pixels a batch."""
    b, side = (8, 16) if tiny else (64, 96)
    batch = {"image": torch.rand(b, 3, side, side, device=device), "action": torch.randn(b, 16, 7, device=device)}
    seam = ctl.Seam(head="head", condition="condition", time="time", width=256)
    return Subject(Small().to(device), batch, lambda p, x: p.compute_loss(x), seam, 256)


def diffusion(device: str, tiny: bool) -> Subject:
    """LeRobot's Diffusion Policy with a ResNet18 for two cameras, as its defaults are."""
    stand_in()
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy

    b, side = (4, 48) if tiny else (64, 96)
    kinds: dict[str, tuple[Any, tuple[int, ...]]] = {"observation.state": (FeatureType.STATE, (7,))}
    kinds |= {f"observation.images.{name}": (FeatureType.VISUAL, (3, side, side)) for name in ("top", "wrist")}
    inputs = {name: PolicyFeature(*kind) for name, kind in kinds.items()}
    more: dict[str, Any] = {"down_dims": (32, 64), "horizon": 8, "n_action_steps": 4} if tiny else {}
    outputs = {"action": PolicyFeature(FeatureType.ACTION, (7,))}
    config = DiffusionConfig(
        input_features=inputs,
        output_features=outputs,
        device=device,
        crop_shape=None,
        pretrained_backbone_weights=None,
        **more,
    )
    policy = DiffusionPolicy(config).to(device).train()
    batch = {name: torch.rand(b, config.n_obs_steps, *shape, device=device) for name, (_, shape) in kinds.items()}
    batch |= {"action": torch.rand(b, config.horizon, 7, device=device) * 2 - 1}
    batch |= {"action_is_pad": torch.zeros(b, config.horizon, dtype=torch.bool, device=device)}

    def loss(policy: Any, batch: Any) -> Tensor:
        return policy.forward(batch)[0]  # type: ignore[no-any-return]

    cotrain = ctl.CoTrain(policy, ctl.Method(regularizer=0.0 * ctl.MMD()), loss=loss)
    features = cotrain.check(batch, domain=torch.arange(b) < 2).features
    cotrain.unwrap()
    return Subject(policy, batch, loss, None, 0 if features is None else features[1])


POLICIES: dict[str, Callable[[str, bool], Subject]] = {
    "small image policy": small,
    "LeRobot image Diffusion": diffusion,
}


def methods(width: int) -> dict[str, Callable[[], ctl.Method]]:
    """What is put on a policy; each makes a new method."""
    from cotrain_losses.importance import RatioWeights
    from cotrain_losses.terms.mmd import CORAL, EnergyDistance

    def adversary() -> ctl.Regularizer:
        return -0.1 * ctl.DomainClassifier(width)

    return {
        "OptimalTransport": lambda: ctl.Method(regularizer=0.1 * ctl.OptimalTransport(1.0)),
        "Sinkhorn": lambda: ctl.Method(regularizer=0.1 * ctl.Sinkhorn(1.0)),
        "MMD": lambda: ctl.Method(regularizer=0.1 * ctl.MMD()),
        "energy": lambda: ctl.Method(regularizer=0.1 * EnergyDistance()),
        "CORAL": lambda: ctl.Method(regularizer=0.1 * CORAL()),
        "classifier": lambda: ctl.Method(regularizer=adversary()),
        "adversary": lambda: ctl.Method(regularizer=0.1 * ctl.DomainAdversary(width)),
        "ratio weights": lambda: ctl.Method(weights=RatioWeights(0.1, 0.25)),
        "guidance": lambda: ctl.Method(guidance=ctl.DomainGuidance()),
        "adversary, weights and guidance": lambda: ctl.Method(
            regularizer=adversary(), weights=RatioWeights(0.1, 0.25), guidance=ctl.DomainGuidance()
        ),
    }
