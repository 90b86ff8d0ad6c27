"""Co-training a policy nobody edits: a method attached at one seam.

    L = E_mix(ratio)[ weights * l_policy ]  +  sum_k lambda_k R_k(source, target)

A `Method` is four choices; `CoTrain` carries them out in one forward pass of the policy: features are
captured at the seam, the domain token enters the head's condition, each sample's prediction sends back
its weighted gradient, and the regularizer is added.  Lei et al., "A Mechanistic Analysis of Sim-and-Real
Co-Training in Generative Robot Policies", ICML 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .._core.rows import Rows
from ..method import Method, claim, release
from ..mixing.domains import Domains
from ..terms.term import Evaluation, Term
from . import adapters
from .check import Check, checked
from .fitting import check_entry, check_gradient, fit_guidance, training, warn_of_batch_norm
from .install import Installation, Labels
from .losses import Losses, PolicyLoss, mean_over_sources
from .passes import Guided, Training
from .paths import network, unwrapped
from .sampling import driven
from .seam import Seam
from .tap import Tap

if TYPE_CHECKING:
    from .held_out import HeldOut
    from .watch import Watch


class CoTrain(nn.Module):
    """A policy and a co-training method, joined at a seam.

    Args:
        policy: the policy, as it is, bare or inside DDP, torch.compile, PEFT or Accelerate wrappers.
        method: the four choices.  Its modules belong to one policy: attach `method.fresh()` elsewhere.
        seam: where features are read, the token enters and predictions leave; None looks the policy's class
            up in `adapters`.
        loss: the policy's loss entry, by name or as a function `loss(policy, batch)`; None takes the adapter's,
            else `compute_loss` if there is one, else the policy's call.  It may return a scalar, a loss per
            sample, (loss, info), or a dict or output object with `loss`.
        extras: function of the batch giving named tensors (b, ...) for terms whose cost uses more than features.
        groups: function of the batch giving (b,) integers; alignment never crosses groups (tasks, languages).
        valid: function of the batch giving (b, h) bool, the steps that are not padding.
        domains: names of the domains, in the order of integer labels.  A bool label is True for the target.
        target: name of the target domain; None takes the last of the default pair.
        sources: "pooled" compares the target with all sources together, "each" with each in turn (mean).
        gather: under DDP, compare the rows of all ranks rather than each rank's own.

    Raises:
        ValueError, TypeError: labels of wrong length or type, a seam the policy does not have, features that
            carry no gradient for a term that asks for one.
        RuntimeError: a declared hook did not fire in a step where it must, or the method is attached elsewhere.
    """

    def __init__(
        self,
        policy: Any,
        method: Method,
        *,
        seam: Seam | None = None,
        loss: str | Callable[[Any, Any], Any] | None = None,
        extras: Callable[[Any], Mapping[str, Tensor]] | None = None,
        groups: Callable[[Any], Tensor] | None = None,
        valid: Callable[[Any], Tensor] | None = None,
        domains: Sequence[str] = ("source", "target"),
        target: str | None = None,
        sources: str = "pooled",
        gather: bool = False,
    ) -> None:
        super().__init__()
        self.domains = Domains.named(domains, target, sources)
        regularizer = method.regularizer
        self.regularizer = 1.0 * regularizer if isinstance(regularizer, Term) else regularizer
        self.adapter = adapters.found(policy)
        self.seam = seam or (self.adapter.seam_of(policy) if self.adapter else None)
        self.policy, self.method = policy, replace(method, regularizer=self.regularizer)
        self.guidance, self.weights = method.guidance, method.weights
        self.extras, self.groups, self.valid, self.gather = extras, groups, valid, gather
        self._loss = loss or (self.adapter.loss if self.adapter else None) or _entry(policy)
        check_entry(policy, self._loss)
        claim(self.method, self)
        for weight in self.regularizer.measured_strengths() if self.regularizer is not None else ():
            weight.gathered = gather
        self._tap, self._stepped = self._tapped(), False
        self._held_out: HeldOut | None = None
        self._installation: Installation | None = None
        self._move_plugins()

    def forward(
        self,
        batch: Any,
        *,
        domain: Any,
        weight: Tensor | None = None,
        index: Tensor | None = None,
        step: int | None = None,
    ) -> Losses:
        """One training loss: one forward pass of the policy, plus what the method asks.

        Args:
            batch: whatever the policy's loss entry takes.
            domain: (b,) bool (True = target), integers or names.  On the CPU it costs no synchronisation.
            weight: (b,) how much each sample counts, used as given; multiplied with `method.weights`.
            index: (b,) each sample's place in the dataset, for `method.weights`.
            step: the optimizer step, for scheduled weights.

        In eval mode or under no_grad it is the policy's loss alone, with the true label as condition.
        """
        return self._step(batch, domain=domain, weight=weight, index=index, step=step)

    def plugin_parameters(self) -> Iterator[nn.Parameter]:
        """The method's own parameters (discriminators, domain tokens): an optimizer group of their own."""
        for part in self.method.modules():
            yield from part.parameters()

    @contextmanager
    def guided(self, policy: Any = None, *, scale: float | None = None, domain: str | None = None) -> Iterator[None]:
        """Sample from the guided policy while the block runs; without guidance the bare policy.

        Args:
            policy: a copy to guide (an EMA); None is the policy itself.
            scale: uncond + scale * (cond - uncond); None is the method's.
            domain: whose token conditions; None is the target's.
        """
        if self.guidance is None or self._tap is None:
            yield
            return
        label = self.domains.position(domain or self.domains.target)
        guided = Guided(self.guidance, label, self.guidance.scale if scale is None else float(scale))
        with driven(guided, self._tap, self.policy, policy):
            yield

    @property
    def dormant(self) -> bool:
        """Whether the policy is in a phase of training that does not reach the seam."""
        return self.seam is not None and self.seam.dormant is not None and self.seam.dormant(unwrapped(self.policy))

    def check(self, batch: Any, *, domain: Any, step: int | None = 0) -> Check:
        """Tries one step on a batch and says what happens at the seam; see `Check`."""
        return checked(self, batch, domain, step)

    def watch(self, *, every: int = 100, to: Callable[..., Any] | None = None) -> Watch:
        """Record terms, shares, probe accuracy and feature norms every so many steps; see `diagnostics.watch`."""
        from .watch import Watch

        return Watch(self, every=every, to=to)

    def install(self, **labels: Callable[..., Any]) -> Installation:
        """Make the policy's own loss entry return task + regularizer, for training scripts nobody edits.

        Args:
            domain, weight, index: functions of the batch giving what `forward` takes beside it; without `domain`
                each training call is made within `labelled`.
            step: function giving the optimizer step, for scheduled weights.
        """
        self.uninstall()
        self._installation = Installation(self, **labels)
        return self._installation

    def uninstall(self) -> None:
        """Give the policy its own loss entry back."""
        if self._installation is not None:
            self._installation.remove()
        self._installation = None

    def hold_out(self, batch: Any, *, domain: Any = None) -> None:
        """Target samples the policy does not train on: balanced weights go by its loss there, measured when they read.

        Args:
            batch: as `forward` takes it; keep it as large as a few training batches, of whole episodes held out.
            domain: its labels; None when all are the target's.
        """
        from .held_out import HeldOut

        self._held_out = HeldOut(self, batch, domain)

    def release_held_out(self) -> None:
        """The held-out samples are trained on from now: balanced weights stay where they are, or fall by the probe."""
        self._held_out = None
        for weight in self.regularizer.measured_strengths() if self.regularizer is not None else ():
            weight.release()

    def report_target_loss(self, value: float) -> None:
        """The same loss measured elsewhere, or another one that is lower for a better policy; on every rank."""
        for weight in self.regularizer.measured_strengths() if self.regularizer is not None else ():
            weight.on_target_loss(value)

    def labelled(
        self, domain: Any, *, weight: Tensor | None = None, index: Tensor | None = None, step: int | None = None
    ) -> AbstractContextManager[None]:
        """Labels for the installed loss entry's calls in the block."""
        if self._installation is None:
            raise RuntimeError("labelled gives labels to an installed method, got none. Call cotrain.install() first.")
        return self._installation.labelled(Labels(domain, weight, index, step))

    def unwrap(self) -> Any:
        """Take every hook off, release the method, and return the policy as it came."""
        self.uninstall()
        if self._tap is not None:
            self._tap.remove()
        release(self.method)
        return self.policy

    def _step(
        self,
        batch: Any,
        *,
        domain: Any,
        weight: Tensor | None = None,
        index: Tensor | None = None,
        step: int | None = None,
        only_policy: bool = False,
        observe: Callable[[Tensor], None] | None = None,
        run: Callable[[], Any] | None = None,
    ) -> Losses:
        if self._held_out is not None:
            self._held_out.report(self)
        labels = self.domains.labels(domain, batch)
        step_pass = self._pass(labels, weight, index, step, only_policy)
        with self._used(step_pass):
            returned = PolicyLoss.of(self._policy_loss(batch) if run is None else run(), len(labels))
        policy, weighted = step_pass.weighed(returned)
        evaluation = self._evaluate(step_pass, batch, labels, step, observe)
        value = policy.new_zeros(()) if evaluation is None else evaluation.value.to(policy.device)
        return Losses(
            total=policy if evaluation is None else policy + value,
            policy=returned.scalar.detach(),
            regularizer=value.detach(),
            raw={} if evaluation is None else evaluation.raw,
            strengths={} if evaluation is None else evaluation.strengths,
            counts=self.domains.counts(labels),
            skipped=() if evaluation is None else evaluation.skipped,
            readings={} if self.regularizer is None else self.regularizer.readings(),
            weighted=weighted,
            info=returned.info,
            shares=self.domains.shares(labels, self.valid(batch) if self.valid else None),
        )

    def _pass(
        self,
        labels: Tensor,
        weight: Tensor | None = None,
        index: Tensor | None = None,
        step: int | None = None,
        only_policy: bool = False,
    ) -> Training:
        return Training(
            self.seam,
            self.domains,
            labels,
            learns=torch.is_grad_enabled() and training(self.policy) and not self.dormant,
            wants_features=self.regularizer is not None and not only_policy,
            guidance=self.guidance,
            hook=self.weights,
            weight=weight,
            index=index,
            step=step,
            replace_features=None if self.regularizer is None else self.regularizer.seam,
        )

    def _policy_loss(self, batch: Any) -> Any:
        if callable(self._loss):
            return self._loss(self.policy, batch)
        if self._loss == "__call__":
            return self.policy(batch)
        return getattr(unwrapped(self.policy), self._loss)(batch)

    @contextmanager
    def _used(self, step_pass: Training) -> Iterator[None]:
        if self._tap is None:
            yield
            return
        if step_pass.wants_features and not self._stepped:
            self._stepped = True
            warn_of_batch_norm(self.policy, self._tap.seam)
        with self._tap.use(step_pass):
            yield
        step_pass.check_fired(self._tap)

    def _evaluate(
        self,
        step_pass: Training,
        batch: Any,
        labels: Tensor,
        step: int | None,
        observe: Callable[[Tensor], None] | None,
    ) -> Evaluation | None:
        if self.regularizer is None or self.seam is None or not step_pass.wants_features:
            return None
        rows = Rows(
            step_pass.captured(self.seam),
            extras=self.extras(batch) if self.extras else {},
            group=self.groups(batch) if self.groups else None,
            valid=self.valid(batch) if self.valid else None,
        )
        if observe is not None:
            observe(rows.features)
        check_gradient(self.policy, self.seam, self.regularizer, rows.features, step)
        sides = self.domains.sides(rows, labels)
        if self.gather:
            from .gather import gathered

            sides = [(name, gathered(source), gathered(target)) for name, source, target in sides]
        found = [(name, self.regularizer.evaluate(source, target, step=step)) for name, source, target in sides]
        return found[0][1] if len(found) == 1 else mean_over_sources(found)

    def _tapped(self) -> Tap | None:
        if self.seam is None:
            if self.regularizer is None and self.guidance is None:
                return None
            raise ValueError(
                "a regularizer or guidance acts at a seam, got none for a "
                f"{type(unwrapped(self.policy)).__name__}, which no adapter knows ({', '.join(adapters.names())}). "
                "Say where the features are: CoTrain(..., seam=Seam(head='model.unet', condition='global_cond'))."
            )
        if self.guidance is not None:
            fit_guidance(self.guidance, self.seam, self.policy, self.domains)
        return self.seam.tap(self.policy)

    def _move_plugins(self) -> None:
        inner = network(self.policy)
        home = None if inner is None else next(inner.parameters(), None)
        if home is not None:
            for part in self.method.modules():
                part.to(home.device)


def _entry(policy: Any) -> str:
    return "compute_loss" if hasattr(unwrapped(policy), "compute_loss") else "__call__"
