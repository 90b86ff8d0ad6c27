"""What the checks look at: the actions or the states of one dataset, and what a check finds between two of them."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...datasets.fields import Array
from ...datasets.names import shown
from .episodes import Episodes
from .statistics import Moments, Summary


@dataclass(frozen=True)
class Finding:
    """A difference between two datasets: which, where, how sure, what to do and why."""

    kind: str
    what: str
    """action or state"""
    source: str
    dimensions: tuple[str, ...]
    certainty: float
    do: str
    because: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "dimensions": list(self.dimensions)}


@dataclass(frozen=True)
class View:
    """Actions or states of one dataset."""

    what: str
    name: str
    names: tuple[str, ...]
    moments: Moments
    episodes: Episodes
    sample: Array
    """(n, d) random frames"""
    episode: Array
    stretch: Array
    """(m,) and (m, d) consecutive frames"""
    rate: float | None

    @property
    def width(self) -> int:
        return len(self.moments.mean)

    @property
    def moves(self) -> Array:
        """(d,) whether a dimension takes more than one value."""
        return self.moments.low < self.moments.high


def view(summary: Summary, what: str, name: str) -> View | None:
    """The actions or states of a dataset; None where it has none."""
    moments, episodes, sample, stretch = (
        getattr(summary, what),
        getattr(summary, f"{what}_episodes"),
        getattr(summary, f"sample_{what}"),
        getattr(summary.stretch, what),
    )
    if moments is None or not len(moments.mean):
        return None
    held = getattr(summary.demonstrations, f"{what}_names")
    names = tuple(shown(held[k]) if k < len(held) else str(k) for k in range(len(moments.mean)))
    rate = summary.demonstrations.rate
    return View(what, name, names, moments, episodes, sample, summary.stretch.episode, stretch, rate)


def listed(names: Any, most: int = 6) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def gripper(view: View) -> list[int]:
    """The dimensions that are a gripper's by name; without such a name, the last one where it has two values."""
    named = [k for k, name in enumerate(view.names) if re.search("grip|finger|jaw|claw|hand_open", name.lower())]
    last = view.width - 1
    return named or ([last] if view.moves[last] and two_values(view, last) else [])


def two_values(view: View, k: int) -> bool:
    """Whether nearly all values lie near the ends of the range."""
    low, high = view.moments.low[k], view.moments.high[k]
    place = (view.sample[:, k] - low) / (high - low)
    return bool(np.mean((place < 0.1) | (place > 0.9)) > 0.9)
