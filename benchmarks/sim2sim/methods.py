"""The methods that are compared, each at the recipes' defaults: fixed before any result was seen."""

from __future__ import annotations

from collections.abc import Callable

import cotrain_losses as ctl

METHODS: dict[str, Callable[[int, float], ctl.Method]] = {
    "real_only": lambda width, ratio: ctl.recipes.real_only(),
    "cotraining": lambda width, ratio: ctl.recipes.cotraining(ratio),
    "ot": lambda width, ratio: ctl.recipes.ot(ratio),
    "mmd": lambda width, ratio: ctl.recipes.mmd(ratio),
    "adda": lambda width, ratio: ctl.recipes.adda(width, ratio),
    "tzeng": lambda width, ratio: ctl.recipes.tzeng(width, ratio),
    "cfg": lambda width, ratio: ctl.recipes.cfg(width, ratio),
    "cfg_adda": lambda width, ratio: ctl.recipes.cfg_adda(width, ratio),
    "probe": lambda width, ratio: ctl.recipes.probe(width, ratio),
}

TITLES = {
    "real_only": "target only",
    "cotraining": "co-training",
    "ot": "+ OT",
    "mmd": "+ MMD",
    "adda": "+ ADDA",
    "tzeng": "+ ADDA (inverted labels)",
    "cfg": "+ CFG",
    "cfg_adda": "+ CFG-ADDA",
    "probe": "co-training, watched",
}
"""how figures and tables call them"""
