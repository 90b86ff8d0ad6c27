"""Co-training a policy nobody edits: a method attached at one seam.

    L = E_mix(ratio)[ weights * l_policy ]  +  sum_k lambda_k R_k(source, target)

A `Method` is four choices; `CoTrain` carries them out in one forward pass of the policy: features are
captured at the seam, the domain token enters the head's condition, each sample's prediction sends back
its weighted gradient, and the regularizer is added.  Lei et al., "A Mechanistic Analysis of Sim-and-Real
Co-Training in Generative Robot Policies", ICML 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ._passes import Guided, Training
from ._paths import submodule, unwrapped
from .check import Check, checked
from .domains import Domains
from .guidance import DomainGuidance
from .losses import Losses, PolicyLoss, mean_over_sources
from .method import Method, claim, release
from .seam import Seam, Tap, with_row_gradients
from .term import Evaluation, Regularizer, Rows, Term


class CoTrain(nn.Module):
    """A policy and a co-training method, joined at a seam.

    Args:
        policy: the policy, as it is, bare or inside DDP, torch.compile, PEFT or Accelerate wrappers.
        method: the four choices.  Its modules belong to one policy: attach `method.fresh()` elsewhere.
        seam: where features are read, the token enters and predictions leave.
        loss: the policy's loss entry, by name or as a function `loss(policy, batch)`; None takes
            `compute_loss` if there is one, else the policy's call.  It may return a scalar, a loss per
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
        self.policy, self.method, self.seam = policy, method._replace(regularizer=self.regularizer), seam
        self.guidance, self.weights = method.guidance, method.weights
        self.extras, self.groups, self.valid, self.gather = extras, groups, valid, gather
        self._loss = loss or ("compute_loss" if hasattr(unwrapped(policy), "compute_loss") else "__call__")
        claim(self.method, self)
        self._tap = self._tapped()
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
        own = policy is None or unwrapped(policy) is unwrapped(self.policy)
        tap = self._tap if own else self.seam.tap(policy)  # type: ignore[union-attr]
        try:
            with tap.use(guided):
                yield
        finally:
            if not own:
                tap.remove()

    def check(self, batch: Any, *, domain: Any, step: int | None = 0) -> Check:
        """Tries one step on a batch and says what happens at the seam; see `Check`."""
        return checked(self, batch, domain, step)

    def unwrap(self) -> Any:
        """Take every hook off, release the method, and return the policy as it came."""
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
    ) -> Losses:
        labels = self.domains.labels(domain, batch)
        step_pass = Training(
            self.seam,
            self.domains,
            labels,
            learns=torch.is_grad_enabled() and _training(self.policy),
            wants_features=self.regularizer is not None and not only_policy,
            guidance=self.guidance,
            hook=self.weights,
            weight=weight,
            index=index,
            step=step,
        )
        with self._used(step_pass):
            returned = PolicyLoss.of(self._policy_loss(batch), len(labels))
        policy, weighted = self._weighed(step_pass, returned)
        evaluation = self._evaluate(step_pass, batch, labels, step, observe)
        value = policy.new_zeros(()) if evaluation is None else evaluation.value.to(policy.device)
        return Losses(
            total=policy if evaluation is None else policy + value,
            policy=returned.scalar.detach(),
            regularizer=value.detach(),
            raw={} if evaluation is None else evaluation.raw,
            weights={} if evaluation is None else evaluation.weights,
            counts=self.domains.counts(labels),
            skipped=() if evaluation is None else evaluation.skipped,
            weighted=weighted,
            info=returned.info,
        )

    def _policy_loss(self, batch: Any) -> Any:
        if callable(self._loss):
            return self._loss(self.policy, batch)
        if self._loss == "__call__":
            return self.policy(batch)
        return getattr(unwrapped(self.policy), self._loss)(batch)

    def _weighed(self, step_pass: Training, returned: PolicyLoss) -> tuple[Tensor, Tensor | None]:
        """The policy's loss with its samples weighed, here if they were not at the head; and the weighted value."""
        if not step_pass.weighs:
            return returned.scalar, None
        if returned.per_sample is None:
            if step_pass.used is None:
                raise ValueError(
                    "sample weights act on the head's predictions or on a loss per sample, got a policy that returns "
                    "one scalar and no seam with a head. Pass Seam(head=..., ...), or a loss with reduction='none'."
                )
            return returned.scalar, None
        weight = step_pass.row_weights(None) if step_pass.used is None else step_pass.used
        losses = (
            returned.per_sample.detach().flatten(1).mean(1) if returned.per_sample.ndim > 1 else returned.per_sample
        )
        weighted = (weight.to(losses.device) * losses.detach()).mean()
        if step_pass.used is not None:
            return returned.scalar, weighted
        return with_row_gradients(returned.per_sample, weight.to(losses.device), "the policy's loss").mean(), weighted

    @contextmanager
    def _used(self, step_pass: Training) -> Iterator[None]:
        if self._tap is None:
            yield
            return
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
        self._check_gradient(self.seam, self.regularizer, rows.features, step)
        sides = self.domains.sides(rows, labels)
        if self.gather:
            from .gather import gathered

            sides = [(name, gathered(source), gathered(target)) for name, source, target in sides]
        found = [(name, self.regularizer.evaluate(source, target, step=step)) for name, source, target in sides]
        return found[0][1] if len(found) == 1 else mean_over_sources(found)

    def _check_gradient(self, seam: Seam, regularizer: Regularizer, features: Tensor, step: int | None) -> None:
        asking = [name for name, weight in regularizer.weights(step).items() if weight != 0.0]
        if asking and not features.requires_grad:
            raise ValueError(
                f"{' and '.join(asking)} asks something of the features at {seam.place}, which must carry a gradient; "
                "got features without one: everything before them is frozen or has no parameters.\nThe first trainable "
                f"module after them is {_first_trainable(self.policy, seam)}. Unfreeze the encoder, move the seam "
                "behind a trainable module, or give the term weight 0 to only watch; the rest of the method works as is."
            )

    def _tapped(self) -> Tap | None:
        if self.seam is None:
            if self.regularizer is None and self.guidance is None:
                return None
            raise ValueError(
                f"a regularizer or guidance acts at a seam, got none for a {type(unwrapped(self.policy)).__name__}. "
                "Say where the features are: CoTrain(..., seam=Seam(head='model.unet', condition='global_cond'))."
            )
        if self.guidance is not None:
            self._fit_guidance(self.guidance, self.seam)
        return self.seam.tap(self.policy)

    def _fit_guidance(self, guidance: DomainGuidance, seam: Seam) -> None:
        if seam.head is None or seam.condition is None or not seam.sampler:
            raise ValueError(
                "guidance combines two predictions of a head that a sampler calls with a condition, got a seam "
                f"{seam} {'whose head is a regression' if not seam.sampler else 'without head and condition'}. "
                "Diffusion and flow policies have such a head; for others leave guidance out."
            )
        if guidance.domains != len(self.domains):
            raise ValueError(
                f"guidance holds a token for each domain, got {guidance.domains} tokens for the {len(self.domains)} "
                f"domains {', '.join(self.domains.names)}. Pass DomainGuidance(domains={len(self.domains)})."
            )
        if guidance.table is None and not guidance.one_hot:
            if (width := seam.condition_width(self.policy)) is None:
                raise ValueError(
                    "the domain token has the width of the head's condition, which this seam does not know. "
                    "Pass DomainGuidance(width=...) or Seam(width=...)."
                )
            guidance.build(width, len(self.domains))

    def _move_plugins(self) -> None:
        parameters = getattr(self.policy, "parameters", None)
        home = next(iter(parameters()), None) if callable(parameters) else None
        if home is not None:
            for part in self.method.modules():
                part.to(home.device)


def _first_trainable(policy: Any, seam: Seam) -> str:
    if seam.head is None:
        return "not known (the seam names no head)"
    for name, module in submodule(policy, seam.head).named_modules():
        if any(p.requires_grad for p in module.parameters(recurse=False)):
            return ".".join(filter(None, (seam.head, name)))
    return "none: the head is frozen too"


def _training(policy: Any) -> bool:
    inner = unwrapped(policy)
    return bool(getattr(inner, "training", True))
