"""A policy of one's own in training: the loop anybody would write, every method, and what is refused."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from cotrain_bench.sim2sim import policies
from cotrain_bench.sim2sim.batches import Budget
from cotrain_bench.sim2sim.frames import Frames
from cotrain_bench.sim2sim.methods import METHODS, Setting
from cotrain_bench.sim2sim.policy import FlowPolicy, flow
from cotrain_bench.sim2sim.training import Diverged, train
from torch import nn

import cotrain_losses as ctl
from cotrain_losses.policy import adapters
from tests.own_policies import STEPS, A, H, O, Regression, drawn

# training


def by_hand(data: Frames, budget: Budget, seed: int) -> tuple[FlowPolicy, float]:
    """Co-training of the flow policy as anybody would write it: AdamW, a cosine, an average of the weights."""
    torch.manual_seed(seed)
    policy = FlowPolicy(O, A, steps=STEPS, horizon=H)
    policy.fit_normalizer(data.observations[:, -1], data.actions[:, 0])
    averaged = copy.deepcopy(policy)
    optimizer = torch.optim.AdamW(policy.parameters(), weight_decay=budget.weight_decay)
    running, sampler = 0.0, ctl.MixedBatchSampler(data.is_target, budget.batch_size, 0.25, seed=seed)
    for step in range(budget.steps):
        rows = sampler.batch(step)
        for group in optimizer.param_groups:
            group["lr"] = budget.learning_rate * 0.5 * (1 + math.cos(math.pi * step / budget.steps))
        loss = policy.compute_loss({"observations": data.observations[rows], "actions": data.actions[rows]})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        keep = 0.0 if step == 0 else budget.ema
        with torch.no_grad():
            for mean, new in zip(averaged.parameters(), policy.parameters(), strict=True):
                mean.copy_(keep * mean + (1 - keep) * new)
        running += (loss.item() - running) / min(step + 1, 100)
    return averaged, running


def test_plain_cotraining_is_the_loop_anybody_would_write():
    data, budget = drawn(), Budget(steps=12, batch_size=16, ema=0.9)
    trained = train(data, ctl.Method(ratio=0.25), budget, seed=3)
    policy, loss = by_hand(data, budget, seed=3)
    assert trained.loss == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(dict(trained.policy.named_parameters()), dict(policy.named_parameters()))
    assert trained.ratio == pytest.approx(0.25) and not trained.policy.training


class Counting(Regression):
    calls = 0

    def predict_action(self, observations):
        self.calls += 1
        return super().predict_action(observations)


def test_the_width_is_read_at_the_seam_and_nothing_is_left_behind():
    data = drawn()
    for make, width in ((flow, 128), (Counting, 16)):
        policy = make(data.spaces())
        before, draws = copy.deepcopy(policy.state_dict()), torch.random.get_rng_state()
        assert policies.feature_width(policy, data[[0, 1, 2]]) == width
        policies.check_policy(policy, data[[0, 1, 2]])
        torch.testing.assert_close(dict(policy.state_dict()), dict(before))
        assert torch.equal(torch.random.get_rng_state(), draws)
        assert all(p.grad is None for p in policy.parameters()) and policy.training
        assert not getattr(policy, "calls", 0)


@pytest.mark.parametrize("method", ["cotraining", "ot", "adda", "cfg_adda"])
def test_a_run_depends_on_its_seed_and_not_on_what_ran_before(method):
    data, widths = drawn(), []

    def made(width):
        widths.append(width)
        return METHODS[method](Setting(width, 0.25, 5))

    def run():
        return train(data, made, Budget(steps=5, batch_size=16), seed=1)

    first = run()
    torch.manual_seed(99)
    again = run()
    assert widths == [128, 128] and first.loss == again.loss and first.raw == again.raw
    for one, other in zip(first.policy.parameters(), again.policy.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_policy_of_ones_own_trains_with_every_method_that_means_something_there():
    data, rows = drawn(), list(range(240))
    untrained = Regression(data.spaces()).compute_loss(data[rows])
    for method in ("real_only", "cotraining", "mmd", "adda", "probe"):
        trained = train(
            data,
            lambda width, method=method: METHODS[method](Setting(width, 0.25, 60)),
            Budget(steps=60, batch_size=32, learning_rate=1e-2, ema=0.5),
            seed=0,
            policy=Regression,
        )
        assert trained.policy.compute_loss(data[rows]) < 0.5 * untrained
    with pytest.raises(ValueError, match="head is a regression"):
        train(data, lambda width: METHODS["cfg"](Setting(width, 0.25, 1)), Budget(), seed=0, policy=Regression)


class Wrapper(nn.Module):
    """Somebody's policy behind other names, as an adapter knows it."""

    learning_rate = 0.0

    def __init__(self, spaces: policies.Spaces) -> None:
        super().__init__()
        self.inner = flow(spaces)

    def get_base_model(self):
        return self.inner

    def compute_loss(self, batch):
        return self.inner.compute_loss({"observations": batch["observations"], "actions": batch["actions"]})

    def predict_action(self, observations):
        return self.inner.predict_action(observations)


@pytest.fixture
def flow_known():
    """An adapter knows the suite's policy."""
    package = FlowPolicy.__module__.split(".")[0]
    adapter = adapters.Adapter(package, "FlowPolicy", ctl.Seam(head="velocity", condition="condition"))
    adapters.register(adapter)
    yield
    adapters.unregister(adapter)


def test_a_wrapped_policy_is_found_by_its_adapter_and_guided(flow_known):
    data = drawn()
    trained = train(
        data, lambda width: ctl.recipes.cfg_adda(width, ratio=0.25), Budget(steps=4), seed=0, policy=Wrapper
    )
    torch.manual_seed(0)
    own = flow(data.spaces())  # learning_rate = 0: its weights are its first ones
    torch.testing.assert_close(dict(trained.policy.inner.state_dict()), dict(own.state_dict()))
    with torch.no_grad():
        trained.cotrain.guidance.table.normal_()

    def act(scale):
        torch.manual_seed(1)
        with trained.cotrain.guided(trained.policy, scale=scale):
            return trained.policy.predict_action(data.observations[:4])

    assert not torch.allclose(act(0.0), act(1.0)) and "domain_classifier" in trained.raw


# refused


class Broken(Regression):
    loss: object = None
    chunk_of: object = None

    def compute_loss(self, batch):
        loss = super().compute_loss(batch)
        return loss if self.loss is None else self.loss(loss, batch)

    def predict_action(self, observations):
        chunk = super().predict_action(observations)
        return chunk if self.training or self.chunk_of is None else self.chunk_of(chunk)


def broken(**parts):
    return lambda spaces: type("Broken", (Broken,), {name: staticmethod(f) for name, f in parts.items()})(spaces)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            broken(loss=lambda loss, batch: loss * math.nan),
            r"mmd stopped at step 0: .*finite loss, got nan, from the po",
        ),
        (
            broken(loss=lambda loss, batch: loss.expand(3)),
            r"one loss per sample, got shape \(3,",
        ),
        (broken(loss=lambda loss, batch: 3.0), "a loss entry returns a tensor.*float"),
        (
            broken(loss=lambda loss, batch: loss.detach()),
            "loss that depends on the policy's parameters",
        ),
        (broken(chunk_of=lambda chunk: chunk[:, 0]), r"commands of shape \(b, h, 3\), .* got \(8, 3\)"),
        (broken(chunk_of=lambda chunk: chunk[:, :0]), r"h at least 1, got \(8, 0, 3\)"),
        (broken(chunk_of=lambda chunk: chunk[..., :1]), r"got \(8, 4, 1\) for observations \(8, 2, 5\)"),
        (broken(chunk_of=lambda chunk: chunk.numpy()), "got ndarray"),
    ],
)
def test_a_policy_without_a_loss_or_with_other_commands_is_refused_before_it_costs_anything(policy, message):
    with pytest.raises((ValueError, TypeError), match=message):
        train(drawn(), ctl.recipes.mmd(ratio=0.25), Budget(), seed=0, policy=policy, name="mmd")


def test_a_loss_per_sample_is_as_good_as_their_mean():
    def per_sample(loss, batch):
        return loss + torch.zeros(len(batch["actions"]))

    data = drawn()
    one, other = (
        train(data, ctl.Method(ratio=0.25), Budget(steps=3), seed=0, policy=policy)
        for policy in (broken(), broken(loss=per_sample))
    )
    assert one.loss == pytest.approx(other.loss, rel=1e-6)


def test_a_run_that_diverges_stops_at_that_step_with_its_number():
    class Diverges(Regression):
        learning_rate = 1e30

    told = r"adda stopped at step [1-9]: .*(finite loss, got (nan|inf)|must be finite|has no finite value)"
    with pytest.raises(Diverged, match=told):
        train(
            drawn(), lambda width: ctl.recipes.adda(width, ratio=0.25), Budget(), seed=0, policy=Diverges, name="adda"
        )


def test_a_policy_whose_loss_was_never_finite_has_not_diverged():
    data = drawn()
    data.actions[7] = math.nan
    with pytest.raises(ValueError, match=r"stopped at step 0: .*finite loss, got nan") as told:
        train(data, ctl.Method(ratio=0.25), Budget(batch_size=240), seed=0, policy=Regression)
    assert not isinstance(told.value, Diverged)
