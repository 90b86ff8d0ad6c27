"""How many bytes the tensors of a computation hold at their most, counted on any device, the meta device included."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Held(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that operations make while the block runs and that are still alive.

    What one operation holds inside, a sort's buffer for instance, is not seen; an allocator's peak has it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now, self.most = 0, 0
        self._known = set[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(x.untyped_storage()) for x in _tensors(args)}  # of which a result may be a view
        result = func(*args, **(kwargs or {}))
        for storage in (x.untyped_storage() for x in _tensors((result,))):
            if not (id(storage) in given or id(storage) in self._known):
                self._known.add(id(storage))
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, id(storage), storage.nbytes())
        self.most = max(self.most, self.now)
        return result

    def _gone(self, name: int, size: int) -> None:
        self._known.discard(name)
        self.now -= size


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for x in values:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, list | tuple):
            yield from _tensors(x)
