"""The methods that are compared, each at the recipes' defaults, guidance at the published scale.

They were fixed before any result was seen.

A cell's `strength` puts a relative one in the place of a recipe's own: a term then always sends the encoder that share
of the policy's gradient, on features as they are, in whose units recipes give blurs and prices.  Methods without a term
give the word a meaning of their own, beside their entry.

`normalised` changes the data, not the loss: source observations are given the target's mean and deviation in each
coordinate, which is what normalising each domain by its own statistics comes to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

import cotrain_losses as ctl
from cotrain_losses import recipes
from cotrain_losses.mixing.pairing import NearestByDTW
from cotrain_losses.strength import balanced, relative
from cotrain_losses.strength.strength import MeasuredStrength

from .batches import Phases
from .path_head import PathHead

PUBLISHED_SCALE = 0.5  # of guidance, best for Lei et al. 2026; the recipes' own is 1 since the study of scales
SHARES = (0.1, 0.3, 0.03, 1.0)  # of the policy's gradient, that a term sends to the encoder
TURNS = (1.25, 0.5, 0.8, 2.0)  # how far cameras are randomised, in turns of the target's: from 1 on it is among them


class Setting(NamedTuple):
    """What a method may depend on."""

    width: int  # of the features
    ratio: float
    steps: int  # optimizer steps
    strength: float | None = None


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
    screened: tuple[float, ...] = ()  # strengths at which the study of transfer screens it, the first being the default
    combined: bool = False  # whether it joins methods that the screen found, and so is no part of it
    frames: bool = False  # whether the target's frames without actions change anything for it
    paired: bool = False  # whether its terms compare rows that a paired sampler draws
    phases: Callable[[Setting], Phases] | None = None  # ratios, one after another
    cameras: bool = False  # whether source demonstrations are seen through drawn cameras, turned by up to `strength`
    pose: bool = False  # whether observations tell where the cameras stand
    normalised: bool = False  # whether source observations are given the target's mean and deviation

    def __call__(self, setting: Setting) -> ctl.Method:
        made = self.make(setting)
        return made if setting.strength is None else _relative(made, setting.strength)


def _relative(method: ctl.Method, share: float) -> ctl.Method:
    """The method with relative strengths, of the same signs, for its raw ones; those that are measured stay."""
    if method.regularizer is None:
        return method
    parts = []
    for _, strength, term in (1.0 * method.regularizer).parts():
        if not isinstance(strength, MeasuredStrength):
            strength = relative(share, raw=math.inf, standardise=False) * (-1.0 if float(strength) < 0 else 1.0)  # type: ignore[arg-type]
        parts.append((strength, term))
    return replace(method, regularizer=ctl.Regularizer(parts))


def _plain(s: Setting) -> ctl.Method:
    return recipes.cotraining(s.ratio)


def _annealed(s: Setting) -> Phases:
    """The ratio of the run, and over the last `strength` of the steps ten stairs from it to 1."""
    last = s.strength or 0.5
    return [(1 - last, s.ratio), *((last / 10, s.ratio + (1 - s.ratio) * k / 10) for k in range(1, 11))]


def _path(s: Setting) -> ctl.Method:
    return ctl.Method(ratio=s.ratio, regularizer=0.1 * PathHead(s.width))


def _path_and_mmd(s: Setting) -> ctl.Method:
    """The head for the hand's path at the cell's strength, and MMD at .3, the best of its four in the screen."""
    mmd = relative(0.3, raw=math.inf, standardise=False) * ctl.MMD()
    return ctl.Method(ratio=s.ratio, regularizer=0.1 * PathHead(s.width) + mmd)


def _source_first(last: float) -> Phases:
    """The source alone, and then the target alone for the last share of the steps."""
    return [(1 - last, 0.0), (last, 1.0)]


_COMBINED: dict[str, Any] = {"screened": SHARES, "combined": True, "frames": True}
_LAST_FIFTH: dict[str, Any] = {"phases": lambda s: _source_first(0.2)}
METHODS: dict[str, Compared] = {
    "real_only": Compared("target only", lambda s: recipes.real_only(), studied="paper", published=(None, None, 8.6)),
    "cotraining": Compared(
        "co-training", lambda s: recipes.cotraining(s.ratio), studied="paper", published=(0.52, 0.48, 15.3)
    ),
    "normalised": Compared("normalised by domain", _plain, studied="all", normalised=True, frames=True),
    "ot": Compared(
        "+ OT",
        lambda s: recipes.ot(ratio=s.ratio),
        studied="paper",
        published=(0.53, 0.48, 14.3),
        screened=SHARES,
        frames=True,
    ),
    "mmd": Compared("+ MMD", lambda s: recipes.mmd(ratio=s.ratio), studied="paper", screened=SHARES, frames=True),
    "energy": Compared("+ energy distance", lambda s: recipes.energy(ratio=s.ratio), studied="all"),
    "uot": Compared("+ unbalanced OT", lambda s: recipes.uot(ratio=s.ratio), studied="all"),
    "jdot": Compared(
        "+ joint OT", lambda s: recipes.deepjdot(ratio=s.ratio, features=0.1, labels=_ACTIONS), studied="all"
    ),
    "uot_paired": Compared(
        "+ unbalanced OT of paired rows (Cheng)",
        lambda s: recipes.uot(ratio=s.ratio),
        screened=SHARES,
        frames=True,
        paired=True,
    ),
    "egobridge": Compared(
        "+ OT of DTW pairs (EgoBridge)",
        lambda s: recipes.egobridge(ratio=s.ratio, pairing=NearestByDTW("path", discount=0.5, gamma=0.1)),
        screened=SHARES,
        frames=True,
    ),
    "adda": Compared(
        "+ ADDA",
        _wide(recipes.adda),
        studied="paper",
        published=(0.53, 0.47, 14.3),
        screened=SHARES,
        frames=True,
    ),
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
        screened=SHARES,
        frames=True,
    ),
    "probe": Compared("co-training, watched", _wide(recipes.probe), studied="all"),
    "structured": Compared(
        "structured (ours)",
        lambda s: recipes.structured(s.width, ratio=s.ratio, fraction=s.strength or 0.1),
        guided=True,
        holds_out=0.4,
        screened=SHARES,
        frames=True,
    ),
    "structured_kept_out": Compared(
        "structured, held out to the end", _wide(recipes.structured), guided=True, holds_out=1.0
    ),
    "structured_penalised": Compared("... and slope penalty", lambda s: _penalised(s, 0.1), guided=True, holds_out=1.0),
    "structured_loud": Compared("... and fraction .3", lambda s: _penalised(s, 0.3), guided=True, holds_out=1.0),
    "path_head": Compared(
        "+ head for the hand's path",
        _path,
        screened=SHARES,
        frames=True,
    ),
    "path_tuned": Compared("source, then target + path", _path, **_COMBINED, **_LAST_FIFTH),
    "path_mmd": Compared("+ path + MMD", _path_and_mmd, **_COMBINED),
    "path_mmd_tuned": Compared("source, then target + path + MMD", _path_and_mmd, **_COMBINED, **_LAST_FIFTH),
    "fine_tuned": Compared(  # strength: the share of the steps, the last, on the target alone
        "source, then target",
        _plain,
        screened=(0.2, 0.1, 0.4, 0.6),
        phases=lambda s: _source_first(s.strength or 0.2),
    ),
    "annealed": Compared(  # strength: the share of the steps, the last, over which the ratio rises
        "ratio annealed to 1", _plain, screened=(0.5, 0.25, 0.75, 1.0), phases=_annealed
    ),
    "cameras": Compared("source cameras randomised", _plain, screened=TURNS, cameras=True),
    "cameras_told": Compared("... and their pose told", _plain, screened=TURNS, cameras=True, pose=True),
}
"""Those whose held-out demonstration is never trained on are trials that the recipe was chosen from."""


def studied(which: str) -> tuple[str, ...]:
    """The paper's methods, or all that studies compare: the paper's first."""
    sets = ("paper",) if which == "paper" else ("paper", "all")
    return tuple(name for part in sets for name, method in METHODS.items() if method.studied == part)


def extras(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """What terms and weights read beside the features: the chunk of commands, the episode, the robot's state and path,
    which are the same numbers in both domains."""
    own = {name: batch[name] for name in ("episode", "state", "path")}
    return {"action": batch["actions"].flatten(1), **own}
