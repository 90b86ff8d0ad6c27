"""The parameters of an installed method in optimizers that a script builds, names and schedules."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer, lr_scheduler

from cotrain_losses import MMD, CoTrain, DomainClassifier, Method
from tests.installed import SEAM, half
from tests.toy import Policy, batch


def joined(policy: Policy) -> CoTrain:
    return CoTrain(policy, Method(regularizer=0.1 * MMD() - 0.1 * DomainClassifier(4, hidden=(3,))), seam=SEAM)


def script(policy: Policy, schedule: Callable[[Any], Any] = lambda optimizer: None) -> Optimizer:
    """A loop nobody edits, which builds its optimizer itself."""
    optimizer = AdamW(policy.parameters(), lr=0.1, weight_decay=0.5)
    scheduler = schedule(optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        policy.compute_loss(batch()).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return optimizer


SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda k: 0.5**k),
    "multiplicative": lambda o: lr_scheduler.MultiplicativeLR(o, lambda k: 0.9),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 5),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.3, total_steps=9, cycle_momentum=False),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.2, step_size_up=2, cycle_momentum=False),
    "steps": lambda o: lr_scheduler.MultiStepLR(o, [1, 2], 0.3),
    "in sequence": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, 1.0, 2), lr_scheduler.ExponentialLR(o, 0.5)], [2]
    ),
    "chained": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.1, 2), lr_scheduler.ExponentialLR(o, 0.9)], optimizer=o
    ),
    "warm restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, min_lr=0.01),
}


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step", "ignore:The epoch parameter in")
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_that_exists_already_treats_the_added_group_as_the_policys(name: str) -> None:
    policy = Policy()
    optimizer = AdamW([{"params": policy.encoder.parameters(), "lr": 0.01}, {"params": policy.head.parameters()}], 0.1)
    alone = copy.deepcopy(optimizer)
    schedules = [SCHEDULES[name](each) for each in (optimizer, alone)]
    cotrain = joined(policy)
    for k in range(8):
        if k == 2:  # in the middle of the schedule
            cotrain.install(domain=half, optimizer=optimizer)
        for schedule in schedules:
            schedule.step(*[1.0] * (name == "plateau"))
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates[:2] == [group["lr"] for group in alone.param_groups] and rates[2] == rates[1]
    assert optimizer.param_groups[2]["weight_decay"] == 0.0


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("schedule", [None, "lambda", "in sequence"])
def test_any_optimizer_of_the_policys_parameters_is_joined_whenever_it_is_built(when: str, schedule: Any) -> None:
    policy, untouched = Policy(), Optimizer.__init__
    cotrain = joined(policy)
    others = SGD(Policy().parameters(), lr=0.1)
    if when == "after":
        cotrain.install(domain=half, optimizer="any")
        before = [p.clone() for p in cotrain.plugin_parameters()]
        optimizer = script(policy, SCHEDULES.get(schedule, lambda o: None))
    else:
        optimizer = AdamW(policy.parameters(), lr=0.1, weight_decay=0.5)
        scheduler = SCHEDULES.get(schedule, lambda o: None)(optimizer)
        cotrain.install(domain=half, optimizer="any")
        before = [p.clone() for p in cotrain.plugin_parameters()]
        policy.compute_loss(batch()).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    assert not any(torch.equal(p, q) for p, q in zip(cotrain.plugin_parameters(), before, strict=True))
    assert len(optimizer.param_groups) == 2 and len(others.param_groups) == 1
    assert len(SGD(Policy().parameters(), lr=0.1).param_groups) == 1
    cotrain.uninstall()
    assert Optimizer.__init__ is untouched
    assert len(SGD(policy.parameters(), lr=0.1).param_groups) == 1


def test_a_run_resumed_with_any_optimizer_has_the_groups_of_its_checkpoint() -> None:
    first = joined(Policy())
    first.install(domain=half, optimizer="any")
    state = script(first.policy, SCHEDULES["lambda"]).state_dict()
    later = joined(Policy())
    later.install(domain=half, optimizer="any")
    optimizer = AdamW(later.policy.parameters(), lr=0.1, weight_decay=0.5)
    optimizer.load_state_dict(state)
    assert len(optimizer.state) == len(list(later.parameters()))


def test_an_optimizer_built_anew_is_joined_and_a_second_one_of_other_parts_is_not() -> None:
    policy = Policy()
    joined(policy).install(domain=half, optimizer="any")
    encoder, head = (SGD(part.parameters(), lr=0.1) for part in (policy.encoder, policy.head))
    assert (len(encoder.param_groups), len(head.param_groups)) == (2, 1)
    assert len(SGD(policy.encoder.parameters(), lr=0.1).param_groups) == 2


def test_parameters_by_name_stay_so() -> None:
    policy: Any = Policy()
    policy.get_optim_params = lambda: dict(policy.named_parameters())  # LeRobot's XVLA
    cotrain = joined(policy)
    cotrain.install(domain=half)
    named = policy.get_optim_params()
    assert all(isinstance(p, nn.Parameter) for p in named.values())
    assert [*map(id, named.values())] == [*map(id, [*policy.parameters(), *cotrain.plugin_parameters()])]
    policy.get_optim_params = lambda: {"actor": [policy.head.net[0].weight], "critic": []}  # an optimizer each
    cotrain.install(domain=half)
    assert set(policy.get_optim_params()) == {"actor", "critic"}


def test_an_optimizer_of_named_parameters_is_joined() -> None:
    policy = Policy()
    optimizer = SGD(policy.named_parameters(), lr=0.1)
    joined(policy).install(domain=half, optimizer=[optimizer])
    assert len(optimizer.param_groups) == 2
    policy.compute_loss(batch()).backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())


def test_what_is_no_optimizer_is_refused() -> None:
    with pytest.raises(TypeError, match="to an optimizer, got a str"):
        joined(Policy()).install(domain=half, optimizer="adamw")
