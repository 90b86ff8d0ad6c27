"""Recipes are their long forms.

That an expression *is* the published method is tests/test_special_cases.py's to show.
"""

from __future__ import annotations

import ast
import inspect
import textwrap

import pytest
import torch

import cotrain_losses as ctl
from cotrain_losses import (
    MMD,
    DomainAdversary,
    DomainClassifier,
    DomainGuidance,
    Method,
    OptimalTransport,
    Rows,
    Sinkhorn,
    recipes,
)
from cotrain_losses.importance import DiscrepancyWeights, GroupDRO, RatioWeights, TableWeights, TimeWindow
from cotrain_losses.mixing.pairing import NearestByDTW
from cotrain_losses.strength import balanced, relative
from cotrain_losses.strength.schedules import warmup
from cotrain_losses.terms.mmd import CORAL, EnergyDistance
from cotrain_losses.terms.transport import Block
from tests.drawn import features

LABELS = recipes.LabelCost(weight=1e-4)

RECIPES = [name for name in recipes.__all__ if name != "LabelCost"]
IS_TARGET = torch.arange(6) < 2
BLOCKS = (Block(weight=0.01), Block("state", weight=0.05, detach=True))
HALVES = (0.125**0.5, 0.5, 0.5**0.5, 1.0, 2**0.5)


def oneness(width: int = 4) -> dict[str, tuple[Method, Method]]:
    """Every recipe with the same method in its long form."""
    c = DomainClassifier
    return {
        "real_only": (recipes.real_only(), Method(ratio=1.0)),
        "cotraining": (recipes.cotraining(0.2), Method(ratio=0.2)),
        "reweighted": (recipes.reweighted(0.2, share=0.4), Method(0.4, weights=RatioWeights(0.2, 0.4))),
        "ot": (recipes.ot(ratio=0.2), Method(0.2, 0.1 * Sinkhorn(0.05))),
        "mmd": (recipes.mmd(ratio=0.2), Method(0.2, 0.1 * MMD())),
        "dan": (recipes.dan(ratio=0.2), Method(0.2, 5 * MMD("mean", scales=tuple(2 ** (k / 2) for k in range(-3, 2))))),
        "jan": (recipes.jan(ratio=0.2), Method(0.2, 1.0 * MMD(extras=("action",)))),
        "wei_mmd": (recipes.wei_mmd(ratio=0.2), Method(0.2, 0.001 * MMD("mean", scales=HALVES, estimator="biased"))),
        "energy": (recipes.energy(ratio=0.2), Method(0.2, 0.05 * EnergyDistance())),
        "coral": (recipes.coral(ratio=0.2), Method(0.2, 1.0 * CORAL())),
        "deepjdot": (
            recipes.deepjdot(),
            Method(0.5, 1.0 * OptimalTransport(0, cost=(Block(weight=0.001), LABELS), value="linear")),
        ),
        "jumbot": (
            recipes.jumbot(labels=LABELS),
            Method(
                0.5,
                1.0
                * OptimalTransport(
                    0.01, unbalanced=0.5, cost=(Block(weight=0.01), LABELS), reference="ones", value="linear"
                ),
            ),
        ),
        "uot": (
            recipes.uot(ratio=0.2),
            Method(0.2, 0.1 * OptimalTransport(0.1, unbalanced=0.05, cost=BLOCKS, value="linear")),
        ),
        "egobridge": (
            recipes.egobridge(),
            Method(
                0.5,
                0.7 * OptimalTransport(0.0025, cost=Block(weight=0.5), pairing=NearestByDTW(gamma=0.1), value="linear"),
            ),
        ),
        "adda": (recipes.adda(width, ratio=0.2), Method(0.2, -0.05 * c(width))),
        "tzeng": (recipes.tzeng(width, ratio=0.2), Method(0.2, 0.05 * DomainAdversary(width))),
        "dann": (recipes.dann(width, ratio=0.2, steps=9), Method(0.2, warmup(-1.0, 9) * c(width))),
        "cdan": (
            recipes.cdan(width, {"action": 6}, ratio=0.2),
            Method(0.2, -1.0 * c(width, conditional={"action": 6}, combine="multilinear")),
        ),
        "wei_adversarial": (recipes.wei_adversarial(width, ratio=0.2), Method(0.2, -1.0 * c(width, hidden=(64, 64)))),
        "probe": (recipes.probe(width, ratio=0.2), Method(0.2, 0.0 * c(width))),
        "one_hot": (
            recipes.one_hot(ratio=0.2),
            Method(0.2, guidance=DomainGuidance(drop=0.0, scale=1.0, one_hot=True)),
        ),
        "cfg": (recipes.cfg(width, ratio=0.2), Method(0.2, guidance=DomainGuidance(width, drop=0.2, scale=1.0))),
        "wei_cfg": (
            recipes.wei_cfg(ratio=0.2),
            Method(0.2, guidance=DomainGuidance(drop=0.1, scale=2.0, one_hot=True)),
        ),
        "cfg_adda": (
            recipes.cfg_adda(width, ratio=0.2),
            Method(0.2, -0.05 * c(width), DomainGuidance(width, drop=0.2, scale=1.0)),
        ),
        "importance": (recipes.importance(torch.ones(3), ratio=0.2), Method(0.2, weights=TableWeights(torch.ones(3)))),
        "ambient": (
            recipes.ambient(ratio=0.2, low=0.5),
            Method(0.2, weights=TimeWindow({"source": (0.5, float("inf"))})),
        ),
        "remix": (
            recipes.remix({"a": 0.3, "b": 0.7}),
            Method({"a": 0.3, "b": 0.7}, weights=GroupDRO({"a": 0.3, "b": 0.7})),
        ),
        "beacon": (recipes.beacon(IS_TARGET, ratio=0.2), Method(0.2, weights=DiscrepancyWeights(IS_TARGET))),
        "structured": (
            recipes.structured(width, ratio=0.2),
            Method(0.2, balanced(-relative(0.1), 0.9) * c(width), recipes.cfg(width, scale=1.0).guidance),
        ),
    }


def test_no_recipe_is_left_out() -> None:
    assert sorted(oneness()) == sorted(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_its_long_form(name) -> None:
    recipe, long = oneness()[name]
    assert recipe.ratio == long.ratio and settings_of(recipe) == settings_of(long)
    for ours, theirs in zip(recipe.modules(), long.modules(), strict=True):
        theirs.load_state_dict(ours.state_dict())  # the same parameters and buffers, by name and shape
    if recipe.regularizer is not None:
        sides = sample_rows()
        torch.testing.assert_close(*(m.regularizer(*sides, step=4) for m in (recipe, long)), rtol=0, atol=0)


def settings_of(method: Method) -> list[object]:
    """What the parts of a method say of themselves, weights at step 4."""
    parts = [repr(part) for part in method.modules() if not isinstance(part, ctl.Regularizer)]
    return [*parts, *([] if method.regularizer is None else method.regularizer.strengths(4).items())]


def sample_rows() -> tuple[Rows, Rows]:
    x, y = (side.float() for side in features(0, 5, 5, 4))
    draw = lambda *shape: torch.randn(*shape)
    return tuple(Rows(z, {"state": draw(5, 3), "action": draw(5, 3, 2), "prediction": draw(5, 3, 2)}) for z in (x, y))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_at_most_six_lines_of_code_and_says_whose_it_is(name) -> None:
    recipe = getattr(recipes, name)
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(recipe))).body
    said = definition.body[0]
    lines = definition.end_lineno - (said.end_lineno - said.lineno + 1)
    assert lines <= 6 and len(recipe.__doc__) > 30


def test_the_structured_recipe_mixes_in_the_middle_of_the_papers_range_unless_told() -> None:
    ratio = recipes.structured(4, frames=(3000, 50)).ratio
    assert (
        ratio == pytest.approx((50 / 3050 * (50 / 3000) ** 0.5) ** 0.5)
        and recipes.structured(4, ratio=0.3).ratio == 0.3
    )
    with pytest.raises(ValueError, match=r"got neither\. Pass structured\(width, frames="):
        recipes.structured(4)
