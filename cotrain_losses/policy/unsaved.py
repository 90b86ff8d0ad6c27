"""A method's own state is saved where the policy's is; a script that forgets it is told when it ends.

Asked is when somebody takes the policy's `state_dict`, saved when somebody takes the method's (`cotrain.save`, a
`state_dict` that holds the method).
"""

from __future__ import annotations

import atexit
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from ..method import Method
from .paths import networks


def parts(method: Method) -> nn.ModuleDict:
    """What of a method has a state."""
    named = {name: getattr(method, name) for name in ("regularizer", "guidance", "weights")}
    return nn.ModuleDict({name: part for name, part in named.items() if isinstance(part, nn.Module)})


class Unsaved:
    """Notes whether the states of a policy and of its method are asked for.

    Args:
        policy, method: whose states; without them it notes nothing, as the copy of one does.
        learned: whether only what the method has learned is worth a word.
    """

    def __init__(self, policy: Any = None, method: Method | None = None, *, learned: bool = False) -> None:
        held = nn.ModuleDict() if method is None else parts(method)
        self.names, self.passing = ", ".join(held), False
        self.kept = not ([*held.parameters()] if learned else held.state_dict())
        self._method = method if learned else None
        self._before = self._changes()
        self._handles = [] if self.kept else [*self._hooked(networks(policy), held.values())]

    def __reduce__(self) -> Any:
        return Unsaved, ()

    def _hooked(self, policy: Iterable[nn.Module], method: Iterable[nn.Module]) -> Iterator[Any]:
        for each in policy:
            yield each.register_state_dict_pre_hook(Noted(self, "asked"))  # type: ignore[no-untyped-call]
        for each in method:
            yield each.register_state_dict_pre_hook(Noted(self, "saved"))  # type: ignore[no-untyped-call]
            yield each.register_load_state_dict_post_hook(Noted(self, "loaded"))  # type: ignore[no-untyped-call]

    def _changes(self) -> int:
        """How often the method's parameters were changed, where that matters."""
        return 0 if self._method is None else sum(p._version for p in self._method.parameters())

    def on_asked(self) -> None:
        """The policy's state was asked for."""
        learned = self._method is None or self._changes() > self._before
        if learned and not self.passing and not self.kept:
            _owed.add(self)

    def on_saved(self) -> None:
        """The method's state was."""
        self.kept = True
        _owed.discard(self)

    def on_loaded(self) -> None:
        """The method was loaded, and the policy before it, which may have asked for its state's keys."""
        _owed.discard(self)
        self._before = self._changes()

    def tell(self) -> None:
        """Say once that a state of the policy was saved, and the method's was not; it counts as saved from then on."""
        if self in _owed:
            self.on_saved()
            warnings.warn(
                "a policy's state_dict has the policy's own keys, got one asked for while a method acts whose "
                f"state ({self.names}) was not: a checkpoint without it cannot be resumed or guided. "
                "Save it too: cotrain.save(folder), or the state_dict() of what install returned.",
                stacklevel=4,
            )

    def remove(self) -> None:
        """Tell, and note nothing more."""
        self.tell()
        for each in self._handles:
            each.remove()


class Noted:
    """A hook of a module's state; a copy of the module has one that does nothing."""

    def __init__(self, unsaved: Unsaved | None = None, what: str = "") -> None:
        self.unsaved, self.what = unsaved, what

    def __call__(self, module: nn.Module, *_: Any) -> None:
        if self.unsaved is not None:
            getattr(self.unsaved, f"on_{self.what}")()

    def __reduce__(self) -> Any:
        return Noted, ()


def _tell_at_exit() -> None:
    for unsaved in [*_owed]:
        unsaved.tell()


_owed: set[Unsaved] = set()
"""those that have something to tell, alive until they told it: a script's objects may be gone when it ends"""
atexit.register(_tell_at_exit)
