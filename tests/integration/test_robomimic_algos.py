"""robomimic 0.3.0's BC family, wrapped and installed as it is."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import robomimic_algos as real
import torch
from weighted import assert_truly_weighted

from cotrain_losses import MMD, CoTrain, DomainClassifier, DomainGuidance, Method

pytestmark = pytest.mark.integration
HALF = torch.arange(real.B) % 2 == 0
KINDS = ["mlp", "gaussian", "gmm", "rnn", "rnn gmm", "transformer", "transformer gmm"]
every = pytest.mark.parametrize("kind", KINDS)


def made(kind: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    algo = real.algo(kind)
    return algo, algo.process_batch_for_training(real.batch(kind))


def width(algo: Any, data: Any) -> int:
    found = CoTrain(algo, Method(regularizer=0.0 * MMD())).check(data, domain=HALF).features
    assert found is not None
    return found[1]


@every
def test_sample_weights_are_the_truly_weighted_loss(kind: str) -> None:
    (ours, data), (truth, _) = made(kind), made(kind)
    assert_truly_weighted(ours, truth, data, real.per_sample, lambda algo: algo.nets)


@every
def test_a_sealed_training_step_trains_on_task_and_regularizer(kind: str) -> None:
    (ours, data), (truth, _) = made(kind), made(kind)
    weight = 0.5
    torch.manual_seed(1)
    total = CoTrain(truth, Method(regularizer=weight * MMD()))(data, domain=HALF).total
    total.backward()
    truth.optimizers["policy"].step()
    installation = CoTrain(ours, Method(regularizer=weight * MMD())).install(domain=lambda batch: HALF)
    torch.manual_seed(1)
    info = ours.train_on_batch(data, epoch=1)
    torch.testing.assert_close(dict(ours.nets.named_parameters()), dict(truth.nets.named_parameters()))
    torch.testing.assert_close(info["losses"]["action_loss"], total.detach())
    assert installation.latest.regularizer != 0.0
    before = copy.deepcopy(ours.nets.state_dict())
    ours.train_on_batch(data, epoch=1, validate=True)
    torch.testing.assert_close(dict(ours.nets.state_dict()), dict(before))


@every
def test_a_classifier_joins_the_algos_optimizer_and_the_loss_falls(kind: str) -> None:
    algo, data = made(kind)
    cotrain = CoTrain(algo, Method(regularizer=-0.05 * DomainClassifier(width(algo, data), hidden=(16,))))
    before = [p.clone() for p in cotrain.plugin_parameters()]
    installation = cotrain.install(domain=lambda batch: HALF)
    losses = []
    for _ in range(40):
        algo.train_on_batch(data, epoch=1)
        losses.append(float(installation.latest.policy))
    assert sum(losses[-4:]) < sum(losses[:4]) - 0.02
    assert all(not torch.equal(p, q) for p, q in zip(cotrain.plugin_parameters(), before, strict=True))
    cotrain.uninstall()
    algo.set_eval()
    algo.reset()
    steps = (real.T,) if "transformer" in kind else ()
    assert algo.get_action({"state": torch.rand(1, *steps, real.STATE)}).shape[-1] == real.ACTION


def test_guidance_is_refused_for_a_regression() -> None:
    algo, _ = made("mlp")
    with pytest.raises(ValueError, match="regression"):
        CoTrain(algo, Method(guidance=DomainGuidance(4)))


def test_batch_norm_above_the_seam_is_named_at_the_first_step() -> None:
    algo = real.algo("mlp", image=True)
    data = algo.process_batch_for_training(real.batch("mlp", image=True))
    cotrain = CoTrain(algo, Method(regularizer=0.1 * MMD()))
    with pytest.warns(UserWarning, match="BatchNorm in train mode above the seam"):
        assert cotrain(data, domain=HALF).regularizer != 0.0
