"""How much each row counts, once groups are taken into account.

    a_i, b_j >= 0,   sum_i a_i = sum_j b_j = 1,   and in every group g   sum_{i in g} a_i = sum_{j in g} b_j = q_g

Without groups the masses are the rows' own, normalised.  With groups, alignment asks that the features
of one group look alike in both domains, not that both domains hold the groups in the same shares: so the
shares are made equal first, q_g being the mean of the two sides' shares.  A group with too few rows on
either side has nothing to be compared with: its rows count nothing.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from .._core.device import capturing, transformed
from .._core.rows import Rows

LEAST = 2e-19
"""a mass relative to the largest that counts nothing: products of two such are no numbers of float32"""


def own_mass(rows: Rows) -> Tensor:
    """(n,) the rows' own masses as a constant that sums to one; equal where none are given."""
    features = rows.features
    if rows.mass is None:
        return torch.full((len(rows),), 1.0 / max(len(rows), 1), dtype=features.dtype, device=features.device)
    return normalised(rows.mass.detach().to(features))


def two_numbers(first: float, n: int, second: float, m: int, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """(n + m,) a number for each row of one side and one for the other's, of the type of `like` if none is given."""
    make = _two_numbers if _of_this_step_alone(like) else _two_numbers_kept
    return make(first, n, second, m, dtype or like.dtype, like.device)


def two_sides(first: float, n: int, second: float, m: int, like: Tensor) -> Tensor:
    """(2, n + m) the same, a row for each side, zero at the other's."""
    make = _two_sides if _of_this_step_alone(like) else _two_sides_kept
    return make(first, n, second, m, like.dtype, like.device)


def _two_numbers(first: float, n: int, second: float, m: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    sides = (first, n), (second, m)
    return torch.cat([torch.full((k,), number, dtype=dtype, device=device) for number, k in sides])


def _two_sides(first: float, n: int, second: float, m: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    sides = (first, n, 0.0, m), (0.0, n, second, m)
    return torch.stack([_two_numbers(*side, dtype, device) for side in sides])


_two_numbers_kept, _two_sides_kept = lru_cache(maxsize=64)(_two_numbers), lru_cache(maxsize=64)(_two_sides)


def _of_this_step_alone(like: Tensor) -> bool:
    """Whether a constant made now is none that any later step may take."""
    own = torch.compiler.is_compiling() or capturing() or torch.is_inference_mode_enabled() or transformed(like)
    return own or type(like) not in (Tensor, nn.Parameter)  # a FakeTensor, say


def first_those_of_mass(mass: Tensor) -> Tensor:
    """(n,) positions: rows that have mass in their order, then the others."""
    return torch.argsort((mass <= 0).to(torch.uint8), stable=True)


def normalised(mass: Tensor) -> Tensor:
    """Masses that sum to one, zero where LEAST of the largest and below, in every type alike."""
    if len(mass) == 0:
        return mass
    largest = mass.amax()
    relative = mass / torch.where(largest > 0, largest, 1.0)  # no sum overflows, no quotient of subnormal numbers
    kept = torch.where(relative > LEAST, relative, 0.0)
    return kept / kept.sum().clamp_min(torch.finfo(mass.dtype).tiny)


def with_shared_groups(own: Tensor, other: Tensor, across: Tensor, within: Tensor, least: int) -> Tensor:
    """(n,) each row's mass after its group's share became the mean of both sides' shares.

    Args:
        own: (n,) masses of this side.
        other: (m,) masses of the other side.
        across, within: (n, m) and (n, n) bool, which rows are of one group.
        least: a group is compared where both sides hold at least this many of its rows.
    """
    here, there = within.to(own) @ own, across.to(own) @ other
    rows_here, rows_there = (within & (own > 0)).sum(1), (across & (other > 0)).sum(1)
    compared = (rows_here >= least) & (rows_there >= least)
    share = (here + there) / 2
    return normalised(torch.where(compared, own * share / here.clamp_min(torch.finfo(own.dtype).tiny), 0.0))
