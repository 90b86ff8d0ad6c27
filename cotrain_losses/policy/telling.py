"""What a training loop does not notice: terms that never act, a method that nobody steps, a loss that goes around it.

Each is told once, by a warning, from what the host knows: labels, version counters of parameters, calls.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import nn


class Unmet:
    """Terms that were skipped in every step since the first."""

    after = 5

    def __init__(self) -> None:
        self.names: set[str] | None = None
        """terms that no step has evaluated yet; empty where each was"""
        self._steps = 0

    def count(self, skipped: Iterable[str], counts: Mapping[str, int]) -> None:
        """One step more."""
        self.names = set(skipped) if self.names is None else self.names & set(skipped)
        self._steps += 1
        if self._steps == self.after and self.names:
            held = ", ".join(f"{n} {name}" for name, n in counts.items())
            warnings.warn(
                f"{', '.join(sorted(self.names))} was skipped in each of the first {self.after} steps, the last of "
                f"which had {held}: it compares two rows or more of each domain. Mix the domains in a batch "
                "(MixedBatchSampler), or compare with rows of earlier steps: CoTrain(memory=64).",
                stacklevel=5,
            )
            self.names = set()


class Idle:
    """Losses that are learned from in eval mode, where a method does not act."""

    told = False

    def __call__(self, gradient: Any) -> None:
        if not self.told:
            self.told = True
            warnings.warn(
                "a method acts in train mode, got a backward pass through the loss of a policy in eval mode: it had "
                "neither terms nor weights, and every label was given. Call policy.train() before the step.",
                stacklevel=2,
            )


class Unstepped:
    """Parts of a method whose parameters get gradients and are left as they are while the policy's change.

    Right under accumulation (nothing changes between two optimizer steps) and skipped GradScaler steps (neither
    changes).  A copy counts anew.
    """

    after = 3

    def __init__(self, policy: nn.Module, parts: Iterable[nn.Module]) -> None:
        self._own = [p for p in policy.parameters() if p.requires_grad]
        learning = [[p for p in part.parameters() if p.requires_grad] for part in parts]
        self._parts = [parameters for parameters in learning if parameters]
        self.watches = bool(self._parts)
        """whether the method has parameters to look after"""
        self._reached, self._missed = [False] * len(self._parts), [0] * len(self._parts)
        self._versions = self._counted()
        self._handles = [
            part[0].register_post_accumulate_grad_hook(self._noting(k))  # type: ignore[no-untyped-call]
            for k, part in enumerate(self._parts)
        ]

    def look(self) -> None:
        """What the optimizer has done since the last step."""
        (own, before), now = self._versions, self._counted()
        if own == now[0]:
            return
        self._versions = now
        for k, (old, new) in enumerate(zip(before, now[1], strict=True)):
            self._missed[k] = self._missed[k] + self._reached[k] if old == new else 0
            self._reached[k] = False
        if max(self._missed) >= self.after:
            self._missed = [-(10**9)] * len(self._parts)
            warnings.warn(
                f"the method's own parameters (discriminators, domain tokens) learn with the policy's, got {self.after}"
                " optimizer steps that left some as they were though gradients reached them. Give them to it: "
                "optimizer.add_param_group({'params': cotrain.plugin_parameters(), 'weight_decay': 0.0}).",
                stacklevel=4,
            )

    def remove(self) -> None:
        """Look no more."""
        for handle in self._handles:
            handle.remove()

    def _counted(self) -> tuple[int, list[int]]:
        return sum([p._version for p in self._own]), [sum([p._version for p in part]) for part in self._parts]

    def _noting(self, k: int) -> Any:
        def note(parameter: Any) -> None:
            self._reached[k] = True

        return note

    def __reduce__(self) -> Any:
        return Unstepped, (nn.ParameterList(self._own), [nn.ParameterList(part) for part in self._parts])


class Unseen:
    """Sites that run in training outside of the entry that a method is installed in."""

    def __init__(self, step: Any, entry: str) -> None:
        self.step, self.entry, self.site = step, entry, ""

    def __call__(self, site: str) -> None:
        if not self.site and self.step.learns:
            self.site = site
            warnings.warn(self.sentences[0], stacklevel=6)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is told, if anything."""
        if not self.site:
            return ()
        return (
            f"an installed method acts in the loss entry {self.entry}, got {self.site} called in training outside of "
            "it: that loss has neither terms nor weights. Name what the script calls: CoTrain(loss='compute_loss').",
        )


@contextmanager
def trained_within(labelled: AbstractContextManager[None], step: Any, entry: str) -> Iterator[None]:
    """A labelled block, which is an error when it ends if it trained without the installed entry."""
    begun = step.begun
    with labelled:
        yield
    if step.learns and step.begun == begun:
        raise RuntimeError(
            f"a labelled block trains by the loss entry that a method is installed in, got one in which {entry} was "
            "not called. Name what the script calls: CoTrain(..., loss='compute_loss')."
        )
