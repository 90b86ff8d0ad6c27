"""The masses of two sides by one Triton launch: normalised, counted and checked."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .._core import kernels
from .._core.checks import post_counts, post_least
from .._core.flags import Flags
from .._core.rows import SIDES, Rows


class Weighed(NamedTuple):
    """Masses (n,) and (m,) that sum to one, parts of one tensor; all zero where a side has too few rows of mass."""

    both: Tensor
    masses: tuple[Tensor, Tensor]
    enough: Tensor


def weighed(name: str, source: Rows, target: Rows, least: int, flags: Flags) -> Weighed:
    """As `masses.normalised` of both sides; masses that are negative or not finite are told through the flags."""
    from .triton_masses import normalise

    a, b = source.mass, target.mass
    assert a is not None and b is not None
    n, m = len(a), len(b)
    both, told = a.new_empty(n + m), a.new_empty(4)
    enough = torch.empty((), dtype=torch.bool, device=a.device)
    kernels.launch(
        normalise, (1,), a.detach().contiguous(), b.detach().contiguous(), both, told, enough, n, m, least, BLOCK=1024
    )
    for k, side in enumerate(SIDES):
        what = f"{name}: the {side} mass"
        post_counts(what, told[2 * k], flags)
        post_least(what, told[2 * k + 1], flags)
    return Weighed(both, (both[:n], both[n:]), enough)
