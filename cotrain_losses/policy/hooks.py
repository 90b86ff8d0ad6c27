"""Hooks at one seam of one policy, idle until a pass uses them."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from .heads import DecoderTap, HeadTap
from .override import compiles
from .passes import Pass
from .run import idle_run
from .seam import Seam
from .taps import FeatureTap, Tap, TokenTap


class Hooks:
    """Every role of one seam, wired to one policy.  A copy or a pickle of them is idle."""

    def __init__(self, seam: Seam) -> None:
        self.seam, self.run = seam, idle_run()
        self.features = seam.features if seam.feature is not None else ()
        """where features are read other than in a head's condition"""
        self.tokens, self.heads = seam.tokens, seam.heads
        self._handles, self._methods = list[Any](), list[Tap]()
        self._elsewhere: WeakKeyDictionary[nn.Module, dict[int, Hooks]] = WeakKeyDictionary()

    @property
    def active(self) -> Pass | None:
        """The pass that acts now."""
        return self.run.state.active

    @property
    def fired(self) -> Counter[str]:
        """How often each role (feature, token, head) acted under the last pass."""
        return self.run.state.fired

    def attach(self, policy: object) -> Hooks:
        """Wire every role to its sites; what a seam names and the policy lacks is an error."""
        seam, run = self.seam, self.run
        run.shared.functions.clear()
        taps: list[Tap] = [
            *(FeatureTap(run, seam, site) for site in self.features),
            *(TokenTap(run, seam, site) for site in self.tokens),
            *(HeadTap(run, seam, site) for site in self.heads),
            *(DecoderTap(run, seam, site) for site in seam.predictions),
        ]
        try:
            for tap in taps:
                self._handles.extend(tap.attach(policy))
        except BaseException:
            self.remove()
            raise
        self._methods = [tap for tap in taps if tap.method is not None]
        return self

    def elsewhere(self, policy: object, seams: tuple[Seam, ...]) -> list[Hooks]:
        """Hooks for a block at the seams of another policy, such as a copy; a module's are the same in each block."""
        kept = self._elsewhere.setdefault(policy, {}) if isinstance(policy, nn.Module) else {}
        for place, seam in enumerate(seams):
            if place not in kept:
                kept[place] = Hooks(seam)
                kept[place].run.shared.guided = self.run.shared.guided and not isinstance(policy, nn.Module)
        found = [kept[place] for place in range(len(seams))]
        return [hooks if hooks._handles else hooks.attach(policy) for hooks in found]

    def rest(self) -> None:
        """Take the hooks off after a block; those of modules stay where the compiler is: it is told of no new ones."""
        if self._methods or not compiles():
            self.remove()
            self._methods.clear()

    def remove(self) -> None:
        """Take the hooks off again."""
        for handle in reversed(self._handles):
            handle.remove()
        self._handles.clear()

    def use(self, active: Pass) -> AbstractContextManager[None]:
        """Let a pass act at the seam while the block runs, and in the backward pass of what was made there."""
        for tap in self._methods:
            self._handles.extend(tap.attached_method())
        return self.run.use(active)

    def __reduce__(self) -> Any:
        return Hooks, (self.seam,), {"run": self.run, "_methods": self._methods}
