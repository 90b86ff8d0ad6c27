"""Vision-language-action models: an action expert that reads a prefix of image and language tokens.

PI0Policy, PI05Policy and SmolVLAPolicy of huggingface/lerobot 7427f318 (policies/{pi0,pi05,smolvla}/modeling_*.py; the
names are those of 0.4.4 too) and PI0Pytorch of Physical-Intelligence/openpi 15a9616a (models_pytorch/pi0_pytorch.py):
one structure, three module trees, and two ways for the time to reach the expert.

    pi0, SmolVLA   action tokens = mlp([action, time])                    action_time_mlp_in, action_time_mlp_out
    pi0.5          every norm of the expert is scaled by mlp(time)        time_mlp_in, time_mlp_out ("adarms_cond")
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from . import Case, named
from .experts import De, PaliGemmaWithExpertModel, SmolVLMWithExpertModel
from .parts import Steps, images

B, H, Da, Tokens = 6, 3, 2, 4


class FlowMatching(nn.Module):
    """embed_prefix, embed_suffix, denoise_step are plain methods; activation checkpointing as in the sources.

    The state is a token of the suffix (pi0) or of the prefix (SmolVLA), or written into the language tokens (pi0.5).
    """

    trunk, state_in = "paligemma_with_expert", "suffix"

    def __init__(self, trunk: nn.Module, adarms: bool = False, checkpointing: bool = False) -> None:
        super().__init__()
        setattr(self, self.trunk, trunk)
        self.adarms, self.steps, self.checkpointing = adarms, Steps(De), checkpointing
        self.action_in_proj, self.action_out_proj = nn.Linear(Da, De), nn.Linear(De, Da)
        if adarms:
            self.time_mlp_in, self.time_mlp_out = nn.Linear(De, De), nn.Linear(De, De)
        else:
            self.action_time_mlp_in, self.action_time_mlp_out = nn.Linear(2 * De, De), nn.Linear(De, De)
            self.state_proj = nn.Linear(3, De)

    def _apply_checkpoint(self, function: Any, *args: Any) -> Any:
        if self.checkpointing and self.training:
            return torch.utils.checkpoint.checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)
        return function(*args)

    def embed_prefix(self, images: list[Tensor], tokens: Tensor, state: Tensor) -> Tensor:
        trunk = getattr(self, self.trunk)
        embedded = [self._apply_checkpoint(trunk.embed_image, image) for image in images]
        own = [self.state_proj(state)[:, None]] if self.state_in == "prefix" else []
        return torch.cat([*embedded, trunk.embed_language_tokens(tokens), *own], 1)

    def embed_suffix(self, state: Tensor, noisy: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor | None]:
        action, time, silu = self.action_in_proj(noisy), self.steps(timestep), nn.functional.silu
        if self.adarms:
            mlp = lambda x: silu(self.time_mlp_out(silu(self.time_mlp_in(x))))
            return action, self._apply_checkpoint(mlp, time)
        mlp = lambda x: self.action_time_mlp_out(silu(self.action_time_mlp_in(x)))
        tokens = self._apply_checkpoint(mlp, torch.cat([action, time[:, None].expand_as(action)], 2))
        own = [self.state_proj(state)[:, None]] if self.state_in == "suffix" else []
        return torch.cat([*own, tokens], 1), None

    def losses(self, images: Any, tokens: Tensor, state: Tensor, actions: Tensor) -> Tensor:
        noise, time = torch.randn_like(actions), torch.rand(len(actions))
        x_t = time[:, None, None] * noise + (1 - time[:, None, None]) * actions
        prefix, (suffix, cond) = self.embed_prefix(images, tokens, state), self.embed_suffix(state, x_t, time)
        run = lambda p, s, c: getattr(self, self.trunk).forward(inputs_embeds=[p, s], adarms_cond=[None, c])[0][1]
        out = self._apply_checkpoint(run, prefix, suffix, cond)[:, -H:]
        v_t = self._apply_checkpoint(lambda x: self.action_out_proj(x), out)
        return nn.functional.mse_loss(noise - actions, v_t, reduction="none")

    @torch.no_grad()
    def integrate(self, images: Any, tokens: Tensor, state: Tensor, num_steps: int) -> Tensor:
        trunk = getattr(self, self.trunk)
        _, cache = trunk.forward(inputs_embeds=[self.embed_prefix(images, tokens, state), None], use_cache=True)
        x_t, asks = torch.randn(len(state), H, Da), {"state": state} if self.state_in == "suffix" else {}
        for k in range(num_steps):
            time = torch.full((len(state),), 1 - k / num_steps)
            x_t = x_t - self.denoise_step(**asks, past_key_values=cache, x_t=x_t, timestep=time) / num_steps
        return x_t

    def denoise_step(self, past_key_values: Any, x_t: Tensor, timestep: Tensor, state: Any = None) -> Tensor:
        suffix, cond = self.embed_suffix(state, x_t, timestep)
        trunk = getattr(self, self.trunk)
        (_, out), _ = trunk.forward(
            inputs_embeds=[None, suffix], past_key_values=past_key_values, adarms_cond=[None, cond]
        )
        return self.action_out_proj(out[:, -H:])


class LeRobotPolicy(nn.Module):
    """forward(batch, reduction) -> (loss, dict); select_action keeps a queue."""

    model: Any

    def __init__(self) -> None:
        super().__init__()
        self._action_queue: list[Tensor] = []

    def reset(self) -> None:
        self._action_queue.clear()

    def _inputs(self, batch: Any) -> tuple[Any, ...]:
        cameras = [batch["observation.images.top"], batch["observation.images.wrist"]]
        return cameras, batch["observation.language.tokens"], batch["observation.state"]

    def forward(self, batch: Any, reduction: str = "mean") -> tuple[Tensor, dict[str, Any]]:
        each = self.model(*self._inputs(batch), batch["action"]).mean((1, 2))
        return (each if reduction == "none" else each.mean()), {"loss": each.mean().item()}

    @torch.no_grad()
    def predict_action_chunk(self, batch: Any) -> Tensor:
        self.eval()
        return self.model.sample_actions(*self._inputs(batch))

    @torch.no_grad()
    def select_action(self, batch: Any) -> Tensor:
        if not self._action_queue:
            self._action_queue.extend(self.predict_action_chunk(batch).transpose(0, 1))
        return self._action_queue.pop(0)


class LeRobotPI0Pytorch(FlowMatching):
    def forward(self, images: Any, tokens: Tensor, state: Tensor, actions: Tensor) -> Tensor:
        return self.losses(images, tokens, state, actions)

    def sample_actions(self, images: Any, tokens: Tensor, state: Tensor) -> Tensor:
        return self.integrate(images, tokens, state, 3)


class PI05Pytorch(LeRobotPI0Pytorch):
    state_in = "language"


class VLAFlowMatching(LeRobotPI0Pytorch):
    trunk, state_in = "vlm_with_expert", "prefix"


@named("lerobot.policies.pi0.modeling_pi0")
class PI0Policy(LeRobotPolicy):
    def __init__(self, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.model = LeRobotPI0Pytorch(PaliGemmaWithExpertModel(), checkpointing=gradient_checkpointing)


@named("lerobot.policies.pi05.modeling_pi05")
class PI05Policy(LeRobotPolicy):
    def __init__(self, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        trunk = PaliGemmaWithExpertModel(adarms=True)
        self.model = PI05Pytorch(trunk, adarms=True, checkpointing=gradient_checkpointing)


@named("lerobot.policies.smolvla.modeling_smolvla")
class SmolVLAPolicy(LeRobotPolicy):
    def __init__(self, freeze_vision_encoder: bool = True) -> None:
        super().__init__()
        self.model = VLAFlowMatching(SmolVLMWithExpertModel(freeze_vision_encoder))


class Observation(NamedTuple):
    """openpi's fixed fields: no room for a label."""

    images: dict[str, Tensor]
    state: Tensor
    tokenized_prompt: Tensor


@named("openpi.models_pytorch.pi0_pytorch")
class PI0Pytorch(FlowMatching):
    """forward(observation, actions) -> (b, H, Da), unreduced."""

    def __init__(self, gradient_checkpointing: bool = True, pi05: bool = False) -> None:
        super().__init__(PaliGemmaWithExpertModel(adarms=pi05), adarms=pi05, checkpointing=gradient_checkpointing)
        self.config, self.pi05 = SimpleNamespace(pi05=pi05), pi05
        self.state_in = "language" if pi05 else "suffix"

    def forward(self, observation: Observation, actions: Tensor, noise: Any = None, time: Any = None) -> Tensor:
        return self.losses(list(observation.images.values()), observation.tokenized_prompt, observation.state, actions)

    def sample_actions(self, device: Any, observation: Observation, noise: Any = None, num_steps: int = 3) -> Tensor:
        cameras = list(observation.images.values())
        return self.integrate(cameras, observation.tokenized_prompt, observation.state, num_steps)


def lerobot_batch() -> dict[str, Tensor]:
    return {
        "observation.images.top": images(B),
        "observation.images.wrist": images(B),
        "observation.language.tokens": torch.randint(0, 11, (B, 5)),
        "observation.state": torch.randn(B, 3),
        "action": torch.randn(B, H, Da),
    }


def cases() -> list[Case]:
    batch = lerobot_batch()
    cameras = {"base": batch["observation.images.top"], "wrist": batch["observation.images.wrist"]}
    observation = Observation(cameras, batch["observation.state"], batch["observation.language.tokens"])
    policies = [
        PI0Policy(),
        PI0Policy(gradient_checkpointing=True),
        SmolVLAPolicy(freeze_vision_encoder=False),
        PI05Policy(),
        PI05Policy(gradient_checkpointing=True),
    ]
    lerobot = [
        Case(p, batch, lambda p: p(batch, reduction="none")[0], lambda p: p.predict_action_chunk(batch), B)
        for p in policies
    ]
    pair = (observation, batch["action"])
    openpi = [
        Case(p, pair, lambda p: p(*pair).mean((1, 2)), lambda p: p.eval().sample_actions("cpu", observation), B)
        for p in (PI0Pytorch(), PI0Pytorch(pi05=True))
    ]
    return [*lerobot, *openpi]
