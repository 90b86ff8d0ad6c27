"""The methods that are compared, each at the recipes' defaults, guidance at the published scale.

They were fixed before any result was seen.

`normalised` changes the data, not the loss: source observations are given the target's mean and deviation in each
coordinate, which is what normalising each domain by its own statistics comes to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

import cotrain_losses as ctl
from cotrain_losses import recipes
from cotrain_losses.strength import balanced, relative

PUBLISHED_SCALE = 0.5  # of guidance, best for Lei et al. 2026; the recipes' own is 1 since the study of scales
HAND = (0, 1, 12, 13, 24)  # observed numbers of the robot's own: its hand in both cameras, the gripper's opening


class Setting(NamedTuple):
    """What a method may depend on."""

    width: int  # of the features
    ratio: float
    steps: int  # optimizer steps


def _penalised(s: Setting, fraction: float) -> ctl.Method:
    adversary = balanced(-relative(fraction)) * ctl.DomainClassifier(s.width, penalty=1.0)
    return replace(recipes.structured(s.width, ratio=s.ratio), regularizer=adversary)


def _wide(recipe: Callable[..., ctl.Method], **how: Any) -> Callable[[Setting], ctl.Method]:
    """A recipe that asks for the features' width, at the setting's ratio."""
    return lambda s: recipe(s.width, ratio=s.ratio, **how)


_ACTIONS = recipes.LabelCost("action", "action", weight=0.1)


@dataclass(frozen=True)
class Compared:
    """A method that the suite compares; its entry in METHODS is all that adds one."""

    title: str  # how figures and tables call it
    make: Callable[[Setting], ctl.Method]
    guided: bool = False  # whether it has a guidance scale
    holds_out: float | None = None  # share of the steps until it trains on the target demonstration it held out
    studied: str = ""  # the set that studies take it into: `paper`, `all` (which has the paper's too), or none
    published: tuple[float | None, float | None, float] | None = None  # at balanced ratios, at others, of 30 on robots

    def __call__(self, setting: Setting) -> ctl.Method:
        return self.make(setting)


METHODS: dict[str, Compared] = {
    "real_only": Compared("target only", lambda s: recipes.real_only(), studied="paper", published=(None, None, 8.6)),
    "cotraining": Compared(
        "co-training", lambda s: recipes.cotraining(s.ratio), studied="paper", published=(0.52, 0.48, 15.3)
    ),
    "normalised": Compared("normalised by domain", lambda s: recipes.cotraining(s.ratio), studied="all"),
    "ot": Compared("+ OT", lambda s: recipes.ot(ratio=s.ratio), studied="paper", published=(0.53, 0.48, 14.3)),
    "mmd": Compared("+ MMD", lambda s: recipes.mmd(ratio=s.ratio), studied="paper"),
    "energy": Compared("+ energy distance", lambda s: recipes.energy(ratio=s.ratio), studied="all"),
    "uot": Compared("+ unbalanced OT", lambda s: recipes.uot(ratio=s.ratio), studied="all"),
    "jdot": Compared(
        "+ joint OT", lambda s: recipes.deepjdot(ratio=s.ratio, features=0.1, labels=_ACTIONS), studied="all"
    ),
    "adda": Compared("+ ADDA", _wide(recipes.adda), studied="paper", published=(0.53, 0.47, 14.3)),
    "adda_strong": Compared("+ ADDA, strength .5", _wide(recipes.adda, strength=0.5)),
    "tzeng": Compared("+ ADDA (inverted labels)", _wide(recipes.tzeng)),
    "dann": Compared(
        "+ DANN (warm-up to 1)", lambda s: recipes.dann(s.width, ratio=s.ratio, steps=s.steps), studied="all"
    ),
    "discernibility": Compared("+ discernibility", _wide(recipes.adda, strength=-0.05), studied="all"),
    "cfg": Compared(
        "+ CFG", _wide(recipes.cfg, scale=PUBLISHED_SCALE), guided=True, studied="paper", published=(0.51, 0.49, 15.3)
    ),
    "cfg_adda": Compared(
        "+ CFG-ADDA",
        _wide(recipes.cfg_adda, scale=PUBLISHED_SCALE),
        guided=True,
        studied="paper",
        published=(0.55, 0.50, 21.0),
    ),
    "probe": Compared("co-training, watched", _wide(recipes.probe), studied="all"),
    "structured": Compared("structured (ours)", _wide(recipes.structured), guided=True, holds_out=0.4),
    "structured_kept_out": Compared(
        "structured, held out to the end", _wide(recipes.structured), guided=True, holds_out=1.0
    ),
    "structured_penalised": Compared("... and slope penalty", lambda s: _penalised(s, 0.1), guided=True, holds_out=1.0),
    "structured_loud": Compared("... and fraction .3", lambda s: _penalised(s, 0.3), guided=True, holds_out=1.0),
}
"""Those whose held-out demonstration is never trained on are trials that the recipe was chosen from."""


def studied(which: str) -> tuple[str, ...]:
    """The paper's methods, or all that studies compare: the paper's first."""
    sets = ("paper",) if which == "paper" else ("paper", "all")
    return tuple(name for part in sets for name, method in METHODS.items() if method.studied == part)


def extras(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """What terms and weights read beside the features: the chunk of commands, the robot's own state, the episode."""
    state = batch["observations"][:, -1, HAND]
    return {"action": batch["actions"].flatten(1), "state": state, "episode": batch["episode"]}
