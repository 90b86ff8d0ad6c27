"""What is known of the policies of one codebase: their seam, their loss, what a training script calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..entries import InstalledStep
from ..paths import resolved, submodule, unwrapped
from ..seam import Seam


class Adapter:
    """What is known of some policies of one codebase: what the arguments say, and what a subclass overrides.

    `package` is a component of the classes' module path, "lerobot" of lerobot.policies.act.modeling_act.  Of several
    seams the first that a policy has the parts for is taken.  `entry` is the method that a training script calls for
    the loss; "forward" is the policy's call.
    """

    def __init__(
        self, package: str, policies: str | tuple[str, ...], seams: Seam | tuple[Seam, ...] = (), entry: str = "forward"
    ) -> None:
        self.package, self.entry = package, "forward" if entry == "__call__" else entry
        self.policies = (policies,) if isinstance(policies, str) else policies
        self.seams = (seams,) if isinstance(seams, Seam) else seams

    def knows(self, policy: object) -> bool:
        """Whether the policy's class, or one it inherits from, is one of these."""
        return any(
            kind.__name__ in self.policies and self.package in kind.__module__.split(".")
            for kind in type(unwrapped(policy)).__mro__
        )

    def loss(self, policy: Any, batch: Any) -> Any:
        """The policy's loss on a batch, in whatever form it returns it."""
        if self.entry == "forward":
            return policy(batch)
        return getattr(policy if hasattr(policy, self.entry) else unwrapped(policy), self.entry)(batch)

    def overrides(self, installed: InstalledStep) -> dict[str, Callable[..., Any]]:
        """What `install` does to the policy's methods: `call(original, ...)` for each that is overridden."""
        return {self.entry: installed.returned}

    def optimizers(self, policy: Any) -> list[Any]:
        """Optimizers that the policy holds."""
        return []

    def seam_of(self, policy: object) -> Seam | None:
        """The first of the seams that the policy has the parts for, and something to learn at."""
        fitting = [seam for seam in self.seams if seam.fits(policy)]
        if self.seams and not fitting:
            raise ValueError(
                f"the adapter of {self.package} {type(unwrapped(policy)).__name__} knows {len(self.seams)} seams, got "
                f"a policy that has the parts of none: {', '.join(seam.place for seam in self.seams)}. "
                "Its version may differ: pass CoTrain(seam=Seam(...))."
            )
        learning = (seam for seam in fitting if _learns(policy, seam))
        return next(learning, fitting[0] if fitting else None)


def _learns(policy: object, seam: Seam) -> bool:
    """Whether modules that hold the features have something to learn."""
    read = seam.features if seam.feature is not None else ()
    return not read or any(True for site in read for _ in submodule(policy, site.call).parameters())


def over_tokens(z: Tensor) -> Tensor:
    """(b, tokens, d) -> (b, d), their mean; no second copy of the tokens is held."""
    return _mean(z, 1)


def over_pixels(z: Tensor) -> Tensor:
    """(b, d, h, w) -> (b, d), their mean; no second copy of the pixels is held."""
    return _mean(z.flatten(2), 2)


def _mean(z: Tensor, axis: int) -> Tensor:
    """The gradient of a sum is a view, that of a mean a tensor as large as z; but a sum of float16 overflows."""
    return z.mean(axis) if z.dtype == torch.float16 else z.sum(axis) / z.shape[axis]


def unet_width(policy: object, path: str = "") -> int:
    """Width of the global condition of the one-dimensional UNet, at a path, that several codebases share."""
    unet = resolved(policy, path)
    return int(unet.down_modules[0][0].cond_encoder[1].in_features - unet.diffusion_step_encoder[-1].out_features)


def unet(path: str, kind: type[Seam] = Seam) -> Seam:
    """A one-dimensional UNet over actions that takes the observations as its global condition."""
    return kind(head=path, condition="global_cond", time="timestep", width=partial(unet_width, path=path))


def expert(features: str, head: str, time: str = "action_time_mlp_out", prefix: str = "model.") -> Seam:
    """A vision-language model whose action expert takes the token with the time and the noised actions."""
    return Seam(
        feature=prefix + features,
        pool=over_tokens,
        token=prefix + time,
        width=f"{prefix}{time}.out_features",
        head=f"{prefix}{head}",
        sampler=f"{prefix}denoise_step",
    )


PALIGEMMA = "paligemma_with_expert.paligemma.model.multi_modal_projector"
"""where pi0's and pi0.5's images become tokens"""
