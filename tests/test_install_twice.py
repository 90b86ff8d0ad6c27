"""Several methods on one policy, policies that define their own call, and what others put around an entry."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from cotrain_losses import MMD, CoTrain, DomainClassifier, Method
from tests.installed import SEAM, half
from tests.toy import Policy, batch


def seeded(policy: Any) -> Tensor:
    torch.manual_seed(1)
    return policy.compute_loss(batch())


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_methods_on_one_policy_add_up_and_are_removed_in_any_order(order: tuple[int, ...]) -> None:
    policy = Policy()
    bare = seeded(policy)
    strengths = (0.1, 0.2, 0.4)
    methods = [CoTrain(policy, Method(regularizer=strength * MMD()), seam=SEAM) for strength in strengths]
    for cotrain in methods:
        cotrain.install(domain=half)
    one = (seeded(policy) - bare) / sum(strengths)
    left = set(range(3))
    for k in order:
        methods[k].uninstall()
        left.remove(k)
        torch.testing.assert_close(seeded(policy) - bare, sum(strengths[j] for j in left) * one)
    assert "compute_loss" not in vars(policy) and torch.equal(seeded(policy), bare)


def test_what_a_script_put_around_an_installed_entry_stays_when_the_method_goes() -> None:
    policy = Policy()
    bare = seeded(policy)
    cotrain = CoTrain(policy, Method(regularizer=0.1 * MMD()), seam=SEAM)
    cotrain.install(domain=half)
    inner = policy.compute_loss
    policy.compute_loss = around = lambda batch: 2 * inner(batch)  # type: ignore[method-assign]
    assert seeded(policy) > 2 * bare
    cotrain.uninstall()
    assert policy.compute_loss is around and torch.equal(seeded(policy), 2 * bare)


class Calling(Policy):
    """tonyzhaozh/act policy.py: the class defines what its call does, and nn.Module's is never run."""

    def __call__(self, batch: Any, keep: bool = False) -> dict[str, Tensor]:
        return {"loss": self.compute_loss(batch)}


@pytest.mark.parametrize("make", [copy.deepcopy, lambda policy: pickle.loads(pickle.dumps(policy))])
def test_a_class_that_defines_its_call_is_installed_there(make: Any) -> None:
    policy, other = Calling(), Calling()
    installations = []
    for one in (policy, other):
        torch.manual_seed(1)
        bare = one(batch())["loss"]
        method = Method(regularizer=0.1 * MMD() + 0.1 * DomainClassifier(4))
        cotrain = CoTrain(one, method, seam=SEAM, loss="__call__")
        installations.append((cotrain, cotrain.install(domain=half), bare))
    (cotrain, installation, bare), (_, others, _) = installations
    loss = policy(batch(), keep=True)["loss"]
    assert torch.equal(loss, installation.latest.total) and installation.latest.regularizer != 0
    assert others.latest is None  # of the same class, and asked nothing
    twin = make(policy)
    torch.manual_seed(1)
    assert torch.equal(twin(batch())["loss"], bare) and set(vars(twin)) >= {"training"}
    cotrain.uninstall()
    torch.manual_seed(1)
    assert torch.equal(policy(batch())["loss"], bare)
    other(batch())
    assert others.latest is not None
