"""real-stanford/diffusion_policy 5ba07ac6: policy/diffusion_{unet_image, unet_hybrid_image, unet_lowdim,
transformer_hybrid_image, transformer_lowdim}_policy.py and model/diffusion/.

The hybrid policies' obs_encoder is robomimic's ObservationEncoder, built inside a BC-RNN algo: a network per key in
`obs_nets`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import Case, named
from .parts import ConditionalUnet1D, Scheduler, Steps, images

B, To, H, Da = 6, 2, 4, 2
ROOT = "diffusion_policy.policy"


class Base(nn.Module):
    """compute_loss(batch) and predict_action(obs_dict), not forward."""

    model: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.noise_scheduler = Scheduler()

    def condition(self, obs: Any) -> dict[str, Tensor]:
        raise NotImplementedError

    def losses(self, batch: Any) -> Tensor:
        action, condition = batch["action"], self.condition(batch["obs"])
        noise = torch.randn(action.shape)
        timesteps = torch.randint(0, Scheduler.levels, (len(action),)).long()
        noisy = self.noise_scheduler.add_noise(action, noise, timesteps)
        predicted = self.model(noisy, timesteps, **condition)
        return nn.functional.mse_loss(predicted, noise, reduction="none").flatten(1).mean(1)

    def compute_loss(self, batch: Any) -> Tensor:
        return self.losses(batch).mean()

    def predict_action(self, obs: Any) -> dict[str, Tensor]:
        trajectory, condition = torch.randn(B, H, Da), self.condition(obs)
        with torch.no_grad():
            for t in self.noise_scheduler.timesteps:
                trajectory = self.noise_scheduler.step(self.model(trajectory, t, **condition), t, trajectory)
        return {"action": trajectory[:, To - 1 :]}


class Encoder(nn.Module):
    """obs_encoder(dict of (b * To, ...)) -> (b * To, f)."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.state = nn.Conv2d(3, 4, 3), nn.Linear(3, 3)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        return torch.cat([self.image(obs["image"]).mean((2, 3)), self.state(obs["state"])], -1)


class ObservationEncoder(nn.Module):
    """robomimic 0.2's, obs_encoder(dict of (b * To, ...)) -> (b * To, f): keys in order, flattened, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.obs_shapes = {"image": (3, 6, 6), "state": (3,)}
        self.obs_nets = nn.ModuleDict({"image": nn.Conv2d(3, 4, 6), "state": None})

    def output_shape(self) -> list[int]:
        return [7]

    def forward(self, obs_dict: dict[str, Tensor]) -> Tensor:
        assert set(self.obs_shapes).issubset(obs_dict)
        nets = self.obs_nets
        seen = [obs_dict[k] if nets[k] is None else nets[k](obs_dict[k]) for k in self.obs_shapes]
        return torch.cat([x.flatten(1) for x in seen], -1)


def folded(obs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x[:, :To].flatten(0, 1) for name, x in obs.items()}


class OfImages(Base):
    obs_encoder: nn.Module

    def condition(self, obs: Any) -> dict[str, Any]:
        return {"local_cond": None, "global_cond": self.obs_encoder(folded(obs)).reshape(B, -1)}


@named(f"{ROOT}.diffusion_unet_image_policy")
class DiffusionUnetImagePolicy(OfImages):
    def __init__(self) -> None:
        super().__init__()
        self.obs_encoder, self.model = Encoder(), ConditionalUnet1D(Da, To * 7)


@named(f"{ROOT}.diffusion_unet_hybrid_image_policy")
class DiffusionUnetHybridImagePolicy(OfImages):
    def __init__(self) -> None:
        super().__init__()
        self.obs_encoder = ObservationEncoder()
        self.model = ConditionalUnet1D(Da, self.obs_encoder.output_shape()[0] * To)


@named(f"{ROOT}.diffusion_unet_lowdim_policy")
class DiffusionUnetLowdimPolicy(Base):
    def __init__(self) -> None:
        super().__init__()
        self.model = ConditionalUnet1D(Da, To * 3)

    def compute_loss(self, batch: Any) -> Tensor:
        if unknown := set(batch) - {"obs", "action"}:  # its normalizer takes the whole batch
            raise AttributeError(f"'ParameterDict' object has no attribute {unknown}")
        return super().compute_loss(batch)

    def condition(self, obs: Any) -> dict[str, Any]:
        return {"local_cond": None, "global_cond": obs["state"][:, :To].reshape(B, -1)}


class TransformerForDiffusion(nn.Module):
    """forward(sample, timestep, cond) with cond (b, To, cond_dim)."""

    def __init__(self, cond_dim: int, n_emb: int = 8) -> None:
        super().__init__()
        self.input_emb, self.cond_obs_emb = nn.Linear(Da, n_emb), nn.Linear(cond_dim, n_emb)
        self.time_emb, self.head = Steps(n_emb), nn.Linear(n_emb, Da)

    def forward(self, sample: Tensor, timestep: Any, cond: Tensor | None = None, **kwargs: Any) -> Tensor:
        time = self.time_emb(torch.as_tensor(timestep).reshape(-1).expand(len(sample)))
        memory = self.cond_obs_emb(cond).mean(1) + time
        return self.head(torch.tanh(self.input_emb(sample) + memory[:, None]))


@named(f"{ROOT}.diffusion_transformer_lowdim_policy")
class DiffusionTransformerLowdimPolicy(Base):
    def __init__(self) -> None:
        super().__init__()
        self.model = TransformerForDiffusion(3)

    def condition(self, obs: Any) -> dict[str, Any]:
        return {"cond": obs["state"][:, :To]}


@named(f"{ROOT}.diffusion_transformer_hybrid_image_policy")
class DiffusionTransformerHybridImagePolicy(Base):
    def __init__(self) -> None:
        super().__init__()
        self.obs_encoder, self.model = ObservationEncoder(), TransformerForDiffusion(7)

    def condition(self, obs: Any) -> dict[str, Any]:
        return {"cond": self.obs_encoder(folded(obs)).reshape(B, To, -1)}


POLICIES = (
    DiffusionUnetImagePolicy,
    DiffusionUnetLowdimPolicy,
    DiffusionTransformerLowdimPolicy,
    DiffusionTransformerHybridImagePolicy,
    DiffusionUnetHybridImagePolicy,
)


def cases() -> list[Case]:
    obs = {"image": images(B, To), "state": torch.randn(B, To, 3)}
    batch = {"obs": obs, "action": torch.randn(B, H, Da)}
    sample = lambda p: p.predict_action(obs)["action"]
    return [Case(kind(), batch, lambda p: p.losses(batch), sample, B) for kind in POLICIES]
