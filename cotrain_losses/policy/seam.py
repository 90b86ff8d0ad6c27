"""The seam: the one point of a policy where co-training happens.

    z = f(o)              features are read here, before the domain token
    c = z + E[domain]     the token enters the head's condition
    a_hat = head(x, c)    each sample's prediction sends back its weight times its gradient

Seen from outside, by hooks: the policy's module tree, state_dict keys, files and optimizer stay as
they are.  A hook acts only while its owner runs a step; a copy of the policy (an EMA, a pickle)
carries hooks that nobody drives, and so is the bare policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.utils._pytree import tree_map

from .paths import exists, resolved
from .tap import Tap


@dataclass(frozen=True)
class Seam:
    """Where features are read, the token enters and predictions leave, by dotted paths.

    Args:
        head: the module that turns a condition into predictions (a denoiser, a velocity net, a decoder).
        condition: name or position of the head's argument that holds the features z.
        feature: the module whose output holds the features, where they are not an argument of the head.
        time: name or position of the head's argument that holds the diffusion or flow time.
        pool: function of the captured tensor giving (b, ...) or (b * k, ...); None keeps it.  Steps and
            cameras folded into the rows are unfolded into the width, (b * k, f) -> (b, k * f).
        mask: name or position of the head's argument (b, tokens) that marks the tokens of a condition
            (b, tokens, d) which are real; z is then their mean.
        cache: name of the head's argument that keeps what it made of a condition between the steps of sampling; the
            prediction for guidance's other condition is made without it.
        width: width of the condition, the dotted path of an attribute of the policy that holds it, or a
            function of the policy.
        token: the module whose output the domain token is added to, where that is not the head's condition.
        then: the module that takes the head's output straight on to predictions, which leave from it.
        sampler: whether predictions are sampled from the head, so that guidance means something; a dotted
            path names the method that makes one prediction while actions are sampled, where that is more
            than one call of the head (a step of a VLA's action expert).
        copies: dotted paths of heads that sampling uses instead (an EMA the policy keeps), as far as they exist.
        dormant: function of the policy, True in a phase of training that does not reach the seam (a codebook
            learned first); the loss is then the policy's own.

    Features come from `feature` if given, else from the head's condition.
    """

    head: str | None = None
    condition: str | int | None = None
    feature: str | None = None
    time: str | int | None = None
    pool: Callable[[Tensor], Tensor] | None = None
    mask: str | int | None = None
    cache: str | None = None
    width: int | str | Callable[[Any], int] | None = None
    token: str | None = None
    then: str | None = None
    sampler: bool | str = True
    copies: tuple[str, ...] = ()
    dormant: Callable[[Any], bool] | None = None

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
    def leaves(self) -> str | None:
        """The module that predictions leave from."""
        return self.then or self.head

    @property
    def guidable(self) -> bool:
        """Whether a sampler calls something that takes a token and gives a prediction."""
        enters = self.token is not None or (self.head is not None and self.condition is not None)
        return bool(self.sampler) and enters

    def fits(self, policy: object) -> bool:
        """Whether the policy has the parts this seam names."""
        parts = (self.head, self.feature, self.token, self.then, self.sampler)
        return all(exists(policy, path) for path in parts if isinstance(path, str))

    def condition_width(self, policy: object) -> int | None:
        """Width of the head's condition, if the seam knows it."""
        if callable(self.width):
            return int(self.width(resolved(policy, "")))
        return int(resolved(policy, self.width)) if isinstance(self.width, str) else self.width

    def tap(self, policy: object) -> Tap:
        """Hooks on `policy` at this seam, idle until driven."""
        tap = Tap(self)
        tap.attach(policy)
        return tap


class _ScaleRows(torch.autograd.Function):
    """x -> x to the bit, gradient of row i times w_i."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        rows = weight.repeat_interleave(len(gradient) // len(weight)).to(gradient)
        return gradient * rows.reshape(-1, *[1] * (gradient.ndim - 1)), None


def with_row_gradients(output: Any, weight: Tensor, place: str) -> Any:
    """`output`, bit for bit, its rows' gradients multiplied by `weight` (b,).

    For a loss that is a sum over samples of functions of each sample's own prediction this equals
    weighting the samples' losses, whatever their reduction, inside loops nobody can edit.
    """

    def scaled(x: Any) -> Any:
        if not (isinstance(x, Tensor) and x.requires_grad):
            return x
        if x.ndim == 0 or len(x) % len(weight):
            raise ValueError(
                f"sample weights scale predictions with a row per sample, got an output of shape {tuple(x.shape)} from "
                f"{place} for {len(weight)} samples. Choose as head the module whose outputs have the samples first."
            )
        return _ScaleRows.apply(x, weight)  # type: ignore[no-untyped-call]

    return tree_map(scaled, output)


def rows_per_sample(captured: Tensor, samples: int, seam: Seam) -> Tensor:
    """The captured tensor as one row a sample: (b * k, ...) -> (b, k * ...)."""
    z = captured if seam.pool is None else seam.pool(captured)
    if z.ndim == 0 or len(z) == 0 or len(z) % samples:
        raise ValueError(
            f"features at {seam.place} hold one row (or a whole number of rows) per sample, got shape {tuple(z.shape)} "
            f"for {samples} domain labels. Pass Seam(pool=...) that puts the samples first, or a label for each sample."
        )
    return rearrange(z.reshape(len(z), -1), "(b k) f -> b (k f)", b=samples)
