"""The methods that are compared, each at the recipes' defaults: fixed before any result was seen.

`normalised` changes the data, not the loss: source observations are given the target's mean and deviation in each
coordinate, which is what normalising each domain by its own statistics comes to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

import cotrain_losses as ctl
from cotrain_losses import recipes
from cotrain_losses.strength import balanced, relative

HAND = (0, 1, 12, 13, 24)
"""observed numbers that tell the robot's own state: its hand in both cameras, and the gripper's opening"""


class Setting(NamedTuple):
    """What a method may depend on."""

    width: int
    """of the features"""
    ratio: float
    steps: int
    """optimizer steps"""


def _penalised(s: Setting, fraction: float) -> ctl.Method:
    adversary = balanced(-relative(fraction)) * ctl.DomainClassifier(s.width, penalty=1.0)
    return replace(recipes.structured(s.width, ratio=s.ratio), regularizer=adversary)


_ACTIONS = recipes.LabelCost("action", "action", weight=0.1)

METHODS: dict[str, Callable[[Setting], ctl.Method]] = {
    "real_only": lambda s: recipes.real_only(),
    "cotraining": lambda s: recipes.cotraining(s.ratio),
    "normalised": lambda s: recipes.cotraining(s.ratio),
    "ot": lambda s: recipes.ot(ratio=s.ratio),
    "mmd": lambda s: recipes.mmd(ratio=s.ratio),
    "energy": lambda s: recipes.energy(ratio=s.ratio),
    "uot": lambda s: recipes.uot(ratio=s.ratio),
    "jdot": lambda s: recipes.deepjdot(ratio=s.ratio, features=0.1, labels=_ACTIONS),
    "adda": lambda s: recipes.adda(s.width, ratio=s.ratio),
    "adda_strong": lambda s: recipes.adda(s.width, ratio=s.ratio, strength=0.5),
    "tzeng": lambda s: recipes.tzeng(s.width, ratio=s.ratio),
    "dann": lambda s: recipes.dann(s.width, ratio=s.ratio, steps=s.steps),
    "discernibility": lambda s: recipes.adda(s.width, ratio=s.ratio, strength=-0.05),
    "cfg": lambda s: recipes.cfg(s.width, ratio=s.ratio),
    "cfg_adda": lambda s: recipes.cfg_adda(s.width, ratio=s.ratio),
    "probe": lambda s: recipes.probe(s.width, ratio=s.ratio),
    "structured": lambda s: recipes.structured(s.width, ratio=s.ratio),
    "structured_kept_out": lambda s: recipes.structured(s.width, ratio=s.ratio),
    "structured_penalised": lambda s: _penalised(s, 0.1),
    "structured_loud": lambda s: _penalised(s, 0.3),
}

TRIALS = ("structured_kept_out", "structured_penalised", "structured_loud")
"""what the recipe was chosen from: the held-out demonstration is never trained on"""

GUIDED = ("cfg", "cfg_adda", "structured", *TRIALS)
"""methods that have a guidance scale"""

HOLDS_OUT = {"structured": 0.4, **dict.fromkeys(TRIALS, 1.0)}
"""methods that go by a held-out target demonstration, and the share of the steps after which they train on it too"""

TITLES = {
    "real_only": "target only",
    "cotraining": "co-training",
    "normalised": "normalised by domain",
    "ot": "+ OT",
    "mmd": "+ MMD",
    "energy": "+ energy distance",
    "uot": "+ unbalanced OT",
    "jdot": "+ joint OT",
    "adda": "+ ADDA",
    "adda_strong": "+ ADDA, weight .5",
    "tzeng": "+ ADDA (inverted labels)",
    "dann": "+ DANN (warm-up to 1)",
    "discernibility": "+ discernibility",
    "cfg": "+ CFG",
    "cfg_adda": "+ CFG-ADDA",
    "probe": "co-training, watched",
    "structured": "structured (ours)",
    "structured_kept_out": "structured, held out to the end",
    "structured_penalised": "... and slope penalty",
    "structured_loud": "... and fraction .3",
}
"""how figures and tables call them"""


def extras(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """What terms and weights read beside the features: the chunk of commands, the robot's own state, the episode."""
    state = batch["observations"][:, -1, HAND]
    return {"action": batch["actions"].flatten(1), "state": state, "episode": batch["episode"]}
