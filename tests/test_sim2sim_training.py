"""The suite's policy, how every method trains it, and what is kept of a training."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from cotrain_bench.sim2sim.batches import Budget, HeldOut
from cotrain_bench.sim2sim.evaluation import measures
from cotrain_bench.sim2sim.frames import frames
from cotrain_bench.sim2sim.methods import METHODS, Setting, extras
from cotrain_bench.sim2sim.policy import FlowPolicy
from cotrain_bench.sim2sim.training import train
from torch import nn

import cotrain_losses as ctl
from cotrain_losses.strength import balanced, relative
from cotrain_losses.strength.schedules import warmup
from tests.cells import drawn


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path / "cache"))


# policy and training


class Towards(nn.Module):
    """The exact velocity of the flow to one point: (mu - x) / (1 - t)."""

    def __init__(self, mu: torch.Tensor) -> None:
        super().__init__()
        self.mu = mu

    def forward(self, noisy, time, condition):
        return (self.mu - noisy) / (1 - time[:, None, None])


def test_the_exact_velocity_field_has_zero_loss_and_its_sampler_arrives():
    policy, mu = FlowPolicy(28, 4), torch.randn(8, 4)
    actions = torch.randn(50, 4) * 3 + 1
    policy.fit_normalizer(torch.randn(50, 28), actions)
    policy.velocity = Towards(mu)
    point = (mu * actions.std(0) + actions.mean(0)).expand(5, 8, 4)
    observations = torch.randn(5, 2, 28)
    assert policy.compute_loss({"observations": observations, "actions": point}) < 1e-6
    torch.testing.assert_close(policy.predict_action(observations), point, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_the_same_policy_from_the_same_weights_at_its_ratio(method):
    data = frames(drawn(0, [30, 20]), drawn(1, [200]))
    short, frozen = (
        train(
            data,
            METHODS[method](Setting(128, 0.25, 20)),
            Budget(steps=20, batch_size=32, learning_rate=rate),
            seed=0,
            extras=extras,
            held_out=HeldOut(data.held_out(), 0.5) if METHODS[method].holds_out else None,
        )
        for rate in (1e-3, 0.0)
    )
    assert math.isfinite(short.loss) and short.loss < frozen.loss
    assert short.ratio == pytest.approx(1.0 if method == "real_only" else 0.25)
    assert set(short.policy.state_dict()) == set(FlowPolicy(28, 4).state_dict())


def test_measures_tell_domains_that_lie_apart_from_domains_that_do_not():
    near, far = drawn(1, [60, 50, 70, 60]), drawn(2, [60, 50, 70, 60])
    far = replace(far, observations=far.observations + 5)
    data = frames(drawn(0, [60, 50, 70, 60]), near)
    trained = train(data, METHODS["cotraining"](Setting(128, 0.5, 3)), Budget(steps=3, batch_size=16), seed=0)
    found = [measures(trained, frames(drawn(0, [60, 50, 70, 60]), source)) for source in (near, far)]
    assert found[0]["log_wasserstein"] < found[1]["log_wasserstein"]
    assert found[0]["probe_accuracy"] < 0.75 < found[1]["probe_accuracy"]
    assert found[0]["relative_distance"] < found[1]["relative_distance"]
    assert measures(trained, data) == measures(trained, data)


def test_a_terms_mean_weight_over_the_steps_is_kept():
    data = frames(drawn(0, [60, 50]), drawn(1, [60, 50, 70]))
    assert train(data, ctl.Method(ratio=0.5), Budget(steps=3, batch_size=16), seed=0).strengths == {}
    weight = warmup(1.0, 3)
    method = ctl.Method(ratio=0.5, regularizer=weight * ctl.MMD())
    kept = train(data, method, Budget(steps=3, batch_size=16), seed=0).strengths
    assert kept == {"mmd": pytest.approx(sum(weight(step) for step in range(3)) / 3)}


def test_what_a_balanced_weight_went_by_is_kept_for_every_hundredth_step():
    data = frames(drawn(0, [60, 50]), drawn(1, [60, 50, 70]))
    weight = balanced(-relative(0.1), every=100, ramp=400, rows=40)
    method = ctl.Method(ratio=0.5, regularizer=weight * ctl.DomainClassifier(128))
    held_out = HeldOut(data.held_out(), 0.5)
    kept = train(data, method, Budget(steps=300, batch_size=16), seed=0, extras=extras, held_out=held_out).readings
    assert {len(numbers) for numbers in kept.values()} == {3}
    names = {"factor", "discernibility", "target_loss", "best", "braked", "policy_gradient", "term_gradient"}
    assert set(kept) == {f"domain_classifier/{name}" for name in names}
    assert 0.0 <= min(kept["domain_classifier/discernibility"]) <= max(kept["domain_classifier/discernibility"]) <= 1.0
