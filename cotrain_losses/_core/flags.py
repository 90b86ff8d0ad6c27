"""What only the data decides in a step: read at once on the CPU, together and seldom on another device.

    flag    a name and a rule; of the numbers posted the rule makes one, zero where there is nothing to tell
    buffer  the posts of each flag since the buffer was last read

A skipped term, a solve that did not converge, a value that is not finite: each is a flag here.  A post launches
nothing.  The host reads the whole buffer in one copy once a flag was posted `every` times, so no step waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from .device import capturing, eager, transformed

Act: TypeAlias = Callable[[float], None]
Rule: TypeAlias = Callable[[Tensor], Tensor]
"""(posts,) -> a scalar"""


@dataclass
class _Flag:
    act: Act
    rule: Rule
    values: list[Tensor] = field(default_factory=list)
    number: float = 0.0  # of the posts that are known
    posts: int = 0

    def told(self) -> Tensor | None:
        """What the posts on the device come to, as a scalar there."""
        if not self.values:
            return None
        first = self.values[0].device
        posts = torch.cat([value.flatten().to(first, non_blocking=True) for value in self.values])
        return self.rule(posts if posts.is_floating_point() else posts.float()).to(torch.float32)


def largest(posts: Tensor) -> Tensor:
    """The largest of the posts, NaN more than any."""
    return posts.amax()


def least(posts: Tensor) -> Tensor:
    """How far the least of the posts is below zero; 0 where none is."""
    return (-posts.amin()).clamp_min(0.0)


def not_finite(posts: Tensor) -> Tensor:
    """How many posts are NaN or infinite."""
    return (~torch.isfinite(posts)).sum()


class Flags:
    """One buffer of flags.

    Args:
        every: how many times a flag is posted between two readings of the buffer.

    A copy or a pickle starts empty.
    """

    def __init__(self, every: int = 100) -> None:
        self.every = every
        self._flags: dict[tuple[str, Rule], _Flag] = {}

    def post(self, name: str, value: Tensor, act: Act, rule: Rule = largest) -> None:
        """Call `act(number)` if the rule's number of the values is not zero: now on the CPU, elsewhere once it is read.

        Under torch.compile and torch.func, and of the meta device, nothing is kept.
        """
        if eager(value):
            if number := float(rule(value.detach().flatten())):
                act(number)
        elif not _unreadable(value):
            flag = self._kept(name, act, rule)
            flag.values.append(value.detach() if value.requires_grad else value)
            self._posted(flag)

    def count(self, name: str, value: Tensor | bool, act: Act) -> None:
        """Call `act(sum)` with the sum of the values posted, on every device once the buffer is read."""
        if isinstance(value, Tensor) and _unreadable(value):
            return
        flag = self._kept(name, act, torch.sum)
        if isinstance(value, Tensor) and not eager(value):
            flag.values.append(value.detach())
        else:
            flag.number += float(value)
        self._posted(flag)

    def read(self) -> None:
        """Read the buffer in one copy, empty it, and act on every flag that is not zero; not in a captured step."""
        if capturing():
            return
        flags, self._flags = list(self._flags.values()), {}
        told = [flag.told() for flag in flags]
        kept = [number for number in told if number is not None]
        numbers = iter(torch.stack([x.to(kept[0].device) for x in kept]).tolist() if kept else [])
        for flag, number in zip(flags, told, strict=True):
            if whole := flag.number + (0.0 if number is None else next(numbers)):
                flag.act(whole)

    def _kept(self, name: str, act: Act, rule: Rule) -> _Flag:
        if (flag := self._flags.get((name, rule))) is None:
            flag = self._flags[name, rule] = _Flag(act, rule)
        flag.act = act
        return flag

    def _posted(self, flag: _Flag) -> None:
        flag.posts += 1
        if flag.posts >= self.every:
            self.read()

    def __reduce__(self) -> tuple[type[Flags], tuple[int]]:
        return Flags, (self.every,)


def _unreadable(value: Tensor) -> bool:
    if torch.compiler.is_compiling():
        return True
    return not value.is_cuda and (value.device.type == "meta" or transformed(value))


common = Flags()
"""the buffer of everything that runs outside a regularizer's step"""
