"""An installed method in the script's own log, and losses under names of their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from cotrain_losses import MMD, CoTrain, DomainClassifier, Method
from tests.installed import SEAM
from tests.toy import Policy, batch

LABELS = torch.tensor([False, False, False, False, True, True])
METHOD = Method(regularizer=0.5 * MMD() - 0.25 * DomainClassifier(4, hidden=(3,)))


class Output(NamedTuple):
    loss: Tensor
    info: dict[str, Any] | None


class Logging(Policy):
    """Returns its loss as LeRobot's policies do: with what is to be logged, or None."""

    def __init__(self, kind: Any = tuple, info: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.kind, self.info = kind, info

    def forward(self, batch: Any) -> Any:
        loss = self.compute_loss(batch)
        return Output(loss, self.info) if self.kind is Output else (loss, self.info)


def installed(policy: Any, **more: Any) -> Any:
    cotrain = CoTrain(policy, METHOD.fresh(), seam=SEAM, **{"loss": "forward", **more})
    return cotrain.install(domain=lambda batch: LABELS)


@pytest.mark.parametrize("kind", [tuple, Output])
@pytest.mark.parametrize("info", [None, {"l2": 1.5, "ratio": "kept"}])
def test_the_log_of_a_script_shows_every_term_and_the_realised_ratio(kind: Any, info: Any) -> None:
    policy = Logging(kind, info)
    installation = installed(policy)
    loss, log = policy(batch())
    losses = installation.latest
    assert torch.equal(loss, losses.total)
    if info is None:
        assert log["ratio"] == pytest.approx(2 / 6) and all(type(value) is float for value in log.values())
    else:
        assert log["l2"] == 1.5 and log["ratio"] == "kept" and info == {"l2": 1.5, "ratio": "kept"}
    assert log["raw/mmd"] == float(losses.raw["mmd"]) and log["strength/mmd"] == 0.5
    assert log["raw/domain_classifier"] > 0 and log["policy"] == float(losses.policy)
    total = log["policy"] + sum(log[f"strength/{name}"] * log[f"raw/{name}"] for name in losses.raw)
    assert log["total"] == pytest.approx(total)


def test_an_evaluation_logs_what_the_policy_logs() -> None:
    policy = Logging()
    installed(policy)
    assert policy.eval()(batch())[1] is None


class Named(Policy):
    """Its loss has a name of its own, in a mapping or an object."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, batch: Any) -> Any:
        return self.kind(action_loss=self.compute_loss(batch), kl=torch.ones(()))


@pytest.mark.parametrize("kind", [dict, SimpleNamespace])
def test_a_loss_of_any_name_is_replaced_in_its_place(kind: Any) -> None:
    policy = Named(kind)
    installation = installed(policy, loss_key="action_loss")
    returned = policy(batch())
    read = returned if kind is dict else vars(returned)
    assert torch.equal(read["action_loss"], installation.latest.total) and read["kl"] == 1
    assert installation.latest.regularizer != 0


def test_a_loss_that_is_not_found_is_asked_for_by_the_names_there_are() -> None:
    policy = Named(dict)
    installed(policy)
    with pytest.raises(TypeError, match=r"got dict of action_loss, kl. Say which it is, CoTrain\(loss_key="):
        policy(batch())
