"""Running averages without a bias towards where they started.

    <x>_k = sum_i beta^(k - i) x_i / sum_i beta^(k - i)

Kingma & Ba, ICLR 2015, section 3: the average of one observation is that observation.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from torch import Tensor

from .._core.device import moved

Value = TypeVar("Value", float, Tensor)


class Average(Generic[Value]):
    """An exponential moving average, corrected for its bias; None before the first observation."""

    def __init__(self, decay: float) -> None:
        self.decay, self.total, self.weight = decay, None, 0.0  # type: tuple[float, Value | None, float]

    @property
    def value(self) -> Value | None:
        """The average so far."""
        return None if self.total is None else self.total / self.weight

    def add(self, x: Value) -> None:
        """One observation more."""
        if isinstance(self.total, Tensor) and isinstance(x, Tensor):  # loaded from a checkpoint on another device
            self.total = moved(self.total, x.device)
        self.total = x if self.total is None else self.decay * self.total + x
        self.weight = self.decay * self.weight + 1.0

    def state(self) -> tuple[Value | None, float]:
        """What there is to be saved."""
        return self.total, self.weight

    def load(self, state: tuple[Value | None, float]) -> None:
        """What was saved."""
        self.total, self.weight = state
