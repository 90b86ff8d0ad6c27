"""Where the seam is in known codebases: data, not code paths.

    adapter = (package, class name)  ->  seam, loss entry, what a training script calls

A policy is looked up by the name and package of its class and of the classes it inherits from, inside
DistributedDataParallel, torch.compile, PEFT and Accelerate wrappers; no codebase is imported.  One object
teaches a new one:

    adapters.register(Adapter("my_repo", "MyPolicy", Seam(head="denoiser", condition="cond", width=256)))

Facts and versions: docs/codebases.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ._paths import resolved, submodule, unwrapped
from .seam import Seam


@dataclass(frozen=True)
class Adapter:
    """What is known of one policy class.

    Args:
        package: a component of the class's module path, "lerobot" of lerobot.policies.act.modeling_act.
        policy: name of the class.
        seam: its seam, or several of which the first that the policy has the parts for is taken.
        loss: the loss entry, by name or as a function `loss(policy, batch)`.
        entry: the method a training script calls for the loss, which `install` makes return task + regularizer.
        opens: a method called before it in the same step, in which the policy already runs.
        key: where the loss is in a mapping that the entry returns.
        sealed: whether the entry keeps its loss to itself (forward, backward and step in one method), so that
            the regularizer's gradient is joined to the predictions' instead.
        optimizers: function of the policy giving the optimizers it holds.
        drops: a method through which batches lose keys it does not know; `install` keeps their "domain".
        unfit: function of the policy that says which of its settings has no seam, or None.
    """

    package: str
    policy: str
    seam: Seam | tuple[Seam, ...]
    loss: str | Callable[[Any, Any], Any] | None = None
    entry: str = "forward"
    opens: str | None = None
    key: str = "loss"
    sealed: bool = False
    optimizers: Callable[[Any], list[Any]] | None = None
    drops: str | None = None
    unfit: Callable[[Any], str | None] | None = None

    def knows(self, policy: object) -> bool:
        """Whether the policy's class, or one it inherits from, is this one."""
        return any(
            kind.__name__ == self.policy and self.package in kind.__module__.split(".")
            for kind in type(unwrapped(policy)).__mro__
        )

    def seam_of(self, policy: object) -> Seam:
        """The first of the seams that the policy has the parts for, and something to learn at."""
        if self.unfit is not None and (setting := self.unfit(unwrapped(policy))) is not None:
            raise ValueError(f"{self.policy} is wrapped as its codebase trains it by default, got {setting}.")
        seams = self.seam if isinstance(self.seam, tuple) else (self.seam,)
        fitting = [seam for seam in seams if seam.fits(policy)]
        for seam in fitting:
            if seam.feature is None or any(True for _ in submodule(policy, seam.feature).parameters()):
                return seam
        if fitting:
            return fitting[0]
        raise ValueError(
            f"the adapter of {self.package} {self.policy} knows {len(seams)} seams, got a policy that has the parts "
            f"of none: {', '.join(seam.place for seam in seams)}. Its version may differ: pass CoTrain(seam=Seam(...))."
        )


def found(policy: object) -> Adapter | None:
    """The adapter that knows a policy, or None."""
    return next((adapter for adapter in _known if adapter.knows(policy)), None)


def register(adapter: Adapter) -> None:
    """Teach a codebase; a later adapter of a class goes before an earlier one."""
    _known.insert(0, adapter)


def names() -> list[str]:
    """The classes known, with their packages."""
    return [f"{adapter.package} {adapter.policy}" for adapter in _known]


def over_tokens(z: Tensor) -> Tensor:
    """(b, tokens, d) -> (b, d), their mean."""
    return z.mean(1)


def over_pixels(z: Tensor) -> Tensor:
    """(b, d, h, w) -> (b, d), their mean."""
    return z.flatten(2).mean(2)


def unet_width(unet: nn.Module) -> int:
    """Width of the global condition of the one-dimensional UNet that several codebases share."""
    blocks: Any = unet.down_modules
    steps: Any = unet.diffusion_step_encoder
    return int(blocks[0][0].cond_encoder[1].in_features - steps[-1].out_features)


def _unet(path: str, **more: Any) -> Seam:
    return Seam(head=path, condition="global_cond", time="timestep", width=_UNetWidth(path), **more)


@dataclass(frozen=True)
class _UNetWidth:
    path: str

    def __call__(self, policy: Any) -> int:
        return unet_width(submodule(policy, self.path))


def _codebook_first(policy: Any) -> bool:
    return not bool(policy.vqbet.action_head.vqvae_model.discretized)


def _spread(policy: Any, batch: Any) -> Any:
    return policy(*batch)


def _bc_loss(algo: Any, batch: Any) -> Any:
    losses = algo._compute_losses(algo._forward_training(batch), batch)
    return losses["action_loss"], losses


def _policy_optimizer(algo: Any) -> list[Any]:
    return [algo.optimizers["policy"]]


def _expert(features: str, expert: str, time: str = "action_time_mlp_out", prefix: str = "model.") -> Seam:
    """A vision-language model whose action expert takes the token with the time and the noised actions."""
    return Seam(
        feature=prefix + features,
        pool=over_tokens,
        token=prefix + time,
        width=f"{prefix}{time}.out_features",
        head=f"{prefix}{expert}",
        sampler=f"{prefix}denoise_step",
    )


@dataclass(frozen=True)
class _ExpandedBatch:
    """GR00T N1.5 can repeat a batch end to end, where labels are unfolded side by side."""

    path: str

    def __call__(self, policy: Any) -> str | None:
        times = getattr(resolved(policy, self.path), "expand_batch", None)
        return None if times is None else f"expand_batch={times}, which repeats a batch past its labels. Set it to None"


def _gr00t(prefix: str = "") -> Seam:
    """A transformer over action tokens that cross attends to the backbone's, and a decoder behind it."""
    return Seam(
        head=f"{prefix}action_head.model",
        condition="encoder_hidden_states",
        mask="encoder_attention_mask",
        cache="kv_cache",
        time="timestep",
        then=f"{prefix}action_head.action_decoder",
        width=f"{prefix}action_head.config.backbone_embedding_dim",
    )


_LEROBOT_ACT = tuple(
    Seam(feature=f"model.{feature}", pool=pool, head="model", sampler=False)
    for feature, pool in (
        ("encoder_img_feat_input_proj", over_pixels),
        ("encoder_env_state_input_proj", None),
        ("encoder_robot_state_input_proj", None),
    )
)
_LEROBOT_VQBET = Seam(
    feature="vqbet.rgb_feature_projector", head="vqbet.action_head", sampler=False, dormant=_codebook_first
)
_LEROBOT_DIT = Seam(
    head="noise_predictor",
    condition="conditioning_vec",
    time="timestep",
    width="noise_predictor.conditioning_dim",
)
_ROBOMIMIC_BC = (
    Seam(feature="nets.policy.nets.encoder", head="nets.policy.nets.decoder", sampler=False),
    Seam(head="nets.policy.nets.decoder", condition=0, sampler=False),  # low-dimensional encoders only concatenate
)
_GR00T = (("lerobot", "_groot_model.", ("GrootPolicy",)), ("gr00t", "", ("GR00T_N1_5", "Gr00tN1d6", "Gr00tN1d7")))
_CHI_TRANSFORMER = Seam(head="model", condition="cond", time="timestep", width="model.cond_obs_emb.in_features")
_PROJECTOR = "paligemma_with_expert.paligemma.model.multi_modal_projector"

_known = [
    Adapter("lerobot", "DiffusionPolicy", _unet("diffusion.unet"), "__call__"),
    Adapter("lerobot", "ACTPolicy", _LEROBOT_ACT, "__call__"),
    Adapter("lerobot", "VQBeTPolicy", _LEROBOT_VQBET, "__call__"),
    Adapter("lerobot", "MultiTaskDiTPolicy", _LEROBOT_DIT, "__call__"),
    Adapter("lerobot", "SmolVLAPolicy", _expert("vlm_with_expert.vlm.model.connector", "action_out_proj"), "__call__"),
    Adapter("lerobot", "PI0Policy", _expert(_PROJECTOR, "action_out_proj"), "__call__"),
    Adapter("lerobot", "PI05Policy", _expert(_PROJECTOR, "action_out_proj", "time_mlp_out"), "__call__"),
    Adapter(
        "openpi",
        "PI0Pytorch",
        tuple(
            _expert(_PROJECTOR, "action_out_proj", time, prefix="") for time in ("action_time_mlp_out", "time_mlp_out")
        ),
        _spread,
    ),
    *(
        Adapter(package, name, _gr00t(prefix), "__call__", unfit=_ExpandedBatch(f"{prefix}action_head.config"))
        for package, prefix, names in _GR00T
        for name in names
    ),
    *(
        Adapter("diffusion_policy", name, _unet("model"), "compute_loss", "compute_loss")
        for name in ("DiffusionUnetImagePolicy", "DiffusionUnetHybridImagePolicy", "DiffusionUnetLowdimPolicy")
    ),
    *(
        Adapter("diffusion_policy", name, _CHI_TRANSFORMER, "compute_loss", "compute_loss")
        for name in ("DiffusionTransformerHybridImagePolicy", "DiffusionTransformerLowdimPolicy")
    ),
    *(
        Adapter(
            "robomimic",
            name,
            _ROBOMIMIC_BC,
            _bc_loss,
            entry="_compute_losses",
            opens="_forward_training",
            key="action_loss",
            optimizers=_policy_optimizer,
            drops="process_batch_for_training",
        )
        for name in ("BC", "BC_Gaussian", "BC_GMM", "BC_RNN", "BC_RNN_GMM", "BC_Transformer", "BC_Transformer_GMM")
    ),
    Adapter(
        "robomimic",
        "DiffusionPolicyUNet",
        _unet("nets.policy.noise_pred_net", copies=("ema.averaged_model.policy.noise_pred_net",)),
        entry="train_on_batch",
        sealed=True,
        optimizers=_policy_optimizer,
        drops="process_batch_for_training",
    ),
]
