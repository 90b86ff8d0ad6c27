"""One method of one object, overridden in place; and functions that torch.compile leaves out of its graphs."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch


class Uncompiled:
    """A method, one of its owner's `functions`, that is left out of compiled graphs with all that it calls or alone.

    torch.compiler.disable loads the compiler, 2 CPU seconds at import, so it is applied once a program has loaded that.
    """

    def __init__(self, owner: Any, name: str, *, recursive: bool = True) -> None:
        self.owner, self.name, self.recursive = owner, name, recursive
        self.call, self.left_out = getattr(owner, name), False
        owner.functions.append(self)
        self.leave_out()

    def leave_out(self) -> None:
        """Take it out of graphs from now on, if the compiler is loaded."""
        if not self.left_out and "torch._dynamo" in sys.modules:
            self.left_out = True
            self.call = torch.compiler.disable(self.call, recursive=self.recursive)  # type: ignore[no-untyped-call]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)

    def __reduce__(self) -> Any:  # a copy is one of the copied owner's
        return Uncompiled, (self.owner, self.name)


class Override:
    """`owner.name` calls `call(original, ...)`; a copy or a pickle of the owner has its own method again."""

    def __init__(self, owner: Any, name: str, call: Callable[..., Any]) -> None:
        self.owner, self.name, self.call = owner, name, call
        self.own, self.original = vars(owner).get(name), getattr(owner, name)
        self.__signature__ = inspect.signature(self.original)
        self.functions = list[Uncompiled]()
        object.__setattr__(owner, name, self)
        self._run = Uncompiled(self, "run", recursive=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._run.leave_out()
        return self._run(*args, **kwargs)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The overriding call."""
        return self.call(self.original, *args, **kwargs)

    def remove(self) -> None:
        """Give the owner its method back."""
        if vars(self.owner).get(self.name) is self:
            object.__delattr__(self.owner, self.name)
        if self.own is not None:
            object.__setattr__(self.owner, self.name, self.own)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return _own_method(memo.get(id(self.owner), self.owner), self.name)

    def __reduce__(self) -> Any:
        return _own_method, (self.owner, self.name)


def _own_method(owner: Any, name: str) -> Any:
    return MethodType(getattr(type(owner), name), owner)
