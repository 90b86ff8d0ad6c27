"""What a run compares, and its presets: fixed before any result was seen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from .gaps import GAPS
from .methods import METHODS
from .training import Budget
from .world import TASKS


@dataclass(frozen=True)
class Settings:
    """One run: a task, a gap, data, methods, a training budget and an evaluation, all methods sharing the rest."""

    task: str = "pick-place"
    gap: str = "control"
    methods: tuple[str, ...] = ("real_only", "cotraining", "adda", "cfg", "cfg_adda")
    ratio: float = 0.1
    seed: int = 0
    target_demos: int = 4
    source_demos: int = 200
    episodes: int = 100
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        for what, value, known in (("task", self.task, TASKS), ("gap", self.gap, GAPS)):
            if value not in known:
                raise ValueError(f"a {what} is one of {', '.join(known)}, got {value!r}.")
        if unknown := [name for name in self.methods if name not in METHODS]:
            raise ValueError(f"a method is one of {', '.join(METHODS)}, got {', '.join(map(repr, unknown))}.")
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise ValueError(f"a run compares one or more different methods, got {self.methods!r}.")
        if not 0.0 < self.ratio <= 1.0:
            raise ValueError(f"ratio is the share of target samples and lies in (0, 1] here, got {self.ratio}.")
        for name in ("target_demos", "source_demos", "episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} counts from 1, got {getattr(self, name)}.")
        if not 0 <= self.seed < 1000:
            raise ValueError(f"seed lies in [0, 999], so that no two seeds share an episode, got {self.seed}.")


PRESETS = {
    "demo": Settings(),
    "smoke": Settings(
        methods=("real_only", "cotraining", "cfg_adda"), source_demos=12, episodes=5, budget=Budget(steps=100)
    ),
}


def settings(preset: str, **changes: Any) -> Settings:
    """A preset with changes; a change of None is none, `steps` is the budget's.

    Raises:
        ValueError: an unknown preset, task, gap or method, or a number out of range, with what there is.

    >>> settings("demo", gap="hard", ratio=None).gap
    'hard'
    """
    if preset not in PRESETS:
        raise ValueError(f"a preset is one of {', '.join(PRESETS)}, got {preset!r}.")
    chosen, given = PRESETS[preset], {name: value for name, value in changes.items() if value is not None}
    if (steps := given.pop("steps", None)) is not None:
        if steps < 1:
            raise ValueError(f"steps counts optimizer steps from 1, got {steps}.")
        given["budget"] = replace(chosen.budget, steps=steps)
    return replace(chosen, **given)
