"""Features in units of their own spread, so that a term's size says nothing about the scale of z.

    z' = (z - mean) / spread        mean, spread (d,): running, of both domains together, constants of the step

A coordinate's spread is its standard deviation, but no less than a tenth of the root mean square over coordinates: what
is far below the scale of the rest is not blown up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._core.device import accurate, moved
from .._core.ranks import summed
from .._core.rows import Rows
from .averages import Average

LEAST = 0.1


class Standardised:
    """Running first and second moments of the rows of both domains."""

    def __init__(self, decay: float) -> None:
        self._moments: Average[Tensor] = Average(decay)

    def observe(self, source: Rows, target: Rows, gathered: bool) -> None:
        """Take in a batch, as it comes: each row that has mass counts alike."""
        x = torch.cat([source.features, target.features]).detach()
        wide, counts = x.to(accurate(x)), _counts(source, target)
        if counts is None:
            moments = torch.cat([wide.sum(0), wide.square().sum(0), wide.new_full((1,), len(wide))])
        else:
            counts = counts.to(wide)
            moments = torch.cat([counts @ wide, counts @ wide.square(), counts.sum()[None]])
        moments = moments if gathered else summed(moments)
        if len(wide) or not gathered:
            self._moments.add(moments[:-1] / moments[-1].clamp_min(1.0))

    def __call__(self, source: Rows, target: Rows) -> tuple[Rows, Rows]:
        """Both sides in units of the spread; the rows themselves before anything was observed."""
        moments = self._moments.value
        if moments is None:
            return source, target
        mean, square = moved(moments, source.features.device).chunk(2)
        variance = (square - mean.square()).clamp_min(0.0)
        least = LEAST**2 * variance.mean()
        gain = torch.maximum(variance, least.where(least > 0, 1.0)).rsqrt()
        wide = torch.promote_types(source.features.dtype, torch.float32)
        mean, gain = mean.to(wide), gain.to(wide)
        return _moved(source, mean, gain), _moved(target, mean, gain)

    def state(self) -> Any:
        """What there is to be saved."""
        return self._moments.state()

    def load(self, state: Any) -> None:
        """What was saved."""
        self._moments.load(state)


def _counts(source: Rows, target: Rows) -> Tensor | None:
    """(n + m,) which rows have mass; None where all have."""
    if source.mass is None or target.mass is None:
        return None
    return torch.cat([source.mass, target.mass]) > 0


def _moved(rows: Rows, mean: Tensor, gain: Tensor) -> Rows:
    return Rows((rows.features.to(mean) - mean) * gain, rows.extras, rows.mass, rows.group, rows.valid)
