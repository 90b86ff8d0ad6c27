"""Training that runs away, seen in numbers a run already records: each against its own running value.

    x > factor <x>        <x>: running average over records, corrected for its bias; or x not finite

Watched are the policy's own loss and the length of the features at the seam.  An adversary that wins shows in both:
it pushes features out, and the head no longer finds in them what it needs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

from ..strength.averages import Average

WATCHED = ("policy", "norm/source", "norm/target")


class Divergence:
    """Warns once for each number that exceeds `factor` times its running value, from the `least`-th record on.

    `decay` is that of the running values, per record.
    """

    def __init__(self, factor: float = 5.0, decay: float = 0.9, least: int = 3) -> None:
        self.factor, self.decay, self.least = factor, decay, least
        self.diverged: dict[str, int] = {}
        self._running: dict[str, tuple[Average[float], int]] = {}

    def look(self, values: Mapping[str, float], step: int) -> None:
        """Take in a record; `diverged` holds the step at which each number ran away."""
        for name in WATCHED:
            if name in values and name not in self.diverged:
                self._look(name, values[name], step)

    def _look(self, name: str, value: float, step: int) -> None:
        average, count = self._running.get(name, (Average[float](self.decay), 0))
        usual = average.value
        if not math.isfinite(value) or (count >= self.least and usual is not None and value > self.factor * abs(usual)):
            self.diverged[name] = step
            before = "its first record" if usual is None else f"{usual:.3g} before"
            warnings.warn(
                f"training diverges: {name} is {value:.3g} at step {step}, {before}. Lower the weight or cap it, "
                "relative(0.1) * term; balanced(...) turns it down by itself.",
                stacklevel=4,
            )
            return
        average.add(value)
        self._running[name] = average, count + 1
