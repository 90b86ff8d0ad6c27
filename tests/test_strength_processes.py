"""Measured strengths in half precision, under a gradient scaler, and in two processes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cotrain_losses import MMD, CoTrain, DomainClassifier, Method, Term
from cotrain_losses.strength import balanced, relative
from tests.processes import in_processes
from tests.strengths import clouds, joined, measured_method, read
from tests.toy import Policy, batch
from tests.training import HALF, Gap, noiseless


def test_half_precision_and_a_gradient_scaler_give_the_same_weights() -> None:
    plain, scaled = joined(measured_method()), joined(measured_method())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    optimizers = [torch.optim.SGD(c.parameters(), lr=0.1) for c in (plain, scaled)]
    for step in range(5):
        weights = []
        for cotrain, optimizer in zip((plain, scaled), optimizers, strict=True):
            torch.manual_seed(step)
            losses = cotrain(batch(step), domain=HALF, step=step)
            weights.append(list(losses.strengths.values()))
            (scaler.scale(losses.total) if cotrain is scaled else losses.total).backward()
            scaler.step(optimizer) if cotrain is scaled else optimizer.step()
            optimizer.zero_grad()
        scaler.update()
        assert weights[1] == pytest.approx(weights[0], rel=1e-9)
    narrow = joined(measured_method()).float()
    for step in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            losses = narrow({k: x.float() for k, x in batch().items()}, domain=HALF, step=step)
        losses.total.backward()
    assert all(0.0 < abs(weight) < math.inf for weight in losses.strengths.values())


class Called(Policy):
    def forward(self, b: dict[str, Tensor]) -> Tensor:
        return noiseless(self, b).mean()


def linear_method() -> Method:
    torch.manual_seed(1)
    return Method(regularizer=relative(0.3, raw=math.inf) * MMD(1.0) - relative(0.3) * DomainClassifier(4, hidden=(5,)))


def steps_of(cotrain: CoTrain, model: Any, rows: slice) -> list[float]:
    optimizer = torch.optim.SGD(cotrain.parameters(), lr=0.1)
    for step in range(4):
        part = {name: x[rows] for name, x in batch(step, 12).items()}
        losses = model(part, domain=(torch.arange(12) % 2 == 0)[rows], step=step)
        losses.total.backward()
        optimizer.step()
        optimizer.zero_grad()
    return [*losses.strengths.values()]


def _parallel_weights(rank: int) -> dict[Any, Any]:
    """{gather: (weights, parameters)} and the controller's reading."""
    found: dict[Any, Any] = {}
    for gather in (True, False):
        method = linear_method() if gather else Method(regularizer=relative(0.3, raw=math.inf) * MeanSlope())
        cotrain = joined(method, policy=called(), loss="__call__", gather=gather)
        weights = steps_of(cotrain, nn.parallel.DistributedDataParallel(cotrain), slice(6 * rank, 6 * rank + 6))
        found[gather] = weights, {name: p.detach() for name, p in cotrain.named_parameters()}
    measured = balanced(1.0, every=1, ramp=4, rows=32)
    measured.on_target_loss([1.0, 3.0][rank])
    source, target = clouds(rank, 64, [9.0, 0.0][rank])
    (measured * Gap())(source.requires_grad_(), target, step=0)
    return found | {"reading": tuple(measured.reading)}


class MeanSlope(Term):
    """A term whose mean over ranks is the term of all rows."""

    def compare(self, pair) -> Tensor:
        source, target = pair.source, pair.target
        return source.features.mean() - target.features.square().mean()


def called() -> Policy:
    torch.manual_seed(3)
    return Called()


def test_two_processes_have_the_weights_and_the_parameters_of_one(tmp_path: Any) -> None:
    found = in_processes(_parallel_weights, tmp_path)
    for gather in (True, False):
        method = linear_method() if gather else Method(regularizer=relative(0.3, raw=math.inf) * MeanSlope())
        one = joined(method, policy=called(), loss="__call__")
        weights = steps_of(one, one, slice(0, 12))
        expected = {name: p.detach() for name, p in one.named_parameters()}
        for of_rank in found:
            theirs, parameters = of_rank[gather]
            assert theirs == pytest.approx(weights, rel=1e-9) and all(weights)
            torch.testing.assert_close(parameters, expected, rtol=1e-9, atol=1e-12)
    each = [read(*(side[-32:] for side in clouds(rank, 64, shift))) for rank, shift in enumerate((9.0, 0.0))]
    readings = [of_rank["reading"] for of_rank in found]
    assert readings[0] == readings[1] and readings[0][1:3] == pytest.approx((sum(each) / 2, 2.0), rel=1e-6)
