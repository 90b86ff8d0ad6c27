"""How much each row counts, once groups are taken into account.

    a_i, b_j >= 0,   sum_i a_i = sum_j b_j = 1,   and in every group g   sum_{i in g} a_i = sum_{j in g} b_j = q_g

Without groups the masses are the rows' own, normalised.  With groups, alignment asks that the features
of one group look alike in both domains, not that both domains hold the groups in the same shares: so the
shares are made equal first, q_g being the mean of the two sides' shares.  A group with too few rows on
either side has nothing to be compared with: its rows count nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .._core.device import eager

if TYPE_CHECKING:
    from .._core.rows import Rows


def balanced_masses(source: Rows, target: Rows, least: int = 1) -> tuple[Tensor, Tensor]:
    """The masses a (n,) and b (m,) of the two sides, constants of the batch.

    Args:
        least: a group is compared where both sides hold at least this many of its rows.

    Shape:
        source n rows, target m rows -> (n,), (m,), each summing to one; all zero when nothing can be compared.
    """
    a, b = _own_mass(source), _own_mass(target)
    across = same_group(source, target)
    if across is None:
        return a, b
    a, b = _shared(a, b, across, _within(source), least), _shared(b, a, across.T, _within(target), least)
    return _normalised(a), _normalised(b)


def same_group(source: Rows, target: Rows) -> Tensor | None:
    """(n, m) bool, True where two rows may be compared; None where all may."""
    if source.group is None and target.group is None:
        return None
    if source.group is None or target.group is None:
        raise ValueError(
            "rows of one group are compared with rows of the same group, got a group on "
            f"{'the target' if source.group is None else 'the source'} side only.\nPass group=... on both sides."
        )
    return source.group[:, None] == target.group[None, :]


def nothing_shared(source: Rows, target: Rows, least: int = 1) -> bool:
    """Whether no group has `least` rows of positive mass on both sides.

    Known where looking costs nothing (op by op on the CPU); elsewhere False, and all masses come out zero.
    """
    if source.alike and target.alike:
        return False
    return eager(source.features) and not all(mass.any() for mass in balanced_masses(source, target, least))


def unmatched(source: Rows, target: Rows) -> int:
    """How many rows are of a group that the other side lacks; not looked for where looking would wait."""
    if (source.group is None and target.group is None) or not eager(source.features):
        return 0
    same = same_group(source, target)
    return 0 if same is None else int((~same.any(1)).sum() + (~same.any(0)).sum())


def _own_mass(rows: Rows) -> Tensor:
    features = rows.features
    if rows.mass is None:
        return torch.full((len(rows),), 1.0 / max(len(rows), 1), dtype=features.dtype, device=features.device)
    return _normalised(rows.mass.detach().to(features))


def _normalised(mass: Tensor) -> Tensor:
    return mass / mass.sum().clamp_min(torch.finfo(mass.dtype).tiny)


def _within(rows: Rows) -> Tensor:
    same = same_group(rows, rows)
    assert same is not None  # groups were found on both sides
    return same


def _shared(own: Tensor, other: Tensor, across: Tensor, within: Tensor, least: int) -> Tensor:
    """Each row's mass after its group's share became the mean of both sides' shares."""
    here, there = within.to(own) @ own, across.to(own) @ other
    rows_here, rows_there = (within & (own > 0)).sum(1), (across & (other > 0)).sum(1)
    compared = (rows_here >= least) & (rows_there >= least)
    share = (here + there) / 2
    return torch.where(compared, own * share / here.clamp_min(torch.finfo(own.dtype).tiny), 0.0)
