"""What only the data decides in a step: read at once on the CPU, together and seldom on another device.

    flag    a number on the device, zero where there is nothing to tell
    buffer  the largest value of each flag (or its sum) since the buffer was last read

A skipped term, a solve that did not converge, a value that is not finite: each is a `where` on the device and a flag
here.  The host reads the whole buffer in one copy once a flag was posted `every` times, so no step waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .device import capturing, eager, transformed

Act = Callable[[float], None]


@dataclass
class _Flag:
    value: Tensor | float
    act: Act
    posts: int = 1


class Flags:
    """One buffer of flags.

    Args:
        every: how many times a flag is posted between two readings of the buffer.

    A copy or a pickle starts empty.
    """

    def __init__(self, every: int = 100) -> None:
        self.every = every
        self._flags: dict[str, _Flag] = {}

    def post(self, name: str, value: Tensor, act: Act) -> None:
        """Call `act(value)` if the scalar is not zero: now on the CPU, elsewhere once the buffer is read.

        Between two readings the largest value counts, and NaN more than any.  Under torch.compile and
        torch.func, and of the meta device, nothing is kept.
        """
        if eager(value):
            if number := float(value):
                act(number)
        elif not _unreadable(value):
            self._keep(name, value.detach(), act, torch.maximum)

    def count(self, name: str, value: Tensor | bool, act: Act) -> None:
        """Call `act(sum)` with the sum of the values posted, on every device once the buffer is read."""
        if not (isinstance(value, Tensor) and _unreadable(value)):
            known = not isinstance(value, Tensor) or eager(value)
            number = float(value) if known else torch.as_tensor(value).detach().float()
            self._keep(name, number, act, lambda total, x: total + x)

    def read(self) -> None:
        """Read the buffer in one copy, empty it, and act on every flag that is not zero; not in a captured step."""
        if capturing():
            return
        flags, self._flags = list(self._flags.values()), {}
        kept = [flag.value.float() for flag in flags if isinstance(flag.value, Tensor)]
        numbers = iter(torch.stack(kept).tolist() if kept else [])
        for flag in flags:
            if number := next(numbers) if isinstance(flag.value, Tensor) else flag.value:
                flag.act(number)

    def _keep(self, name: str, value: Tensor | float, act: Act, joined: Callable[..., Tensor | float]) -> None:
        if (flag := self._flags.get(name)) is None:
            flag = self._flags[name] = _Flag(value, act)
        else:
            flag.value, flag.act, flag.posts = joined(flag.value, value), act, flag.posts + 1
        if flag.posts >= self.every:
            self.read()

    def __reduce__(self) -> tuple[type[Flags], tuple[int]]:
        return Flags, (self.every,)


def _unreadable(value: Tensor) -> bool:
    return value.device.type == "meta" or torch.compiler.is_compiling() or transformed(value)


common = Flags()
"""the buffer of everything that runs outside a regularizer's step"""
