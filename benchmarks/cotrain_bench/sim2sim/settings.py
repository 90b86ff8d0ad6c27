"""What a comparison compares, and its presets: fixed before any result was seen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from .cell import Cell
from .training import Budget


@dataclass(frozen=True)
class Settings:
    """One comparison: its methods share all else.  A ValueError for no method, one twice, or what cells refuse."""

    task: str = "pick-place"
    gap: str = "control"
    methods: tuple[str, ...] = ("real_only", "cotraining", "adda", "cfg", "cfg_adda")
    ratio: float = 0.1
    seed: int = 0
    target_demos: int = 4
    source_demos: int = 200
    episodes: int = 100
    policy: str = "flow"
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise ValueError(f"a run compares one or more different methods, got {self.methods!r}.")
        self.cells()

    def cells(self) -> list[Cell]:
        shared = {name: value for name, value in vars(self).items() if name != "methods"}
        return [Cell(method, **shared) for method in self.methods]


PRESETS = {
    "demo": Settings(),
    "smoke": Settings(
        methods=("real_only", "cotraining", "cfg_adda"), source_demos=12, episodes=5, budget=Budget(steps=100)
    ),
}


def settings(preset: str, **changes: Any) -> Settings:
    """A preset with changes; a change of None is none, `steps` is the budget's.

    Raises ValueError for an unknown preset, task, gap or method, or a number out of range, with what there is.

    >>> settings("demo", gap="hard", ratio=None).gap
    'hard'
    """
    if preset not in PRESETS:
        raise ValueError(f"a preset is one of {', '.join(PRESETS)}, got {preset!r}.")
    chosen, given = PRESETS[preset], {name: value for name, value in changes.items() if value is not None}
    if (steps := given.pop("steps", None)) is not None:
        given["budget"] = replace(chosen.budget, steps=steps)
    return replace(chosen, **given)
