"""Whose rows are they: measured by exchanging samples that do not count.

    w_i = 1 for the samples kept, 0 for the others        g  = d/dtheta sum_i w_i l_i
    the others are exchanged for samples kept             g' = the same
    turned = 1 - cos(g, g')                               zero where every row is its own sample's

Both with the same random numbers (dropout draws the same masks), BatchNorm on its running statistics, a random domain
token, and other domain labels for the samples exchanged.  Two steps of the policy, whose gradients are held at once.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .._core.device import drawn_on, reseed
from ..guidance import DomainGuidance
from .coupling import coupling
from .fitting import BATCH_NORM
from .labels import Labels
from .losses import PolicyLoss
from .passes import HeadCall
from .paths import network, networks
from .sites import WHOLE, Owners, Site
from .step import TrainingStep
from .training import TrainingPass

LIMIT = 1e-4
"""of 1 - cos, above which rows are not their own samples'"""
PIECE = 1 << 20
"""numbers that are multiplied at a time"""


class Ownership(NamedTuple):
    """What an exchange of samples of weight zero did."""

    turned: float
    """1 - cos of the policy's gradients before and after"""
    misplaced: str
    """a site whose rows are other samples', and the rule that fits them; "" where there is none"""
    coupled: str
    """a layer that couples the samples of a batch; "" where none was seen"""


class Kept(TrainingPass):
    """A training pass without drawing labels, that notes predictions."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.token, self.predictions = self.samples.domain, list[tuple[Tensor, Owners]]()

    def replace_prediction(self, output: Any, call: HeadCall) -> Any:
        tensors = [x for x in tree_leaves(output) if isinstance(x, Tensor) and x.ndim]
        if tensors and torch.is_grad_enabled():
            self.predictions.append((tensors[0].detach(), call.owners))
        return super().replace_prediction(output, call)


def ownership(step: TrainingStep, batch: Any, labels: Labels) -> Ownership | None:
    """Measure it; None where there is one sample, nothing to learn or nothing to weigh."""
    b, domains = len(labels.domain), len(step.domains)
    kept = _half(b)
    place = torch.arange(b)
    place[~kept] = kept.nonzero().squeeze(1)[torch.arange(b // 2)]
    other = torch.where(kept, labels.domain, (labels.domain + 1) % domains)
    others = exchanged(batch, place)
    _prepare(step)
    runs = [(batch, labels.domain), (others, other)]
    passes = [_gradient(step, x, Labels(domain, kept.float())) for x, domain in runs]
    (first, before), (second, after) = passes
    lengths = _dot(before, before) * _dot(after, after)
    if b < 2 or not lengths:
        return None
    turned = 1 - _dot(before, after) / math.sqrt(lengths)
    if turned <= LIMIT:
        return Ownership(max(turned, 0.0), "", "")
    return Ownership(turned, _misplaced(first, second, kept), coupling(step, runs, kept, _seed))


def _half(b: int) -> Tensor:
    """(b,) half of the samples, without order, so that rows shifted by any number come from the other half."""
    order = torch.randperm(b, generator=torch.Generator().manual_seed(0))
    return torch.zeros(b, dtype=torch.bool).index_fill(0, order[: (b + 1) // 2], True)


def exchanged(batch: Any, place: Tensor) -> Any:
    """A batch with sample place[i] in the place of sample i, whatever holds the samples."""
    b = len(place)

    def again(x: Any) -> Any:
        return exchanged(x, place)

    if isinstance(batch, Tensor):
        return batch[place.to(batch.device)] if batch.ndim and len(batch) == b else batch
    if isinstance(batch, np.ndarray):
        return batch[place.numpy()] if batch.ndim and len(batch) == b else batch
    if isinstance(batch, list | tuple):
        whole = len(batch) == b and not any(isinstance(x, Tensor | np.ndarray) for x in batch)
        items = [batch[j] for j in place.tolist()] if whole else [again(x) for x in batch]
        return type(batch)(*items) if hasattr(batch, "_fields") else type(batch)(items)
    if isinstance(batch, dict):
        changed = copy.copy(batch)
        changed.update({key: again(x) for key, x in batch.items()})
        return changed
    if isinstance(batch, Mapping) or not hasattr(batch, "__dict__") or callable(batch):
        return batch
    changed = copy.copy(batch)
    for name, value in vars(batch).items():
        object.__setattr__(changed, name, again(value))
    return changed


def _prepare(step: TrainingStep) -> None:
    """Only weights and a random token act; BatchNorm uses its running statistics."""
    step.method = replace(step.method, regularizer=None, weights=None, guidance=random_tokens(step.method.guidance))
    for module in network(step.policy).modules():
        if isinstance(module, BATCH_NORM) and module.track_running_stats:
            module.eval()


def random_tokens(guidance: DomainGuidance | None) -> DomainGuidance | None:
    """Guidance whose tokens are not zero."""
    if guidance is None or guidance.table is None:
        return guidance
    other = copy.deepcopy(guidance)
    nn.init.normal_(other.table)  # type: ignore[arg-type]
    return other


def _seed(*modules: nn.Module) -> None:
    reseed(0, drawn_on(*modules))
    random.seed(0)
    np.random.seed(0)


def _gradient(step: TrainingStep, batch: Any, labels: Labels) -> tuple[Kept, list[Tensor | None]]:
    """One step with weights of 0 and 1: what was noted, and the gradient of each of the policy's parameters."""
    parameters = [p for p in network(step.policy).parameters() if p.requires_grad]
    _seed(*networks(step.policy))
    acting = step.begin(batch, labels, Kept)
    if step.hooks is None:
        returned = step.loss(step.policy, batch)
    else:
        with step.hooks.use(acting):
            returned = step.loss(step.policy, batch)
    loss, _ = acting.weighed(PolicyLoss.of(returned, len(labels.domain)))
    return acting, list(torch.autograd.grad(loss, parameters, allow_unused=True))


def _dot(one: list[Tensor | None], other: list[Tensor | None]) -> float:
    """The product of two gradients, summed in double precision a piece at a time: policies have 1e9 parameters."""
    both = ((x, y) for x, y in zip(one, other, strict=True) if x is not None and y is not None)
    pieces = (zip(torch.split(x.flatten(), PIECE), torch.split(y.flatten(), PIECE), strict=True) for x, y in both)
    return sum(float(x.cpu().double() @ y.cpu().double()) for pairs in pieces for x, y in pairs)


def _misplaced(first: Kept, second: Kept, kept: Tensor) -> str:
    """A site whose kept rows changed with the samples exchanged, and what fits it."""
    calls = zip(first.predictions, second.predictions, strict=False)
    seen = [(old, new, owners) for (old, owners), (new, _) in calls if old.shape == new.shape]
    for old, new, owners in seen:
        changed = (old != new).reshape(len(old), -1).any(1).cpu()
        if _touches(changed, owners, kept):
            rules = WHOLE if len(old) == len(kept) else WHOLE[::-1]
            fitting = [rule for rule in rules if not _touches(changed, _with_rule(owners, rule), kept)]
            return f"{owners.site.call}, where {fitting[0]!r} fits" if fitting else ""
    return ""


def _touches(changed: Tensor, owners: Owners, kept: Tensor) -> bool:
    if owners.site.rows in WHOLE and len(changed) % len(kept):
        return True
    return bool((changed & kept[owners.positions(len(changed))]).any())


def _with_rule(owners: Owners, rule: str) -> Owners:
    return Owners(Site(owners.site.call, rows=rule), owners.domain)
