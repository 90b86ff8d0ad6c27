"""One step tried on a batch: is the seam where it was meant to be, and does the method act there?

raises   a loss that weights reach in part only: with all weights zero no parameter may get a gradient
         rows that are not those of the samples they are taken for: samples of weight zero are exchanged
tells    features without gradient or that the loss does not need, a layer that couples samples, a scale that changes
         nothing, terms that were skipped, a method that no optimizer holds, a loss that an installed method did not see
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from .._core.device import drawn_on, reseed
from .._core.rows import Rows
from .guided import GuidedPass, guided_sampling
from .labels import Labels
from .losses import Losses, PolicyLoss
from .ownership import LIMIT, Ownership, ownership, random_tokens
from .paths import network, networks, unwrapped
from .step import Observer, Sides, TrainingStep
from .training import TrainingPass
from .untraced import untraced

Sample = Callable[[Any], Any]
UNMEASURED = (
    "no parameter of the policy gets a gradient here, so whether weights reach the whole loss and whose rows are whose "
    "were not measured. Check before parameters are frozen or sharded (fully_shard)."
)


class Check(NamedTuple):
    """What was found at the seam."""

    features: tuple[int, int] | None
    """samples and width of z, where a regularizer reads it."""
    gradient: bool | None
    """whether z carries a gradient to the encoder."""
    head_calls: int | None
    """calls of the head in one loss."""
    weights_reach_all: bool | None
    """whether zero weights give a zero gradient; None where nothing can be weighed."""
    counts: dict[str, int]
    """samples of each domain."""
    losses: Losses
    """the step's losses."""
    turned: float | None = None
    """1 - cos by which the policy's gradient turned when samples of weight zero were exchanged, if measured."""
    told: tuple[str, ...] = ()
    """what does not act as a user would expect, a sentence each."""

    def __str__(self) -> str:
        lines = {
            "features (samples, width)": self.features,
            "features carry a gradient": self.gradient,
            "head calls a step": self.head_calls,
            "sample weights reach the whole loss": self.weights_reach_all,
            "gradient turned by samples of weight zero": None if self.turned is None else f"{self.turned:.1e}",
            "samples": self.counts,
            "policy loss": round(float(self.losses.policy), 6),
            "terms": {name: round(float(value), 6) for name, value in self.losses.raw.items()},
        }
        found = [f"{name}: {value}" for name, value in lines.items() if value not in (None, {})]
        return "\n".join([*found, *(f"! {sentence}" for sentence in self.told)])


def checked(
    step: TrainingStep,
    batch: Any,
    domain: Any,
    at: int | None,
    sample: Sample | None = None,
    told: tuple[str, ...] = (),
) -> Check:
    """Run a step with the method's weights, one with zero weights, two with some, one for features; without a trace.

    Raises:
        ValueError: when part of the policy's loss reaches parameters around the seam, naming some of them, or when rows
            are not those of the samples they are taken for, naming the site.
    """
    labels = Labels(step.domains.labels(domain, batch), step=at)
    head, seen = None if step.seam is None or not step.seam.heads else step.seam.left, _Seen()
    with untraced(step):
        step.observers = [seen]
        losses = tree_map_only(Tensor, Tensor.detach, step(batch, labels))  # whose graph would be held to the end
        calls = None if step.hooks is None or head is None else step.hooks.fired["head"]
        weighs = head is not None and step.seam is not None and not step.seam.dormant(unwrapped(step.policy))
        around = _gradients_around(step, batch, labels) if weighs else None
        if around:
            raise ValueError(_around(around, head))
    owned = None
    if around is not None:
        with untraced(step):
            owned = ownership(step, batch, labels)
        if owned is not None and owned.misplaced:
            raise ValueError(_misplaced(owned))
    with untraced(step):
        said = (
            *([UNMEASURED] if weighs and around is None else []),
            *_unequal(owned),
            *_unread(step, batch, labels),
            *_skipped(losses),
            *_unguided(step, batch, len(labels.domain), sample),
            *_unheld(step),
            *told,
        )
    turned, reaches = None if owned is None else owned.turned, None if around is None else True
    return Check(seen.shape, seen.gradient, calls, reaches, losses.counts, losses, turned, said)


class _Seen(Observer):
    shape: tuple[int, int] | None = None
    gradient: bool | None = None

    def on_rows(self, rows: Rows, sides: Sides) -> None:
        self.shape, self.gradient = (len(rows.features), rows.features.shape[1]), rows.features.requires_grad


def _gradients_around(step: TrainingStep, batch: Any, labels: Labels) -> list[str] | None:
    """Parameters that get a gradient though all weights are zero; None where the policy learns none here."""
    named = [(name, p) for name, p in network(step.policy).named_parameters() if p.requires_grad]
    if not named:
        return None
    weightless = replace(labels, weight=torch.zeros(len(labels.domain)))
    step.method = replace(step.method, regularizer=None)
    losses = step(batch, weightless)
    gradients = torch.autograd.grad(losses.total, [p for _, p in named], allow_unused=True)
    if all(g is None for g in gradients):
        return None
    return [name for (name, _), g in zip(named, gradients, strict=True) if g is not None and bool((g != 0).any())]


def _around(names: list[str], head: str | None) -> str:
    return (
        "sample weights must scale the whole policy loss, got a gradient with all weights zero at "
        f"{', '.join(names[:3])}{' and others' if len(names) > 3 else ''}: part of the loss does not pass "
        f"{head}. Name as head the module that all predictions leave."
    )


def _misplaced(owned: Ownership) -> str:
    site, _, rule = owned.misplaced.partition(", where ")
    return (
        "each row weighs as its own sample, got a gradient that turned by "
        f"{owned.turned:.2g} (1 - cosine) when samples of weight zero were exchanged: rows at {site} are other "
        f"samples'. Say whose they are: Seam(rows={rule.removesuffix(' fits')})."
    )


def _unread(step: TrainingStep, batch: Any, labels: Labels) -> list[str]:
    """Whether the policy's loss depends on the features that the terms read."""
    if step.hooks is None or step.seam is None or step.regularizer is None:
        return []
    acting = step.begin(batch, labels, TrainingPass)
    with step.hooks.use(acting):
        loss = PolicyLoss.of(step.loss(step.policy, batch), len(labels.domain), step.loss_key).scalar
    features = [captured.z for captured in acting.features if captured.z.requires_grad]
    if not features or not loss.requires_grad:
        return []
    gradients = torch.autograd.grad(loss, features, allow_unused=True)
    if any(g is not None and bool((g != 0).any()) for g in gradients):
        return []
    return [
        f"the policy's loss does not depend on the features at {step.seam.place}, so the terms train what is before "
        "them for nothing. Name a module whose output the loss needs."
    ]


def _unequal(owned: Ownership | None) -> list[str]:
    if owned is None or owned.turned <= LIMIT:
        return []
    cause = f"{owned.coupled} couples" if owned.coupled else "the loss, or a layer that was not seen, couples"
    return [
        f"{cause} the samples of a batch, so a sample's weight is not its loss's alone: the gradient turned by "
        f"{owned.turned:.2g} (1 - cosine) when samples of weight zero were exchanged."
    ]


def _skipped(losses: Losses) -> list[str]:
    names, counts = ", ".join(losses.skipped), ", ".join(f"{n} {name}" for name, n in losses.counts.items())
    cure = "It compares two rows or more of each. Mix the domains, or keep rows of earlier batches: CoTrain(memory=64)."
    return [f"{names} was skipped: this batch has {counts}. {cure}"] if names else []


def _unguided(step: TrainingStep, batch: Any, samples: int, sample: Sample | None) -> list[str]:
    """Whether a scale changes what the head predicts, in its loss or in the sampler given."""
    guidance, hooks = random_tokens(step.method.guidance), step.hooks
    if guidance is None or hooks is None or (sample is None and hooks.seam.steps is not None):
        return []

    def run(scale: float) -> Any:
        acting = GuidedPass(guidance, step.domains.position(step.domains.target), scale, hooks.seam.steps is not None)
        reseed(0, drawn_on(*networks(step.policy)))
        if sample is not None:
            with guided_sampling(acting, hooks, step.policy):
                return sample(step.policy)
        with hooks.use(acting):
            return PolicyLoss.of(step.loss(step.policy, batch), samples).scalar

    with torch.no_grad():
        one, three = run(1.0), run(3.0)
    alike = torch.equal(torch.as_tensor(one), torch.as_tensor(three))
    where = "the sampler's actions" if sample is not None else f"what {hooks.seam.left} predicts"
    cure = "Name the condition, or the method that makes one prediction: Seam(sampler='model.denoise_step')."
    return [f"guidance's scale changes nothing in {where}. {cure}"] if alike else []


def _unheld(step: TrainingStep) -> list[str]:
    """Whether some optimizer steps the policy and none steps the method."""
    both = network(step.policy).parameters(), step.method.parameters()
    own, plugin = ({id(p) for p in each if p.requires_grad} for each in both)
    if not plugin:
        return []
    optimizers = [x for x in gc.get_objects() if issubclass(type(x), torch.optim.Optimizer)]
    held = [{id(p) for group in x.param_groups for p in group["params"]} for x in optimizers]
    if not any(each & own for each in held) or any(each & plugin for each in held):
        return []
    return [
        "no optimizer holds the method's own parameters yet (discriminators, domain tokens); where install() does not "
        "do it: optimizer.add_param_group({'params': cotrain.plugin_parameters(), 'weight_decay': 0.0})."
    ]
