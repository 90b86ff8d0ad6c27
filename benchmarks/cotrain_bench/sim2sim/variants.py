"""What a cell may change in the data: a domain label in the observation, normalisation by domain.

label        o -> (o, 1[source], 1[target])            the target's code is given in evaluation
normalised   o_source -> (o_source - m_s) / s_s * s_t + m_t    each domain normalised by its own statistics
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .training import Frames

LEAST_DEVIATION = 1e-3  # deviations below it are taken to be it, as the policies' own normalisers do


def labelled(data: Frames) -> Frames:
    """Frames whose observations (n, steps, o) end in two columns that tell the domain, (n, steps, o + 2)."""
    codes = torch.stack([~data.is_target, data.is_target], dim=1).float()
    columns = codes[:, None].expand(-1, data.observations.shape[1], -1)
    return replace(data, observations=torch.cat([data.observations, columns], dim=2))


def as_target(policy: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A policy of labelled observations as one of plain ones, all of them the target's."""

    def of_target(observations: Tensor) -> Tensor:
        code = torch.tensor([0.0, 1.0]).expand(*observations.shape[:2], 2)
        return policy(torch.cat([observations, code], dim=2))

    return of_target


def normalised(data: Frames) -> Frames:
    """Frames whose source observations have the target's mean and deviation in every coordinate."""
    (m_s, s_s), (m_t, s_t) = (_moments(data.observations[mask][:, -1]) for mask in (~data.is_target, data.is_target))
    moved = (data.observations - m_s) / s_s * s_t + m_t
    return replace(data, observations=torch.where(data.is_target[:, None, None], data.observations, moved))


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), x.std(0).clamp_min(LEAST_DEVIATION)
