"""Each recipe is the expression it claims to be, short, and trains a policy that knows nothing of it.

That an expression *is* the published method is tests/test_special_cases.py's to show.
"""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
from functools import cache

import pytest
import torch
from cotrain_bench.sim2sim.policy import FlowPolicy, Velocity
from drawn import features
from torch import Tensor

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
from cotrain_losses.terms import Pair
from cotrain_losses.terms.mmd import CORAL, EnergyDistance
from cotrain_losses.terms.transport import Block

RECIPES = [name for name in recipes.__all__ if name != "LabelCost"]
IS_TARGET = torch.arange(6) < 2
LABELS = recipes.LabelCost(weight=1e-4)
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
        "cfg": (recipes.cfg(width, ratio=0.2), Method(0.2, guidance=DomainGuidance(width, drop=0.2, scale=0.5))),
        "wei_cfg": (
            recipes.wei_cfg(ratio=0.2),
            Method(0.2, guidance=DomainGuidance(drop=0.1, scale=2.0, one_hot=True)),
        ),
        "cfg_adda": (
            recipes.cfg_adda(width, ratio=0.2),
            Method(0.2, -0.05 * c(width), DomainGuidance(width, drop=0.2, scale=0.5)),
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


# they train: the simulator benchmark's policy, 40 steps, as its own script would


STEPS, WIDTH, HALF = 40, 32, 16


@cache
def data() -> dict[str, Tensor]:
    """400 frames of two domains whose observations are shifted and whose actions follow from them."""
    torch.manual_seed(0)
    is_target = torch.arange(400) < 200
    observations = torch.randn(400, 2, 6) + 2.0 * is_target[:, None, None]
    actions = (observations.mean(1)[:, None, :2] * torch.linspace(0.5, 1, 8)[:, None]).tanh()
    return {"observations": observations, "actions": actions, "is_target": is_target}


def extras(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"state": batch["observations"][:, -1], "action": batch["actions"], "prediction": batch["actions"]}


class Run:
    """A policy trained with a method, beside what it was before."""

    def __init__(self, method: Method, columns: int = 0, share: float = 0.5) -> None:
        torch.manual_seed(1)
        self.policy = FlowPolicy(6, 2, width=WIDTH)
        if columns:  # a head built for one-hot labels
            self.policy.velocity = Velocity(8, 2, WIDTH + columns)
        self.before = copy.deepcopy(self.policy.state_dict())
        seam = ctl.Seam(head="velocity", condition="condition", time="time")
        self.cotrain = ctl.CoTrain(self.policy, method, seam=seam, extras=extras)
        sampler = ctl.MixedBatchSampler(data()["is_target"], 2 * HALF, share, seed=0)
        optimizer = torch.optim.AdamW([*self.policy.parameters(), *self.cotrain.plugin_parameters()], 1e-3)
        self.losses = []
        for step in range(STEPS):
            rows = torch.tensor(sampler.batch(step))
            batch = {name: value[rows] for name, value in data().items()}
            losses = self.cotrain(batch, domain=batch["is_target"], index=rows, step=step)
            optimizer.zero_grad()
            losses.total.backward()
            optimizer.step()
            self.losses.append(losses)

    def sides(self) -> tuple[Rows, Rows]:
        """Features and extras of 32 rows of each domain."""
        rows = torch.cat([torch.arange(200, 232), torch.arange(32)])
        batch = {name: value[rows] for name, value in data().items()}
        with torch.no_grad():
            everything = Rows(self.policy.encode(batch["observations"]), extras(batch))
        return everything[:32], everything[32:]

    def check(self) -> None:
        assert all(losses.total.isfinite() for losses in self.losses)
        late, early = ([float(l.policy) for l in part] for part in (self.losses[-10:], self.losses[:10]))
        assert sum(late) < sum(early), "the policy learns"
        assert list(self.cotrain.unwrap().state_dict()) == list(self.before)
        assert not any(m._forward_pre_hooks or m._forward_hooks for m in self.policy.modules())


@cache
def plain() -> Run:
    return Run(recipes.cotraining(0.5))


FOLLOWED = {
    "ot": lambda: recipes.ot(strength=3.0),
    "mmd": lambda: recipes.mmd(strength=3.0),
    "dan": lambda: recipes.dan(),
    "jan": lambda: recipes.jan(strength=10.0),
    "wei_mmd": lambda: recipes.wei_mmd(strength=3.0),
    "energy": lambda: recipes.energy(strength=3.0),
    "coral": lambda: recipes.coral(strength=1e4),
    "deepjdot": lambda: recipes.deepjdot(features=1.0),
    "jumbot": lambda: recipes.jumbot(features=1.0, labels=LABELS),
    "uot": lambda: recipes.uot(strength=300.0),
    "uot_diagonal": lambda: recipes.uot(strength=300.0, reference="diagonal"),
    "egobridge": lambda: recipes.egobridge(strength=3.0),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_policy_trained_with_a_term_makes_that_term_smaller_than_plain_co_training_does(name) -> None:
    run = Run(FOLLOWED[name]())
    (term,) = run.cotrain.regularizer.terms.values()
    if isinstance(term, OptimalTransport):
        term.value = "objective"  # what the gradient descends; <P, C> alone grows where mass was left behind
    aligned, otherwise = (float(term(*r.sides())) for r in (run, plain()))
    assert aligned < otherwise, (aligned, otherwise)
    run.check()


OPPOSED = {
    "adda": lambda: recipes.adda(WIDTH, strength=3.0),
    "tzeng": lambda: recipes.tzeng(WIDTH, strength=3.0),
    "dann": lambda: recipes.dann(WIDTH, steps=STEPS, strength=3.0),
    "cdan": lambda: recipes.cdan(WIDTH, {"action": 16}, strength=3.0),
    "wei_adversarial": lambda: recipes.wei_adversarial(WIDTH, strength=3.0),
    "cfg_adda": lambda: recipes.cfg_adda(WIDTH, strength=3.0),
}


def confusion(run: Run) -> float:
    """The cross-entropy of the run's own classifier."""
    (classifier,) = run.cotrain.regularizer.terms.values()
    with torch.no_grad():
        return float(DomainClassifier.compare(classifier, Pair.of("a test", *run.sides())))


@cache
def watched() -> Run:
    return Run(recipes.probe(WIDTH))


@pytest.mark.parametrize("name", OPPOSED)
def test_an_opposed_classifier_stays_more_confused_than_one_that_only_watches(name) -> None:
    run = Run(OPPOSED[name]())
    assert confusion(run) > confusion(watched())
    run.check()


def test_a_probe_learns_the_domains_and_leaves_the_policy_as_plain_co_training_does() -> None:
    assert float(watched().losses[-1].raw["domain_classifier"]) < 0.5 * float(
        watched().losses[0].raw["domain_classifier"]
    )
    for name, value in plain().policy.state_dict().items():
        torch.testing.assert_close(watched().policy.state_dict()[name], value)


@pytest.mark.parametrize("name", ["cfg", "cfg_adda"])
def test_guidance_learns_its_tokens(name) -> None:
    run = Run(getattr(recipes, name)(WIDTH))
    assert (run.cotrain.guidance.table.abs().amax(1) > 1e-3).all()
    run.check()


@pytest.mark.parametrize("name", ["one_hot", "wei_cfg"])
def test_a_head_with_one_hot_columns_learns_to_read_them(name) -> None:
    run = Run(getattr(recipes, name)(), columns=2)
    weight = "velocity.net.0.weight"
    moved = run.policy.state_dict()[weight][:, -2:] - run.before[weight][:, -2:]
    assert (moved.abs().amax(0) > 1e-3).all()
    run.check()


def test_reweighted_halves_train_as_equal_shares_do() -> None:
    run = Run(recipes.reweighted(0.5, share=0.5))
    for name, value in plain().policy.state_dict().items():
        torch.testing.assert_close(run.policy.state_dict()[name], value)
    run.check()


def spread(run: Run) -> Tensor:
    """The policy's loss on each domain at one fixed draw of noise: (source, target)."""
    found = []
    for rows in (slice(200, 400), slice(0, 200)):
        torch.manual_seed(2)
        with torch.no_grad():
            found.append(run.policy.compute_loss({name: value[rows] for name, value in data().items()}))
    return torch.stack(found)


DEAF = {
    "importance": lambda: recipes.importance(data()["is_target"].float()),
    "ambient": lambda: recipes.ambient(low=2.0),
    "beacon": lambda: recipes.beacon(data()["is_target"]),
}


@pytest.mark.parametrize("name", DEAF)
def test_weights_that_silence_the_source_leave_it_worse_learned_than_plain_co_training(name) -> None:
    run = Run(DEAF[name]())
    assert spread(run)[0] > spread(plain())[0]
    assert all(losses.total.isfinite() for losses in run.losses)


def test_remix_moves_weight_to_the_domain_with_more_left_to_learn() -> None:
    method = recipes.remix({"source": 0.5, "target": 0.5})
    run = Run(method)
    method.weights.update(spread(run) + torch.tensor([0.0, 1.0]), torch.tensor([0, 1]))
    assert method.weights.shares()["target"] > 0.5
    run.check()


def test_real_only_draws_no_source_and_trains() -> None:
    run = Run(recipes.real_only(), share=recipes.real_only().ratio)
    assert all(losses.counts == {"source": 0, "target": 2 * HALF} for losses in run.losses)
    run.check()


def test_plain_co_training_adds_nothing_to_the_policy_loss() -> None:
    run = Run(recipes.cotraining(0.5))
    assert all(losses.total == losses.policy for losses in run.losses)
    run.check()


def test_the_structured_recipe_mixes_in_the_middle_of_the_papers_range_unless_told() -> None:
    ratio = recipes.structured(4, frames=(50, 3000)).ratio
    assert (
        ratio == pytest.approx((50 / 3050 * (50 / 3000) ** 0.5) ** 0.5)
        and recipes.structured(4, ratio=0.3).ratio == 0.3
    )
    with pytest.raises(ValueError, match=r"got neither\. Pass structured\(width, frames="):
        recipes.structured(4)
