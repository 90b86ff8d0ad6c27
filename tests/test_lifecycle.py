"""A method through a run's life: checkpoints, copies, precision, evaluations, and its end."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from cotrain_losses import MMD, CoTrain, DomainClassifier, DomainGuidance, Method
from tests.lives import full_method, gradients
from tests.toy import Policy, batch
from tests.training import HALF, SEAM, noiseless, run


def joined(seed: int = 0, method: Method | None = None) -> CoTrain:
    torch.manual_seed(seed)
    return CoTrain(Policy(), method or full_method(), seam=SEAM)


def optimizer_of(cotrain: CoTrain) -> torch.optim.Optimizer:
    return torch.optim.AdamW([*cotrain.policy.parameters(), *cotrain.plugin_parameters()], lr=1e-2)


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
        cotrain.policy.per_sample = lambda b, p=cotrain.policy: noiseless(p, b)
    whole(batch(), domain=HALF).total.backward()
    for rows in (slice(0, 3), slice(3, 6)):
        part = {name: x[rows] for name, x in batch().items()}
        (parts(part, domain=HALF[rows]).total / 2).backward()
    torch.testing.assert_close(gradients(parts), gradients(whole))


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
