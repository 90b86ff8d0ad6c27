"""The life of a training run: what people do to a policy and its loop while a method is attached."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cotrain_losses import MMD, CoTrain, DomainClassifier, DomainGuidance, Method, Seam
from cotrain_losses.strength.schedules import warmup
from tests.processes import in_group, in_processes
from tests.toy import Policy, batch

SEAM = Seam(head="head", condition="condition", time="time", width=4)
HALF = torch.arange(6) % 2 == 0


def full_method() -> Method:
    """Every choice at once: a term, a discriminator with a schedule, guidance, weights."""
    terms = 0.1 * MMD() + warmup(-0.1, 4) * DomainClassifier(4, hidden=(5,))
    return Method(regularizer=terms, guidance=DomainGuidance(drop=0.5), weights=_heavier_target)


def _heavier_target(samples: Any) -> Tensor:
    return 1.0 + samples.is_target.double()


def joined(seed: int = 0, method: Method | None = None) -> CoTrain:
    torch.manual_seed(seed)
    return CoTrain(Policy(), method or full_method(), seam=SEAM)


def optimizer_of(cotrain: CoTrain) -> torch.optim.Optimizer:
    return torch.optim.AdamW([*cotrain.policy.parameters(), *cotrain.plugin_parameters()], lr=1e-2)


def run(cotrain: CoTrain, optimizer: torch.optim.Optimizer, steps: range) -> list[float]:
    losses = []
    for step in steps:
        torch.manual_seed(step)
        found = cotrain(batch(step), domain=HALF, step=step)
        found.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(found.total.detach()))
    return losses


def gradients(cotrain: CoTrain) -> list[Tensor]:
    return [p.grad.clone() for p in cotrain.parameters() if p.grad is not None]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def test_a_run_resumed_from_a_checkpoint_has_the_losses_of_one_that_went_on() -> None:
    through = joined()
    expected = run(through, optimizer_of(through), range(6))
    first = joined()
    optimizer = optimizer_of(first)
    run(first, optimizer, range(3))
    saved = io.BytesIO()
    torch.save({"cotrain": first.state_dict(), "optimizer": optimizer.state_dict()}, saved)
    saved.seek(0)
    later, state = joined(seed=7), torch.load(saved)
    resumed = optimizer_of(later)
    later.load_state_dict(state["cotrain"])
    resumed.load_state_dict(state["optimizer"])
    assert run(later, resumed, range(3, 6)) == expected[3:]


def test_the_policys_own_checkpoint_has_its_own_keys() -> None:
    cotrain = joined()
    assert set(cotrain.policy.state_dict()) == set(Policy().state_dict())
    Policy().load_state_dict(cotrain.policy.state_dict())


def test_an_averaged_copy_is_made_in_the_middle_of_training() -> None:
    cotrain = joined()
    losses = cotrain(batch(), domain=HALF, step=1)  # a graph is alive
    ema = copy.deepcopy(cotrain.policy)
    losses.total.backward()
    averaged = torch.optim.swa_utils.AveragedModel(
        cotrain.policy, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    )
    run(cotrain, optimizer_of(cotrain), range(2))
    averaged.update_parameters(cotrain.policy)
    torch.manual_seed(1)
    loss = ema.compute_loss(batch())
    torch.manual_seed(1)
    assert torch.equal(loss, ema.per_sample(batch()).mean())
    with cotrain.guided(averaged.module, scale=3.0):
        guided = averaged.module.sample(batch()["observation"])
    assert not torch.allclose(guided, averaged.module.sample(batch()["observation"]))


def test_a_whole_cotrain_is_copied_and_pickled() -> None:
    cotrain = joined()
    run(cotrain, optimizer_of(cotrain), range(2))
    copies = [copy.deepcopy(cotrain), pickle.loads(pickle.dumps(cotrain))]
    expected = run(cotrain, optimizer_of(cotrain), range(2, 4))
    for other in copies:
        assert run(other, optimizer_of(other), range(2, 4)) == expected


def test_gradients_accumulate_over_parts_of_a_batch() -> None:
    whole, parts = (
        joined(method=Method(guidance=DomainGuidance(drop=0.0))),
        joined(method=Method(guidance=DomainGuidance(drop=0.0))),
    )
    for cotrain in (whole, parts):
        cotrain.policy.per_sample = lambda b, p=cotrain.policy: _noiseless(p, b)
    whole(batch(), domain=HALF).total.backward()
    for rows in (slice(0, 3), slice(3, 6)):
        part = {name: x[rows] for name, x in batch().items()}
        (parts(part, domain=HALF[rows]).total / 2).backward()
    torch.testing.assert_close(gradients(parts), gradients(whole))


def _noiseless(policy: Policy, b: dict[str, Tensor]) -> Tensor:
    time = torch.full((len(b["action"]),), 0.5, dtype=torch.float64)
    return (policy.head(b["action"], time, condition=policy.encoder(b["observation"])) - b["action"]).square().mean(1)


def test_a_gradient_scaler_changes_nothing() -> None:
    plain, scaled = joined(), joined()
    optimizers = [torch.optim.SGD(c.parameters(), lr=0.1) for c in (plain, scaled)]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(3):
        for cotrain, optimizer in zip((plain, scaled), optimizers, strict=True):
            torch.manual_seed(step)
            total = cotrain(batch(step), domain=HALF, step=step).total
            (scaler.scale(total) if cotrain is scaled else total).backward()
            scaler.step(optimizer) if cotrain is scaled else optimizer.step()
            optimizer.zero_grad()
        scaler.update()
    torch.testing.assert_close(dict(scaled.named_parameters()), dict(plain.named_parameters()), rtol=1e-9, atol=1e-12)


def test_bfloat16_autocast_trains_features_in_float32_terms() -> None:
    cotrain = joined(method=Method(regularizer=0.1 * MMD(), guidance=DomainGuidance())).float()
    data = {name: x.float() for name, x in batch().items()}
    with torch.autocast("cpu", torch.bfloat16):
        losses = cotrain(data, domain=HALF, weight=torch.rand(6))
    losses.total.backward()
    assert losses.raw["mmd"].dtype == torch.float32 and all(torch.isfinite(g).all() for g in gradients(cotrain))


class Checkpointed(Policy):
    """Encoder or head run under activation checkpointing, reentrant or not."""

    def __init__(self, part: str, reentrant: bool) -> None:
        super().__init__()
        self.part, self.reentrant = part, reentrant

    def per_sample(self, b: dict[str, Tensor]) -> Tensor:
        time, noise = torch.rand(len(b["action"]), dtype=torch.float64), torch.randn_like(b["action"])
        noisy, observation = b["action"] + noise, b["observation"].clone().requires_grad_()
        if self.part == "encoder":
            z = checkpoint(self.encoder, observation, use_reentrant=self.reentrant)
        else:
            z = self.encoder(observation)
        head = lambda x, t, z: self.head(x, t, condition=z)
        recompute = self.part == "head"
        predicted = (
            checkpoint(head, noisy, time, z, use_reentrant=self.reentrant) if recompute else head(noisy, time, z)
        )
        return (predicted - noise).square().mean(1)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("part", ["encoder", "head"])
def test_activation_checkpointing_leaves_the_gradients_as_they_are(part: str, reentrant: bool) -> None:
    found = []
    for kind in (part, "nothing"):
        torch.manual_seed(0)
        cotrain = CoTrain(Checkpointed(kind, reentrant), full_method(), seam=SEAM)
        with torch.no_grad():
            cotrain.guidance.table.normal_()  # type: ignore[union-attr]
        torch.manual_seed(1)
        cotrain(batch(), domain=HALF, step=3, weight=torch.rand(6)).total.backward()
        found.append(gradients(cotrain))
    torch.testing.assert_close(*found)


def test_features_inside_reentrant_checkpointing_are_an_error_that_says_so() -> None:
    inside = Seam(feature="encoder.0", head="head")
    method = Method(regularizer=0.1 * MMD())
    cotrain = CoTrain(Checkpointed("encoder", True), method, seam=inside)
    with pytest.raises(ValueError, match="use_reentrant=False"):
        cotrain(batch(), domain=HALF, step=0)
    kept = CoTrain(Checkpointed("encoder", False), method.fresh(), seam=inside)
    kept(batch(), domain=HALF).total.backward()
    assert gradients(kept)


class Called(Policy):
    """A policy whose loss is its call, as torch.compile and DistributedDataParallel want it."""

    def forward(self, b: dict[str, Tensor]) -> Tensor:
        return _noiseless(self, b).mean()


dynamo_warns = pytest.mark.filterwarnings("ignore")  # of its own doings, while it traces


@dynamo_warns
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_policy_compiled_after_wrapping_does_all_the_same(backend: str) -> None:
    totals = []
    for compiled in (False, True):
        torch.manual_seed(0)
        policy = Called()
        cotrain = CoTrain(policy, full_method(), seam=SEAM, loss="__call__")
        if compiled:
            policy.compile(backend=backend)
        for step in range(3):
            losses = cotrain(batch(step), domain=HALF, step=step)
            losses.total.backward()
        totals.append([losses.total.detach(), *gradients(cotrain)])
    torch.testing.assert_close(*totals)


@dynamo_warns
def test_a_compiled_policy_not_run_yet_is_wrapped() -> None:
    torch.manual_seed(0)
    compiled = torch.compile(Called(), backend="eager")
    losses = CoTrain(compiled, full_method(), seam=SEAM, loss="__call__")(batch(), domain=HALF, step=1)
    assert losses.regularizer != 0.0


METHODS = [Method(regularizer=0.1 * MMD()), Method(guidance=DomainGuidance()), Method(weights=_heavier_target)]


@dynamo_warns
@pytest.mark.parametrize("method", METHODS)
def test_a_policy_compiled_and_run_before_wrapping_works_or_is_an_error(method: Method) -> None:
    compiled = torch.compile(Called(), backend="eager")
    compiled(batch())
    cotrain = CoTrain(compiled, method, seam=SEAM, loss="__call__")
    try:
        losses = cotrain(batch(), domain=HALF)
    except RuntimeError as error:
        assert "compiled and run before CoTrain was attached" in str(error)
        torch.compiler.reset()
        losses = cotrain(batch(), domain=HALF)
    losses.total.backward()
    assert cotrain.check(batch(), domain=HALF).head_calls == 1


def test_a_frozen_encoder_keeps_weights_mixing_guidance_and_probes() -> None:
    cotrain = joined(method=Method(regularizer=0.0 * DomainClassifier(4, hidden=(5,)), guidance=DomainGuidance()))
    cotrain.policy.encoder.requires_grad_(False)
    losses = cotrain(batch(), domain=HALF, weight=torch.rand(6))
    losses.total.backward()
    assert all(p.grad is not None for p in cotrain.plugin_parameters())
    refused = joined()
    refused.policy.encoder.requires_grad_(False)
    with pytest.raises(ValueError, match=r"first trainable module after them is head\.net\.0"):
        refused(batch(), domain=HALF, step=1)


def test_an_evaluation_in_between_changes_nothing() -> None:
    plain, watched = joined(), joined()
    expected = run(plain, optimizer_of(plain), range(4))
    optimizer, found = optimizer_of(watched), []
    for step in range(4):
        found += run(watched, optimizer, range(step, step + 1))
        watched.eval()
        with torch.no_grad():
            evaluation = watched(batch(9), domain=HALF)
        watched.train()
        assert evaluation.regularizer == 0.0 and not evaluation.total.requires_grad
    assert found == expected


def test_a_policy_is_wrapped_once_and_unwrapped_to_what_it_was() -> None:
    policy, method = Policy(), full_method()
    CoTrain(policy, Method(), seam=SEAM)
    cotrain = CoTrain(policy, method, seam=SEAM)  # nothing acts twice
    other = Policy()
    other.load_state_dict(policy.state_dict())
    twin = CoTrain(other, method.fresh(), seam=SEAM)
    losses = []
    for c in (cotrain, twin):
        torch.manual_seed(0)
        losses.append(c(batch(), domain=HALF, step=1).total)
    assert torch.equal(*losses)
    assert cotrain.unwrap() is policy and twin.unwrap() is other
    torch.manual_seed(0)
    bare = policy.compute_loss(batch())
    torch.manual_seed(0)
    assert torch.equal(bare, other.compute_loss(batch()))
    CoTrain(Policy(), method, seam=SEAM)  # the method is free again


class Normalised(Policy):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*self.encoder, nn.BatchNorm1d(4)).double()


def test_batch_norm_in_train_mode_above_the_seam_is_named_once() -> None:
    cotrain = CoTrain(Normalised(), Method(regularizer=0.1 * MMD()), seam=SEAM)
    with pytest.warns(UserWarning, match=r"BatchNorm in train mode above the seam \(encoder.3\)"):
        cotrain(batch(), domain=HALF)
    cotrain(batch(), domain=HALF)
    frozen = CoTrain(Normalised(), Method(regularizer=0.1 * MMD()), seam=SEAM)
    frozen.policy.encoder[3].eval()
    frozen(batch(), domain=HALF)


def test_the_share_of_each_domain_counts_steps_that_are_not_padding() -> None:
    valid = torch.tensor([[1, 1], [1, 0], [1, 0], [0, 0], [1, 1], [1, 0]]).bool()
    cotrain = CoTrain(Policy(), Method(), valid=lambda b: valid)
    shares = cotrain(batch(), domain=torch.tensor([0, 0, 1, 1, 1, 1])).shares
    assert shares == pytest.approx({"source": 3 / 7, "target": 4 / 7})


def _parallel_parameters(rank: int) -> dict[str, Tensor]:
    cotrain = _parallel_method(gather=True)
    model = nn.parallel.DistributedDataParallel(cotrain)
    optimizer = torch.optim.SGD(cotrain.parameters(), lr=0.1)
    for step in range(3):
        rows = slice(3 * rank, 3 * rank + 3)
        part = {name: x[rows] for name, x in batch(step).items()}
        model(part, domain=HALF[rows], step=step).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: p.detach() for name, p in cotrain.named_parameters()}


def _parallel_method(gather: bool) -> CoTrain:
    torch.manual_seed(0)
    terms = -0.1 * DomainClassifier(4, hidden=(5,))
    method = Method(regularizer=terms, guidance=DomainGuidance(drop=0.0), weights=_heavier_target)
    cotrain = CoTrain(Called(), method, seam=SEAM, loss="__call__", gather=gather)
    cotrain.double()
    return cotrain


def test_two_processes_are_one(tmp_path: Any) -> None:
    found = in_processes(_parallel_parameters, tmp_path)
    one = _parallel_method(gather=False)
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
    for step in range(3):
        one(batch(step), domain=HALF, step=step).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    expected = {name: p.detach() for name, p in one.named_parameters()}
    for parameters in found:
        torch.testing.assert_close(parameters, expected, rtol=1e-9, atol=1e-12)


def test_a_loss_that_goes_around_ddp_is_refused(tmp_path: Any) -> None:
    def wrapped(rank: int) -> None:
        with pytest.raises(ValueError, match="DistributedDataParallel synchronises what is called through it"):
            CoTrain(nn.parallel.DistributedDataParallel(Policy()), Method(), seam=SEAM)

    in_group(wrapped, tmp_path)
