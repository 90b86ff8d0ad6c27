"""Recipes train the simulator suite's policy, and do what they are for."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from cotrain_bench.sim2sim.policy import FlowPolicy, Velocity
from torch import Tensor

import cotrain_losses as ctl
from cotrain_losses import (
    DomainClassifier,
    Method,
    OptimalTransport,
    Rows,
    recipes,
)
from cotrain_losses.terms import Pair

LABELS = recipes.LabelCost(weight=1e-4)

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
