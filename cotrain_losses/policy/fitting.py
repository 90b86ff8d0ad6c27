"""Whether a method and a policy fit at a seam: what each must offer the other."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import nn

from ..guidance import DomainGuidance
from ..method import Method
from ..mixing.domains import Domains
from ..terms.term import Regularizer
from .paths import nearest, network, submodule, unwrapped
from .seam import Seam

BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def check_kinds(policy: Any, method: Any, seam: Any, loss: Any, gather: Any) -> None:
    """What CoTrain joins is of the kinds that it can join."""
    if policy is None or isinstance(policy, type | str):
        raise TypeError(f"CoTrain(policy, ...) takes a policy that was made, got {policy!r}.")
    if isinstance(policy, nn.DataParallel) and len(policy.device_ids) > 1:
        raise ValueError(
            "a method acts in one pass over the batch, got DataParallel, which splits it over "
            f"{len(policy.device_ids)} GPUs. Use DistributedDataParallel(CoTrain(policy, ...)), a process for each GPU."
        )
    if not isinstance(method, Method):
        raise TypeError(f"CoTrain(policy, method) takes a Method, got {method!r}. Take one of recipes, or Method().")
    if not (seam is None or isinstance(seam, Seam)):
        raise TypeError(f"CoTrain(seam=...) takes a Seam, got {seam!r}. Write Seam(head={seam!r}, ...).")
    if not (loss is None or isinstance(loss, str) or callable(loss)):
        raise TypeError(f"CoTrain(loss=...) is a method's name or a function (policy, batch), got {loss!r}.")
    if isinstance(loss, str):
        _check_named(loss, policy)
    if not isinstance(gather, bool):
        raise TypeError(f"CoTrain(gather=...) is True or False, got {gather!r}.")


def _check_named(loss: str, policy: Any) -> None:
    """The policy, or a wrapper around it, has the method that is named as its loss."""
    inner = unwrapped(policy)
    if not (hasattr(policy, loss) or hasattr(inner, loss)):
        near = nearest(loss, dir(inner))
        like = f" Nearest there: {', '.join(near)}." if near else ""
        kind = type(inner).__name__
        raise ValueError(f"CoTrain(loss=...) names a method of the policy, got {loss!r}, which {kind} lacks.{like}")


def check_fit(policy: Any, method: Method, seam: Seam | None, domains: Domains, near: Callable[[Any], str]) -> None:
    """A method that acts at a seam has one, its token the seam's width, its modules the policy's device."""
    if seam is None and not (method.regularizer is None and method.guidance is None):
        raise ValueError(
            "a regularizer or guidance acts at a seam, got none for a "
            f"{type(unwrapped(policy)).__name__}, which no adapter knows{near(policy)}. "
            "Say where the features are: CoTrain(..., seam=Seam(head='model.unet', condition='global_cond'))."
        )
    if seam is not None and method.guidance is not None:
        fit_guidance(method.guidance, seam, policy, domains)
    if (home := next(network(policy).parameters(), None)) is not None:
        for part in method.modules():
            part.to(home.device)


def fit_guidance(guidance: DomainGuidance, seam: Seam, policy: Any, domains: Domains) -> None:
    """A token for each domain, as wide as what it is added to."""
    if not seam.guidable:
        raise ValueError(
            "guidance combines two predictions of a head that a sampler calls with a condition, got a seam at "
            f"{seam.place} {'without a condition' if seam.sampler else 'whose head is a regression'}. Name the head's "
            "argument that diffusion and flow policies condition on: Seam(head=..., condition='global_cond'). For "
            "others leave guidance out."
        )
    if guidance.domains != len(domains):
        raise ValueError(
            f"guidance holds a token for each domain, got {guidance.domains} tokens for the {len(domains)} "
            f"domains {', '.join(domains.names)}. Pass DomainGuidance(domains={len(domains)})."
        )
    if guidance.table is None and not guidance.one_hot:
        if (width := seam.condition_width(policy)) is None:
            raise ValueError(
                "the domain token has the width of the head's condition, which this seam does not know. "
                "Pass DomainGuidance(width=...) or Seam(width=...)."
            )
        guidance.build(width, len(domains))


def refuse_features(policy: Any, seam: Seam, regularizer: Regularizer, step: int | None) -> None:
    """Features without a gradient serve terms that ask nothing of them."""
    asking = [name for name, w in regularizer.strengths(step).items() if w != 0.0 or name in regularizer.measured]
    if asking:
        raise ValueError(
            f"{' and '.join(asking)} asks something of the features at {seam.place}, which must carry a gradient; "
            "got features without one: everything before them is frozen or has no parameters, or they arise inside "
            "reentrant activation checkpointing (use_reentrant=False keeps the gradient).\nThe first trainable "
            f"module after them is {_first_trainable(policy, seam)}. Unfreeze the encoder, move the seam "
            "behind a trainable module, or give the term weight 0 to only watch; the rest of the method works as is."
        )


def check_synchronised(policy: Any, entry: str) -> None:
    """A loss entry other than the call would go around DistributedDataParallel and leave gradients unsynchronised."""
    if entry not in ("__call__", "forward") and isinstance(policy, nn.parallel.DistributedDataParallel):
        raise ValueError(
            "DistributedDataParallel synchronises what is called through it, got a policy inside it whose loss entry "
            f"is {entry!r}. Wrap the joined module instead: DistributedDataParallel(CoTrain(policy, ...))."
        )


def warn_of_batch_norm(policy: Any, seam: Seam) -> None:
    """Say which BatchNorm layers above the seam take their statistics from a mixed batch."""
    head = {part for site in seam.heads for part in submodule(policy, site.call).modules()}
    named = network(policy).named_modules()
    mixing = [name for name, m in named if isinstance(m, BATCH_NORM) and m.training and m not in head]
    if mixing:
        more = f" and {len(mixing) - 1} more" if len(mixing) > 1 else ""
        warnings.warn(
            f"features are compared across domains, got BatchNorm in train mode above the seam ({mixing[0]}{more}): "
            "each sample is normalised with the statistics of the mixed batch, so the domains leak into one another "
            "and the mixing ratio changes the features. GroupNorm or frozen statistics (eval mode) avoid it.",
            stacklevel=4,
        )


def _first_trainable(policy: Any, seam: Seam) -> str:
    if not seam.heads:
        return "not known (the seam names no head)"
    inside = [(site.call, *each) for site in seam.heads for each in submodule(policy, site.call).named_modules()]
    names = (f"{call}.{name}" for call, name, part in inside if any(p.requires_grad for p in part.parameters(False)))
    return next(names, "none: the head is frozen too").rstrip(".")
