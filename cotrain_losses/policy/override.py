"""One method of one object, overridden in place; and functions that torch.compile follows only where it can."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import MethodType
from typing import Any

import torch

VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
FOLLOWED = VERSION >= (2, 11)
"""whether this torch compiles what acts at a seam; older ones were not tried"""


def compiles() -> bool:
    """Whether a program has loaded the compiler, one that follows what acts at a seam."""
    return FOLLOWED and "torch._dynamo" in sys.modules


def packing() -> bool:
    """Whether what autograd saves now is packed, as it is in checkpoints that Python repeats."""
    return torch._C._autograd._top_saved_tensors_default_hooks(False) is not None


def uncompiled() -> AbstractContextManager[Any]:
    """While the block runs, what was compiled runs op by op: a graph's outputs are no function of one another."""
    return torch.compiler.set_stance("force_eager") if compiles() else nullcontext()


class Uncompiled:
    """A method, one of its owner's `functions`, that is left out of compiled graphs with all that it calls or alone.

    While its owner is `traceable` it is part of the graph.  torch.compiler.disable loads the compiler, 2 CPU seconds at
    import, so it is applied once a program has loaded that.
    """

    def __init__(self, owner: Any, name: str, *, recursive: bool = True) -> None:
        self.owner, self.name, self.recursive = owner, name, recursive
        self.method = self.call = getattr(owner, name)
        self.left_out = False
        owner.functions.append(self)
        self.leave_out()

    def leave_out(self) -> None:
        """Take it out of graphs from now on, if the compiler is loaded."""
        if not self.left_out and "torch._dynamo" in sys.modules:
            self.left_out = True
            if FOLLOWED:
                torch.compiler.assume_constant_result(packing)  # type: ignore[no-untyped-call]
                torch._dynamo.eval_frame.skip_code(Uncompiled.__call__.__code__)  # part of a graph, never one by itself
            recursive = self.recursive or VERSION < (2, 5)  # torch 2.4 cannot leave a method out alone
            self.call = torch.compiler.disable(self.method, recursive=recursive)  # type: ignore[no-untyped-call]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_dynamo_compiling() and self.owner.traceable:
            return self.method(*args, **kwargs)
        return self.call(*args, **kwargs)

    def __reduce__(self) -> Any:  # a copy is one of the copied owner's
        return Uncompiled, (self.owner, self.name)


class Override:
    """`owner.name` calls `call(original, ...)`; a copy or a pickle of the owner has its own method again.

    Of several of one method the last calls the others; they are removed in any order.  `site` says when torch.compile
    may follow the call, as a tap does; without one it never does.
    """

    def __init__(self, owner: Any, name: str, call: Callable[..., Any], site: Any = None) -> None:
        self.owner, self.name, self.call, self.site = owner, name, call, site
        if name == "__call__":
            _look_in_the_object_first(type(owner))
        self.own = vars(owner).get(name)
        called_by_class = name == "__call__" and self.own is None
        self.original = _own_method(owner, name) if called_by_class else getattr(owner, name)
        self.__signature__ = inspect.signature(self.original)
        self.functions = list[Uncompiled]()
        object.__setattr__(owner, name, self)
        self._run = Uncompiled(self, "run", recursive=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (torch.compiler.is_dynamo_compiling() and self.traceable):
            self._run.leave_out()
        return self._run(*args, **kwargs)

    @property
    def traceable(self) -> bool:
        """Whether torch.compile may follow what is called now."""
        return self.site is not None and self.site.traceable

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The overriding call."""
        return self.call(self.original, *args, **kwargs)

    def remove(self) -> None:
        """Give the owner its method back; what others have put around this one calls it."""
        self.call = _as_it_was
        above = top = vars(self.owner).get(self.name)
        while isinstance(above, Override) and above.own is not self:
            above = above.own
        if top is not self:
            if isinstance(above, Override):
                above.own, above.original = self.own, self.original
        elif self.own is None:
            object.__delattr__(self.owner, self.name)
        else:
            object.__setattr__(self.owner, self.name, self.own)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return _own_method(memo.get(id(self.owner), self.owner), self.name)

    def __reduce__(self) -> Any:
        return _own_method, (self.owner, self.name)


def _as_it_was(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return original(*args, **kwargs)


def _own_method(owner: Any, name: str) -> Any:
    method = getattr(type(owner), name)
    return MethodType(getattr(method, "in_the_class", method), owner)


def _look_in_the_object_first(kind: type) -> None:
    """Python looks `__call__` up in the class; of this class it is from now on the object's own, if it has one."""
    original: Any = kind.__call__
    if hasattr(original, "in_the_class"):
        return

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        own = vars(self).get("__call__")
        return original(self, *args, **kwargs) if own is None else own(*args, **kwargs)

    call.in_the_class = original  # type: ignore[attr-defined]
    kind.__call__ = call  # type: ignore[method-assign]
