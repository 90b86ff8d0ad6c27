"""What a cell may change in the observations: columns that tell the domain or the cameras, another normalisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .frames import Frames

TARGET = torch.tensor([0.0, 1.0])  # the code of the target; that of the source is its mirror


def labelled(data: Frames) -> Frames:
    """Frames whose observations (n, steps, o) end in two columns that tell the domain, (n, steps, o + 2)."""
    return told(data, torch.stack([~data.is_target, data.is_target], dim=1).float())


def told(data: Frames, columns: Tensor) -> Frames:
    """Frames whose observations (n, steps, o) end in columns (n, k) of their own."""
    every = columns[:, None].expand(-1, data.observations.shape[1], -1)
    return replace(data, observations=torch.cat([data.observations, every.to(data.observations)], dim=2))


def as_told(policy: Callable[[Tensor], Tensor], columns: Tensor = TARGET) -> Callable[[Tensor], Tensor]:
    """A policy of observations that end in columns (k,), always these, as one of observations without them."""

    def without(observations: Tensor) -> Tensor:
        return policy(torch.cat([observations, columns.to(observations).expand(*observations.shape[:2], -1)], dim=2))

    return without


def normalised(data: Frames) -> Frames:
    """Frames whose source observations have the target's mean and deviation in every coordinate."""
    sides = [data.observations[mask][:, -1] for mask in (~data.is_target, data.is_target)]
    (m_s, s_s), (m_t, s_t) = ((x.mean(0), x.std(0).clamp_min(1e-3)) for x in sides)  # as the policies' normalisers
    moved = (data.observations - m_s) / s_s * s_t + m_t
    return replace(data, observations=torch.where(data.is_target[:, None, None], data.observations, moved))
