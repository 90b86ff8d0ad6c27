"""The parameters of an installed method join the policy's optimizers, and are alike on all ranks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from cotrain_losses import MMD, CoTrain, DomainClassifier, DomainGuidance, Method
from tests.fakes import multi_task_dit
from tests.installed import HALF, SEAM, RobomimicBC, half, robomimic_batch
from tests.processes import in_processes
from tests.toy import Policy
from tests.toy import batch as toy_batch


def test_the_plugin_joins_the_optimizers_a_policy_holds() -> None:
    algo, batch = RobomimicBC(), robomimic_batch()
    cotrain = CoTrain(algo, Method(regularizer=-0.1 * DomainClassifier(4)))
    cotrain.install(domain=half)
    cotrain.install(domain=half)  # once is enough
    assert len(algo.optimizers["policy"].param_groups) == 2
    before = [p.clone() for p in cotrain.plugin_parameters()]
    algo.train_on_batch(batch, epoch=0)
    assert any(not torch.equal(p, q) for p, q in zip(cotrain.plugin_parameters(), before, strict=True))


def test_the_plugin_joins_the_groups_a_policy_names_for_its_optimizer() -> None:
    policy = multi_task_dit.MultiTaskDiTPolicy()
    policy.get_optim_params = lambda: policy.parameters()
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance()))
    cotrain.install(domain=half)
    groups = policy.get_optim_params()
    held = {id(p) for group in groups for p in group["params"]}
    assert held == {id(p) for p in (*policy.parameters(), *cotrain.plugin_parameters())}
    assert groups[-1]["weight_decay"] == 0.0


def test_a_method_without_parameters_hands_the_policys_own_groups_on_as_they_are() -> None:
    policy = multi_task_dit.MultiTaskDiTPolicy()
    policy.get_optim_params = lambda: policy.parameters()  # a generator, as in LeRobot
    CoTrain(policy, Method(regularizer=0.1 * MMD())).install(domain=half)
    assert len(list(policy.get_optim_params())) == len(list(policy.parameters()))


def test_a_plugin_that_no_optimizer_steps_is_an_error() -> None:
    policy, batch = Policy(), toy_batch()
    cotrain = CoTrain(policy, Method(regularizer=-0.1 * DomainClassifier(4)), seam=SEAM)
    cotrain.install(domain=half)
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.1)
    policy.compute_loss(batch).backward()
    policy.compute_loss(batch).backward()  # accumulating is fine
    optimizer.step()
    with pytest.raises(RuntimeError, match="must learn with the policy's"):
        policy.compute_loss(batch)


class Called(Policy):
    """Called, so that DistributedDataParallel sees it."""

    def forward(self, batch: Any) -> Tensor:
        return self.compute_loss(batch)


def _installed(seed: int) -> tuple[CoTrain, Called]:
    torch.manual_seed(seed)
    policy = Called()
    method = Method(regularizer=-0.1 * DomainClassifier(4, hidden=(5,)), guidance=DomainGuidance(drop=0.0))
    cotrain = CoTrain(policy, method, seam=SEAM, loss="__call__")
    return cotrain.double(), policy


def _part(step: int, rank: int) -> tuple[Any, Tensor]:
    """A rank's rows; rank 1 has none of the target in the last step."""
    rows = slice(3 * rank, 3 * rank + 3)
    labels = HALF[rows] if (step, rank) != (3, 1) else torch.zeros(3, dtype=torch.bool)
    return {name: x[rows] for name, x in toy_batch(step).items()}, labels


def _installed_parameters(rank: int) -> dict[str, Tensor]:
    cotrain, policy = _installed(seed=rank)  # ranks start with parameters of their own
    model = nn.parallel.DistributedDataParallel(policy)
    cotrain.install()
    optimizer = torch.optim.SGD([*policy.parameters(), *cotrain.plugin_parameters()], lr=0.1)
    if rank == 0:  # as scripts evaluate: on one rank, outside DistributedDataParallel
        with torch.no_grad(), cotrain.labelled(HALF):
            policy(toy_batch())
    for step in range(4):
        part, labels = _part(step, rank)
        torch.manual_seed(10 * step + rank)
        with cotrain.labelled(labels):
            model(part).backward()
        if step % 2:  # gradients of two passes accumulate
            optimizer.step()
            optimizer.zero_grad()
    return {name: p.detach() for name, p in cotrain.named_parameters()}


def test_an_installed_methods_own_parameters_are_alike_on_all_ranks(tmp_path: Any) -> None:
    found = in_processes(_installed_parameters, tmp_path)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    cotrain, _ = _installed(seed=0)
    optimizer = torch.optim.SGD(cotrain.parameters(), lr=0.1)
    for step in range(4):
        for rank in (0, 1):
            part, labels = _part(step, rank)
            torch.manual_seed(10 * step + rank)
            (cotrain(part, domain=labels).total / 2).backward()
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()
    expected = {name: p.detach() for name, p in cotrain.named_parameters()}
    torch.testing.assert_close(found[0], expected, rtol=1e-9, atol=1e-12)


def _reductions(rank: int) -> list[int]:
    """How often gradients are summed over ranks in each of three backward passes."""
    cotrain, policy = _installed(seed=rank)
    model = nn.parallel.DistributedDataParallel(policy)
    cotrain.install()
    counts, calls, all_reduce = [], [], dist.all_reduce
    dist.all_reduce = lambda *given: calls.append(given) or all_reduce(*given)
    for step in range(3):
        part, labels = _part(step, rank)
        with cotrain.labelled(labels):
            loss = model(part)
        calls.clear()
        loss.backward()
        counts.append(len(calls))
    dist.all_reduce = all_reduce
    return counts


def test_gradients_of_a_methods_own_parameters_are_summed_once_a_backward_pass(tmp_path: Any) -> None:
    assert in_processes(_reductions, tmp_path) == [[1, 1, 1], [1, 1, 1]]
