"""One method of one object, overridden in place."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any

from .uncompiled import Uncompiled


class Override:
    """`owner.name` calls `call(original, ...)`; a copy or a pickle of the owner has its own method again."""

    def __init__(self, owner: Any, name: str, call: Callable[..., Any]) -> None:
        self.owner, self.name, self.call = owner, name, call
        self.own, self.original = vars(owner).get(name), getattr(owner, name)
        self.__signature__ = inspect.signature(self.original)
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
