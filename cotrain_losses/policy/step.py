"""One training step of a policy under a method: one forward pass of the policy, plus what the method asks.

    L = weights * l_policy  +  sum_k lambda_k R_k(source, target)

Whatever takes a step (an installed method, a check, a held-out loss, a watch) goes through here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from .._core.device import follow, moved
from .._core.rows import Rows
from ..importance.samples import Samples
from ..method import Method
from ..mixing.domains import Domains
from ..strength.strength import MeasuredStrength
from ..terms.evaluation import Evaluation
from ..terms.term import Regularizer
from .fitting import refuse_features, warn_of_batch_norm
from .gather import Gather, with_gathered
from .guided import GuidedPass
from .hooks import Hooks
from .labels import BatchReaders, Labels
from .losses import Losses, PolicyLoss, mean_over_sources, shares_of
from .memory import Memory
from .paths import networks, unwrapped
from .seam import Seam
from .sites import learned
from .telling import Idle, Unmet
from .training import TrainingPass

Sides = list[tuple[str, Rows, Rows]]
P = TypeVar("P", bound=TrainingPass)


class Observer:
    """Is told of every training step, from its start to its losses; this one ignores it."""

    def on_start(self, labels: Labels) -> None:
        """Before the policy runs."""

    def on_rows(self, rows: Rows, sides: Sides) -> None:
        """The features of the batch, and what the regularizer compared."""

    def on_losses(self, losses: Losses, labels: Labels) -> None:
        """What the step was made of."""


@dataclass(eq=False)
class TrainingStep:
    """What a training step of one policy, in whatever wrappers it came, under one method is; see `CoTrain`."""

    policy: Any
    method: Method
    loss: Callable[[Any, Any], Any]
    seam: Seam | None
    domains: Domains
    read: BatchReaders = field(default_factory=BatchReaders)
    gather: bool = False
    loss_key: str = "loss"
    memory: int = 0
    guessed: bool = False
    """whether nothing says that the policy's call returns a loss"""

    def __post_init__(self) -> None:
        method, seam, policy = self.method, self.seam, self.policy
        self.regularizer = method.regularizer if isinstance(method.regularizer, Regularizer) else None
        self.hooks = None if seam is None else Hooks(seam).attach(policy)
        self.observers: list[Observer] = []
        self.gathered = Gather()
        self.kept, self.unmet, self.idle, self.begun = Memory(self.memory), Unmet(), Idle(), 0
        self._inner, self._roots = unwrapped(policy), networks(policy)
        self._place, self._warned_of_batch_norm = "the head" if seam is None else seam.left, False
        for strength in self.measured_strengths():
            strength.gathered = self.gather

    def measured_strengths(self) -> list[MeasuredStrength]:
        """The strengths in the regularizer that are measured while training."""
        return [] if self.regularizer is None else self.regularizer.measured_strengths()

    @property
    def learns(self) -> bool:
        """Whether a call now is one of training, in which the method acts."""
        return torch.is_grad_enabled() and (not self._roots or any(root.training for root in self._roots))

    def __call__(self, batch: Any, labels: Labels, run: Callable[[], Any] | None = None) -> Losses:
        """One step, of which observers are told if it is one of training; `run` stands for the policy's own loss."""
        observers = list(self.observers) if self.observers and self.learns else []
        for observer in observers:
            observer.on_start(labels)
        acting = self.begin(batch, labels, TrainingPass)
        known = acting.samples.domain
        with nullcontext() if self.hooks is None else self.hooks.use(acting):
            returned = PolicyLoss.of(self.loss(self.policy, batch) if run is None else run(), len(known), self.loss_key)
        if self.guessed and acting.learns:
            returned.refuse_predictions(self._inner)
        acting.check_fired(self.hooks)
        policy, weighted = acting.weighed(returned) if acting.weighs else (returned.scalar, None)
        if not self.learns and policy.requires_grad and self._meant(labels):
            policy.register_hook(self.idle)  # type: ignore[no-untyped-call]
        if self.hooks is not None and policy.requires_grad:
            policy.register_hook(partial(self.hooks.run.recompute_for, acting))  # type: ignore[no-untyped-call]
        evaluation = self.evaluate(acting, batch, observers) if acting.regularizes else None
        if evaluation is not None and self.unmet.names != set():
            self.unmet.count(evaluation.skipped, self.domains.counts(known))
        worth = evaluation or Evaluation(policy.new_zeros(()), {}, {}, 0, 0, ())
        value, counts = worth.value.to(policy.device), self.domains.counts(known)
        counted = self._counted(batch, labels, known, counts)
        losses = Losses(
            total=policy if evaluation is None else policy + value,
            policy=returned.scalar.detach(),
            regularizer=value.detach(),
            raw=worth.raw,
            strengths=worth.strengths,
            counts=counts,
            skipped=worth.skipped,
            readings=self.regularizer.readings() if self.regularizer is not None and self.regularizer.measured else {},
            weighted=weighted,
            info=returned.info,
            shares=shares_of(counted),
        )
        for observer in observers:
            observer.on_losses(losses, labels)
        return losses

    def _meant(self, labels: Labels) -> bool:
        """Whether anything acts beside the policy's own loss, in train mode."""
        method, given = self.method, (labels.weight, labels.has_action)
        parts = (method.regularizer, method.weights, method.guidance, *given)
        return any(part is not None for part in parts)

    def refuse_guided(self) -> None:
        """No training inside a guided block of the same policy: both would act on one prediction."""
        if self.learns and self.hooks is not None and isinstance(self.hooks.active, GuidedPass):
            raise RuntimeError(
                "a policy is trained outside of its guided blocks, got a training step inside of one. End the block "
                "first, sample under torch.no_grad(), or guide a copy: cotrain.guided(ema)."
            )

    def _counted(self, batch: Any, labels: Labels, known: Tensor, counts: dict[str, Any]) -> dict[str, Any]:
        """What of each domain the policy's loss is a mean of: samples, or their valid steps; those with actions."""
        valid = None if self.read.valid is None else self.read.valid(batch)
        if (has := labels.has_action) is not None:
            valid = has[:, None] if valid is None else moved(has, valid.device)[:, None] & valid.flatten(1).bool()
        return counts if valid is None else self.domains.steps(known, valid)

    def begin(self, batch: Any, labels: Labels, kind: type[P]) -> P:
        """The pass that acts in one step."""
        self.refuse_guided()
        self.begun += 1
        known = self.domains.labels(labels.domain, batch)
        samples = Samples(known, self.domains.is_target(known), labels.index, None, labels.step)
        learns = self.learns and (self.seam is None or not self.seam.dormant(self._inner))
        timed = self.seam is not None and self.seam.time is not None
        acting = kind(self._place, self.method, samples, labels.weight, learns, labels.has_action, timed)
        first = next((p for root in self._roots for p in root.parameters()), None)
        if first is not None:
            acting.follow(first.device)
        if acting.regularizes and not self._warned_of_batch_norm and self.seam is not None:
            self._warned_of_batch_norm = True
            warn_of_batch_norm(self.policy, self.seam)
        return acting

    def evaluate(self, acting: TrainingPass, batch: Any, observers: list[Observer]) -> Evaluation | None:
        """The regularizer on the features that a pass captured; None where it has none to compare."""
        regularizer, seam, step, known = self.regularizer, self.seam, acting.samples.step, acting.samples.domain
        if regularizer is None or seam is None or not acting.regularizes:
            return None
        features = seam.features_in(learned(acting.features))
        acting.features.clear()
        rows = self.read.rows(features, batch)
        if not rows.features.requires_grad:
            refuse_features(self.policy, seam, regularizer, step)
        if features.device.type != "cpu":
            follow(regularizer, features.device)
        compared, known = self.kept.filled(rows, known) if self.memory else (rows, known)
        if self.gather:
            compared, (known,) = with_gathered(self.gathered, compared, moved(known, features.device))
        sides = self.domains.sides(compared, known)
        evaluations = [(name, regularizer.evaluate(source, target, step=step)) for name, source, target in sides]
        for observer in observers:
            observer.on_rows(rows, sides)
        return evaluations[0][1] if len(evaluations) == 1 else mean_over_sources(evaluations)
