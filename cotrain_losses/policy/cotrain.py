"""Co-training a policy nobody edits: a method attached at one seam.

    L = E_mix(ratio)[ weights * l_policy ]  +  sum_k lambda_k R_k(source, target)

In one forward pass of the policy features are captured at the seam, the domain token enters the head's condition, each
sample's prediction sends back its weighted gradient, and the regularizer is added.  Lei et al., "A Mechanistic Analysis
of Sim-and-Real Co-Training in Generative Robot Policies", ICML 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..guidance import checked_scale
from ..method import Method, claim, release
from ..mixing.domains import Domains
from ..terms.term import Term
from . import adapters, keeping
from .check import Check, checked
from .fitting import check_fit, check_kinds, check_synchronised
from .guided import GuidedPass, guided_sampling
from .held_out import HeldOut
from .install import Installation
from .labels import BatchReaders, LabelReaders, Labels
from .losses import Losses
from .paths import network
from .seam import Seam
from .step import TrainingStep
from .telling import Unseen, Unstepped, trained_within
from .unsaved import Unsaved
from .watch import Watch


class CoTrain(nn.Module):
    """A policy and a co-training method, joined at a seam.

    Args:
        policy: the policy, as it is, bare or inside DDP, torch.compile, PEFT or Accelerate wrappers.
        method: the four choices.  Its modules belong to one policy: attach `method.fresh()` elsewhere.
        seam: where features are read, the token enters and predictions leave; None looks the policy up in `adapters`.
        loss: the policy's loss entry, by name or as a function `loss(policy, batch)`; None takes the adapter's, else
            `compute_loss` if there is one, else the policy's call.  It may return a scalar, a loss per sample,
            (loss, info), or a dict or output object that holds the loss under `loss_key`.
        extras: function of the batch giving named tensors (b, ...) for terms whose cost uses more than features.
        groups: function of the batch giving (b,) integers; alignment never crosses groups (tasks, languages).
        valid: function of the batch giving (b, h) bool, the steps that are not padding.
        mass: function of the batch giving (b,), how much each row counts where domains are compared; 0 leaves it out.
        domains: names of the domains, in the order of integer labels.  A bool label is True for the target.
        target: name of the target domain; None takes the last of the default pair.
        sources: "pooled" compares the target with all sources together, "each" with each in turn (mean).
        gather: under DDP, compare the rows of all ranks rather than each rank's own.
        memory: rows kept of each domain, without gradient, that fill up a side of which a batch holds fewer; 0 keeps
            none.  For batches of one domain each.

    Raises:
        ValueError, TypeError: wrong labels, a seam the policy does not have, features without gradient.
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
        mass: Callable[[Any], Tensor] | None = None,
        domains: Sequence[str] = ("source", "target"),
        target: str | None = None,
        sources: str = "pooled",
        gather: bool = False,
        loss_key: str = "loss",
        memory: int = 0,
    ) -> None:
        super().__init__()
        check_kinds(policy, method, seam, loss, gather)
        named = Domains.named(domains, target, sources)
        if isinstance(method.regularizer, Term):
            method = replace(method, regularizer=1.0 * method.regularizer)
        self.adapter = adapters.adapter_of(policy, loss if isinstance(loss, str) else None)
        seam = seam or self.adapter.seam_of(policy)
        if not callable(loss):
            check_synchronised(policy, loss or self.adapter.entry)
        check_fit(policy, method, seam, named, adapters.near)
        claim(method, self)
        self.policy, self.method, self.seam, self.domains = policy, method, seam, named
        self.regularizer, self.guidance, self.weights = method.regularizer, method.guidance, method.weights
        entry = adapters.loss_of(policy, loss)
        read = BatchReaders(extras, groups, valid, mass)
        guessed = loss is None and not self.adapter.package and self.adapter.entry == "forward"
        self.step = TrainingStep(policy, method, entry, seam, named, read, gather, loss_key, memory, guessed)
        self._installation: Installation | None = None
        self._unstepped = Unstepped(network(policy), method.modules())
        self._unseen = Unseen(self.step, self.adapter.entry)
        self._unsaved = Unsaved(policy, method, learned=True)

    def forward(
        self,
        batch: Any,
        *,
        domain: Any,
        weight: Tensor | None = None,
        index: Tensor | None = None,
        step: int | None = None,
        has_action: Tensor | None = None,
    ) -> Losses:
        """One training loss: one forward pass of the policy, plus what the method asks.

        Args:
            batch: whatever the policy's loss entry takes.
            domain: (b,) bool (True = target), integers or names.  On the CPU it costs no synchronisation.
            weight: (b,) how much each sample counts, used as given; multiplied with `method.weights`.
            index: (b,) each sample's place in the dataset, for `method.weights`.
            step: the optimizer step, for scheduled strengths.
            has_action: (b,) bool, the rows that the policy's loss is the mean of; the others only meet the terms.  What
                the batch holds in an action's place there is any finite number.

        In eval mode or under no_grad it is the policy's loss alone, with the true label as condition.
        """
        if self._unstepped.watches and self.step.learns:
            self._unstepped.look()
        return self.step(batch, Labels(domain, weight, index, step, has_action))

    def plugin_parameters(self) -> Iterator[nn.Parameter]:
        """The method's own parameters (discriminators, domain tokens): an optimizer group of their own."""
        yield from self.method.parameters()

    @contextmanager
    def guided(self, policy: Any = None, *, scale: float | None = None, domain: str | None = None) -> Iterator[None]:
        """Sample from the guided policy while the block runs; without guidance the bare policy.

        Args:
            policy: a copy to guide (an EMA); None is the policy itself.
            scale: uncond + scale * (cond - uncond); None is the method's.
            domain: whose token conditions; None is the target's.
        """
        if self.guidance is None or self.step.hooks is None:
            yield
            return
        label = self.domains.position(domain or self.domains.target)
        strength = self.guidance.scale if scale is None else checked_scale(scale)
        acting = GuidedPass(self.guidance, label, strength, self.step.hooks.seam.steps is not None)
        with guided_sampling(acting, self.step.hooks, self.policy, policy):
            yield

    def check(
        self, batch: Any, *, domain: Any, step: int | None = 0, sample: Callable[[Any], Any] | None = None
    ) -> Check:
        """Tries up to five steps on a batch and says what happens at the seam; see `Check`.

        `sample(policy)` samples actions, as a tensor, so that guidance is tried there too.
        """
        return checked(self.step, batch, domain, step, sample, self._unseen.sentences)

    def watch(self, *, every: int = 100, to: Callable[..., Any] | None = None) -> Watch:
        """Record terms, shares, probe accuracy and feature norms every so many steps; see `Watch`."""
        return Watch(self.step, every=every, to=to)

    def install(
        self,
        *,
        domain: Callable[[Any], Any] | None = None,
        weight: Callable[[Any], Tensor] | None = None,
        index: Callable[[Any], Tensor] | None = None,
        step: Callable[[], int] | None = None,
        has_action: Callable[[Any], Tensor] | None = None,
        optimizer: Any = None,
    ) -> Installation:
        """Make the policy's own loss entry return task + regularizer, for training scripts nobody edits.

        The functions give what `forward` takes beside the batch; without `domain` each training call is made within
        `labelled`.  `optimizer` gets the method's own parameters as a group that its schedules treat as the policy's:
        one that exists, a list, or "any" for whichever steps the policy's parameters, built before or after.
        """
        self.uninstall()
        self._unsaved.remove()
        readers = LabelReaders(domain, weight, index, step, has_action)
        self._installation = Installation(self.step, self.adapter, readers, optimizer)
        self._unseen = Unseen(self.step, self.adapter.entry)
        if self.step.hooks is not None:
            self.step.hooks.run.shared.on_idle = self._unseen
        return self._installation

    def save(self, folder: Any) -> None:
        """Write the method's own state into a folder, beside what a codebase saves of the policy."""
        keeping.save(self.method, folder)

    def load(self, folder: Any) -> None:
        """Go on with the method that a folder holds; what it lacks is told."""
        keeping.load(self.method, folder)

    def uninstall(self) -> None:
        """Give the policy its own loss entry back."""
        if self._installation is not None:
            self._installation.remove()
        if self.step.hooks is not None:
            self.step.hooks.run.shared.on_idle = None
        self._installation = None

    def labelled(self, domain: Any, **beside: Any) -> AbstractContextManager[None]:
        """Labels, as `forward` takes them, for the installed loss entry's calls in the block, which must call it."""
        if self._installation is None:
            raise RuntimeError("labelled gives labels to an installed method, got none. Call cotrain.install() first.")
        labelled = self._installation.labelled(Labels(domain, **beside))
        return trained_within(labelled, self.step, self.adapter.entry)

    def hold_out(self, batch: Any, *, domain: Any = None) -> None:
        """Target samples the policy does not train on: balanced strengths go by its loss there, measured when due.

        Keep the batch as large as a few training batches, of whole episodes held out.  Without `domain` all its samples
        are the target's.
        """
        held_out = HeldOut(self.step, batch, domain)
        self._forget_held_out()
        self.step.observers.append(held_out)

    def release_held_out(self) -> None:
        """The held-out samples are trained on from now: balanced strengths stay, or fall by the probe."""
        self._forget_held_out()
        for strength in self.step.measured_strengths():
            strength.release()

    def report_target_loss(self, value: float) -> None:
        """The same loss measured elsewhere, or another one that is lower for a better policy; on every rank."""
        for strength in self.step.measured_strengths():
            strength.on_target_loss(value)

    def unwrap(self) -> Any:
        """Take every hook off, release the method, and return the policy as it came."""
        self.uninstall()
        if self.step.hooks is not None:
            self.step.hooks.remove()
        self._unstepped.remove()
        self._unsaved.remove()
        release(self.method)
        return self.policy

    def _forget_held_out(self) -> None:
        self.step.observers = [each for each in self.step.observers if not isinstance(each, HeldOut)]
