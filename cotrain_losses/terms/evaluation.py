"""What a step of a regularizer was made of, under which names, and which of its terms were skipped."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from .._core.flags import Flags


class Evaluation(NamedTuple):
    """What a regularizer was worth on one pair of sides.

    >>> from cotrain_losses import MMD
    >>> one_row = torch.zeros(1, 2)  # MMD needs two
    >>> found = (0.1 * MMD()).evaluate(torch.zeros(4, 2), one_row)
    >>> found.strengths, found.n, found.m, found.skipped
    ({'mmd': 0.1}, 4, 1, ('mmd',))
    """

    value: Tensor
    """sum_k lambda_k R_k, the scalar to add to the loss."""
    raw: dict[str, Tensor]
    """each term's own value, detached and without its strength."""
    strengths: dict[str, float]
    """each term's strength lambda_k at this step."""
    n: int
    """source rows."""
    m: int
    """target rows."""
    skipped: tuple[str, ...]
    """terms that had too few rows and were an exact zero, as far as the host knows without waiting."""
    unmatched: int = 0
    """rows left out because no row of their group is on the other side; counted on the CPU, elsewhere 0."""


class Skips:
    """Counts the training steps in which a term was an exact zero, and warns where that is most of a window.

    Args:
        flags: the buffer that counts what only the device knows.
        needed: the rows that each term needs on both sides.
    """

    window = 100

    def __init__(self, flags: Flags, needed: Mapping[str, int]) -> None:
        self.flags, self.needed = flags, dict(needed)
        self._steps, self._skips, self._warned = 0, dict[str, float](), set[str]()

    def count(self, enough: Mapping[str, bool | Tensor]) -> None:
        """One training step more: whether each term had enough rows, as a tensor where only the device knows."""
        if torch.compiler.is_compiling():
            return
        self._steps += 1
        for name, known in enough.items():
            if known is not True:
                skip = ~known if isinstance(known, Tensor) else True
                self.flags.count(f"{name} skipped", skip, partial(self._skips.__setitem__, name))
        if self._steps == self.window:
            self.flags.read()
            for name, skips in self._skips.items():
                self._warn(name, int(skips))
            self._steps = 0
            self._skips.clear()

    def _warn(self, name: str, skips: int) -> None:
        if skips * 2 <= self.window or name in self._warned:
            return
        self._warned.add(name)
        needed = self.needed[name]
        warnings.warn(
            f"{name} compares at least {needed} source rows with {needed} target rows; {skips} of "
            f"the last {self.window} batches had fewer, so it was zero there. Raise the ratio or the batch size, or "
            "draw balanced rows with MixedBatchSampler(share=0.5) and keep the policy's ratio through ratio_weights.",
            stacklevel=5,
        )


def names_of(terms: Sequence[object]) -> list[str]:
    """A name for each term: its class in snake case, numbered from the second on.

    >>> names_of([1.0, 2.0, "x"])
    ['float', 'float_2', 'str']
    """
    seen: dict[str, int] = {}
    names = []
    for term in terms:
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(term).__name__).lower()
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return names
