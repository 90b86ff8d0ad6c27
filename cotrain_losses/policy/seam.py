"""The seam: the one point of a policy where co-training happens.

    z = f(o)              features are read here, before the domain token
    c = z + E[domain]     the token enters the head's condition
    a_hat = head(x, c)    each sample's prediction sends back its weight times its gradient

Seen from outside, by hooks: the policy's module tree, state_dict keys, files and optimizer stay as they are.  A hook
acts only while its owner runs a step; a copy of the policy (an EMA, a pickle) carries hooks that nobody drives.  What a
single codebase does otherwise is a method, overridden in its adapter's own subclass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from .paths import exists, resolved


@dataclass(frozen=True)
class Seam:
    """Where features are read, the token enters and predictions leave, by dotted paths.

    Args:
        head: the module that turns a condition into predictions (a denoiser, a velocity net, a decoder).
        condition: name or position of the head's argument that holds the features z.
        feature: the module whose output holds the features, where they are not an argument of the head.
        time: name or position of the head's argument that holds the diffusion or flow time.
        pool: function of the captured tensor giving (b, ...) or (b * k, ...), unfolded to (b, k * ...); None keeps it.
        width: of the condition, the dotted path of an attribute of the policy that holds it, or a function of it.
        token: the module whose output the domain token is added to, where that is not the head's condition.
        sampler: whether predictions are sampled from the head, so that guidance means something; a dotted path names
            the method that makes one prediction, where that is more than one call of the head (a VLA's action expert).
    """

    head: str | None = None
    condition: str | int | None = None
    feature: str | None = None
    time: str | int | None = None
    pool: Callable[[Tensor], Tensor] | None = None
    width: int | str | Callable[[Any], int] | None = None
    token: str | None = None
    sampler: bool | str = True

    def __post_init__(self) -> None:
        if self.feature is None and (self.head is None or self.condition is None):
            raise ValueError(
                "a seam says where the features are: Seam(head='model.unet', condition='global_cond') when the head "
                "takes them as an argument, Seam(feature='encoder', head='decoder') when they are a module's output; "
                f"got head={self.head!r}, condition={self.condition!r}, feature={self.feature!r}."
            )

    @property
    def place(self) -> str:
        """Where the features are, in words for an error."""
        return self.feature if self.feature is not None else f"{self.head}({self.condition})"

    @property
    def guidable(self) -> bool:
        """Whether a sampler calls something that takes a token and gives a prediction."""
        return bool(self.sampler) and (self.token is not None or None not in (self.head, self.condition))

    def fits(self, policy: object) -> bool:
        """Whether the policy has the parts this seam names."""
        parts = (self.head, self.feature, self.token, self.prediction, self.sampler)
        return all(exists(policy, path) for path in parts if isinstance(path, str))

    def condition_width(self, policy: object) -> int | None:
        """Width of the head's condition, if the seam knows it."""
        if callable(self.width):
            return int(self.width(resolved(policy, "")))
        return int(resolved(policy, self.width)) if isinstance(self.width, str) else self.width

    def rows(self, captured: list[Tensor], samples: int) -> Tensor:
        """One row a sample, (b * k, ...) -> (b, k * ...), of the tensors that one run of the policy passed here.

        Several calls of a module (cameras) are side by side; of a head's condition the first call counts.
        """
        each = []
        for z in captured if self.feature is not None else captured[:1]:
            z = z if self.pool is None else self.pool(z)
            if z.ndim == 0 or len(z) == 0 or len(z) % samples:
                raise ValueError(
                    f"features at {self.place} hold one row (or a whole number of rows) per sample, got shape "
                    f"{tuple(z.shape)} for {samples} domain labels. Pass Seam(pool=...) that puts the samples first, "
                    "or a label for each sample."
                )
            whole = z.ndim == 2 and len(z) == samples
            each.append(z if whole else rearrange(z.reshape(len(z), -1), "(b k) f -> b (k f)", b=samples))
        return each[0] if len(each) == 1 else torch.cat(each, 1)

    @property
    def prediction(self) -> str | None:
        """The module that predictions leave from: the head, or one that takes the head's output straight on."""
        return self.head

    def features_of(self, condition: Tensor, head: nn.Module, args: Any, kwargs: Any) -> Tensor:
        """The features in a call of the head that is given them as its condition."""
        return condition

    def call_again(self, head: nn.Module, args: Any, kwargs: Any) -> Any:
        """The head called once more, for the other condition of guidance."""
        return head(*args, **kwargs)

    def copies(self, policy: object) -> tuple[Seam, ...]:
        """Seams of heads that sampling uses instead of `head`, such as an average that the policy keeps."""
        return ()

    def dormant(self, policy: object) -> bool:
        """Whether the policy is in a phase of training that does not reach the seam; its loss is then its own."""
        return False
