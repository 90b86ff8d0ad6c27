"""A method under torch.compile, activation checkpointing and DistributedDataParallel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cotrain_losses import MMD, CoTrain, DomainClassifier, DomainGuidance, Method, Seam
from tests.compiled import Called, assert_steps_of_eager
from tests.lives import full_method, gradients, heavier_target
from tests.processes import in_group, in_processes
from tests.toy import Policy, batch
from tests.training import HALF, SEAM


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


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


dynamo_warns = pytest.mark.filterwarnings("ignore")  # of its own doings, while it traces


@dynamo_warns
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_policy_compiled_after_wrapping_does_all_the_same(backend: str) -> None:
    assert_steps_of_eager(Called, full_method, lambda policy: policy.compile(backend=backend))


@dynamo_warns
def test_a_compiled_policy_not_run_yet_is_wrapped() -> None:
    torch.manual_seed(0)
    compiled = torch.compile(Called(), backend="eager")
    losses = CoTrain(compiled, full_method(), seam=SEAM, loss="__call__")(batch(), domain=HALF, step=1)
    assert losses.regularizer != 0.0


METHODS = [Method(regularizer=0.1 * MMD()), Method(guidance=DomainGuidance()), Method(weights=heavier_target)]


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
    method = Method(regularizer=terms, guidance=DomainGuidance(drop=0.0), weights=heavier_target)
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
