"""A method installed in a policy's own loss entry: what the entry returns, and how it is taken out again."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from cotrain_losses import MMD, CoTrain, DomainGuidance, Method
from cotrain_losses.strength.schedules import warmup
from tests.fakes import multi_task_dit, vla
from tests.installed import HALF, SEAM, gradients, half
from tests.toy import Policy
from tests.toy import batch as toy_batch


def test_the_entry_returns_what_a_step_of_ones_own_would() -> None:
    ours, theirs, batch = Policy(), Policy(), toy_batch()
    theirs.load_state_dict(ours.state_dict())
    method = Method(regularizer=0.1 * MMD(), guidance=DomainGuidance(), weights=lambda s: 1.0 + s.is_target.double())
    torch.manual_seed(1)
    expected = CoTrain(theirs, method.fresh(), seam=SEAM)(batch, domain=HALF).total
    expected.backward()
    installation = CoTrain(ours, method, seam=SEAM).install(domain=half)
    torch.manual_seed(1)
    found = ours.compute_loss(batch)
    found.backward()
    assert torch.equal(found, expected) and torch.equal(installation.latest.total, expected)
    torch.testing.assert_close(gradients(ours), gradients(theirs), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["tuple", "per sample", "mapping", "object"])
def test_the_shape_of_what_the_entry_returns_stays(kind: str) -> None:
    batch = vla.lerobot_batch()
    policy: Any = vla.PI0Policy()
    entry = {"tuple": lambda: policy(batch), "per sample": lambda: policy(batch, reduction="none")}.get(kind)
    if kind in ("mapping", "object"):
        policy, make = multi_task_dit.MultiTaskDiTPolicy(), dict if kind == "mapping" else SimpleNamespace
        policy.forward = lambda batch: make(loss=policy.losses(batch).mean(), kept=1)
        batch, entry = multi_task_dit.cases()[0].batch, lambda: policy(batch)
    cotrain = CoTrain(policy, Method(regularizer=0.1 * MMD()))
    installation = cotrain.install(domain=half)
    returned = vars(made) if isinstance(made := entry(), SimpleNamespace) else made  # type: ignore[misc]
    loss = returned["loss"] if isinstance(returned, dict) else returned[0]
    torch.testing.assert_close(loss.mean(), installation.latest.total)
    assert loss.shape == ((6,) if kind == "per sample" else ()) and installation.latest.regularizer != 0
    assert not isinstance(returned, dict) or returned["kept"] == 1


def test_uninstalling_restores_the_entry() -> None:
    policy, batch = Policy(), toy_batch()
    cotrain = CoTrain(policy, Method(regularizer=0.1 * MMD()), seam=SEAM)
    cotrain.install(domain=half)
    assert "compute_loss" in vars(policy)
    cotrain.uninstall()
    assert "compute_loss" not in vars(policy) and policy.compute_loss(batch).ndim == 0
    policy.compute_loss = own = lambda batch: torch.zeros(())  # type: ignore[method-assign, assignment]
    cotrain.install(domain=half)
    cotrain.unwrap()
    assert policy.compute_loss is own


@pytest.mark.parametrize("make", [copy.deepcopy, lambda policy: pickle.loads(pickle.dumps(policy))])
def test_a_copy_taken_while_installed_is_a_working_policy_of_its_own(make: Any) -> None:
    policy, batch = Policy(), toy_batch()
    CoTrain(policy, Method(regularizer=0.1 * MMD(), guidance=DomainGuidance()), seam=SEAM).install(domain=half)
    policy.compute_loss(batch).backward()
    ema = make(policy)
    with torch.no_grad():
        for p in ema.parameters():
            p.zero_()
    torch.manual_seed(1)
    loss = ema.compute_loss(batch)
    torch.manual_seed(1)
    assert torch.equal(loss, ema.per_sample(batch).mean())  # its own parameters, no regularizer
    assert any(p.abs().sum() > 0 for p in policy.parameters())


def test_labels_come_beside_the_batch_in_a_context() -> None:
    policy, batch = Policy(), toy_batch()
    cotrain = CoTrain(policy, Method(regularizer=warmup(0.1, 10) * MMD()), seam=SEAM)
    installation = cotrain.install()
    with pytest.raises(ValueError, match="needs the batch's domain labels"):
        policy.compute_loss(batch)
    with cotrain.labelled(HALF, step=10, weight=torch.ones(6)):
        policy.compute_loss(batch)
    assert installation.latest.strengths["mmd"] == pytest.approx(0.1, rel=1e-3)
    with torch.no_grad():
        policy.compute_loss(batch)  # an evaluation needs none
    with pytest.raises(RuntimeError, match="install"):
        cotrain.uninstall()
        cotrain.labelled(HALF)


def test_evaluation_returns_the_policys_own_loss() -> None:
    policy, batch = Policy(), toy_batch()
    CoTrain(policy, Method(regularizer=0.1 * MMD()), seam=SEAM).install(domain=half)
    for mode, grad in ((False, True), (True, False)):
        policy.train(mode)
        with torch.set_grad_enabled(grad):
            torch.manual_seed(1)
            found = policy.compute_loss(batch)
            torch.manual_seed(1)
            assert torch.equal(found, policy.per_sample(batch).mean())


def test_a_step_of_ones_own_and_an_installed_entry_do_not_add_up() -> None:
    policy, batch = Policy(), toy_batch()
    cotrain = CoTrain(policy, Method(regularizer=0.1 * MMD()), seam=SEAM)
    torch.manual_seed(1)
    expected = cotrain(batch, domain=HALF).total
    cotrain.install(domain=half)
    torch.manual_seed(1)
    assert torch.equal(cotrain(batch, domain=HALF).total, expected)


class Keywords(Policy):
    """Called as a Hugging Face Trainer calls a model: by keyword, for a mapping with a loss."""

    def forward(self, observation: Tensor, action: Tensor) -> dict[str, Tensor]:
        return {"loss": self.compute_loss({"observation": observation, "action": action})}


def test_a_label_among_the_keywords_is_read_and_not_passed_on() -> None:
    policy, data = Keywords(), toy_batch()
    cotrain = CoTrain(policy, Method(regularizer=0.1 * MMD()), seam=SEAM, loss="__call__")
    installation = cotrain.install(domain=lambda batch: batch["domain"])
    loss = policy(**data, domain=HALF)["loss"]
    assert torch.equal(loss, installation.latest.total) and installation.latest.regularizer != 0
    with torch.no_grad():
        assert policy.eval()(**data, domain=HALF)["loss"] != loss


def test_install_names_an_entry_the_policy_lacks() -> None:
    policy = Policy()
    with pytest.raises(ValueError, match="'objective', which Policy lacks"):
        CoTrain(policy, Method(regularizer=0.1 * MMD()), seam=SEAM, loss="objective")
