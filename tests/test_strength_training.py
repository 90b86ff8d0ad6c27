"""Measured strengths in a training step: what the encoder receives, checkpoints, copies and checks."""

from __future__ import annotations

import copy
import io
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cotrain_losses import MMD, Method, Rows, Seam
from cotrain_losses.strength import relative
from tests.strengths import joined, measured_method, optimizer_of
from tests.toy import Policy, batch
from tests.training import HALF, SEAM, Gap, noiseless, run


def test_the_encoder_receives_the_derivative_of_policy_plus_weighted_standardised_term() -> None:
    cotrain = joined(Method(regularizer=relative(0.4) * Gap()))
    cotrain.policy.per_sample = lambda b: noiseless(cotrain.policy, b)
    for step in range(2):
        cotrain.zero_grad()
        losses = cotrain(batch(), domain=HALF, step=step)
        losses.total.backward()
    (weight,), (listener,) = losses.strengths.values(), cotrain.regularizer.measured_strengths()
    assert weight > 0.0

    def loss() -> Tensor:
        z = cotrain.policy.encoder(batch()["observation"])
        read = listener.transform(Rows(z[~HALF]), Rows(z[HALF]))
        return noiseless(cotrain.policy, batch()).mean() + weight * Gap()(*read)

    for p in cotrain.policy.parameters():
        place = p.detach().abs().argmax()
        with torch.no_grad():
            ends = []
            for h in (1e-6, -1e-6):
                p.view(-1)[place] += h
                ends.append(loss())
                p.view(-1)[place] -= h
        assert float(p.grad.view(-1)[place]) == pytest.approx(float(ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-9)


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped() -> None:
    through = joined(measured_method())
    expected = run(through, optimizer_of(through), range(6))
    assert all(weight != 0.0 for row in expected[1:] for weight in row[1:])
    first = joined(measured_method())
    optimizer = optimizer_of(first)
    run(first, optimizer, range(3))
    saved = io.BytesIO()
    torch.save({"cotrain": first.state_dict(), "optimizer": optimizer.state_dict()}, saved)
    saved.seek(0)
    later, state = joined(measured_method()), torch.load(saved)
    resumed = optimizer_of(later)
    later.load_state_dict(state["cotrain"])
    resumed.load_state_dict(state["optimizer"])
    assert run(later, resumed, range(3, 6)) == expected[3:]


def test_copies_pickles_and_fresh_methods_have_averages_of_their_own() -> None:
    cotrain = joined(measured_method())
    run(cotrain, optimizer_of(cotrain), range(2))
    losses = cotrain(batch(), domain=HALF, step=2)  # a graph is alive
    copies = [copy.deepcopy(cotrain), pickle.loads(pickle.dumps(cotrain))]
    losses.total.backward()
    copies.append(joined(cotrain.method.fresh()))
    weights = cotrain.regularizer.strengths()
    assert all(other.regularizer.strengths() == weights for other in copies)
    run(cotrain, optimizer_of(cotrain), range(3, 5))
    assert cotrain.regularizer.strengths() != weights
    assert all(other.regularizer.strengths() == weights for other in copies)


def test_a_check_leaves_no_trace() -> None:
    plain, checked = joined(measured_method()), joined(measured_method())
    expected = run(plain, optimizer_of(plain), range(4))
    optimizer = optimizer_of(checked)
    found = run(checked, optimizer, range(2))
    checked.check(batch(9), domain=HALF, step=77)
    assert found + run(checked, optimizer, range(2, 4)) == expected


@pytest.mark.parametrize("output", ["tensor", "dict"])
def test_features_read_from_a_modules_output_are_measured_like_a_condition(output: str) -> None:
    found = []
    for seam in (SEAM, Seam(feature="encoder", head="head", condition="condition", width=4)):
        policy = Policy()
        if seam.feature and output == "dict":
            policy.encoder = InADict(policy.encoder)
            policy.per_sample = lambda b, p=policy: noiseless_from(p.head, p.encoder(b["observation"])["z"], b)
        else:
            policy.per_sample = lambda b, p=policy: noiseless_from(p.head, p.encoder(b["observation"]), b)
        policy.load_state_dict({k: 0.3 * torch.ones_like(v) for k, v in policy.state_dict().items()})
        cotrain = joined(Method(regularizer=relative(0.3) * Gap()), seam, policy)
        found.append(run(cotrain, torch.optim.SGD(cotrain.parameters(), lr=0.1), range(3)))
    assert found[0] == found[1] and found[0][-1][1] > 0.0


class InADict(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"z": self.inner(x)}


def noiseless_from(head: nn.Module, z: Tensor, b: dict[str, Tensor]) -> Tensor:
    time = torch.full((len(z),), 0.5, dtype=torch.float64)
    return (head(b["action"], time, condition=z) - b["action"]).square().mean(1)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_head_run_again_by_activation_checkpointing_is_heard_once(reentrant: bool) -> None:
    found = []
    for again in (False, True):
        policy = Policy()

        def loss(b: dict[str, Tensor], p: Any = policy, again: bool = again) -> Tensor:
            z = p.encoder(b["observation"])
            head = lambda z: noiseless_from(p.head, z, b)
            return checkpoint(head, z, use_reentrant=reentrant) if again else head(z)

        policy.per_sample = loss
        policy.load_state_dict({k: 0.3 * torch.ones_like(v) for k, v in policy.state_dict().items()})
        cotrain = joined(Method(regularizer=relative(0.3) * Gap()), policy=policy)
        found.append(run(cotrain, torch.optim.SGD(cotrain.parameters(), lr=0.1), range(3)))
    assert close(*found)


def close(a: list[tuple[float, ...]], b: list[tuple[float, ...]]) -> bool:
    torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=1e-9, atol=1e-12)
    return a[-1][1] > 0.0


def test_sample_weights_count_in_the_policys_length() -> None:
    weights = []
    for factor in (1.0, 3.0):
        cotrain = joined(Method(regularizer=relative(0.1, raw=math.inf) * Gap()))
        for step in range(2):
            torch.manual_seed(step)
            losses = cotrain(batch(), domain=HALF, step=step, weight=torch.full((6,), factor))
            losses.total.backward()
        weights.append(losses.strengths["gap"])
    assert weights[1] == pytest.approx(3 * weights[0], rel=1e-6)


def test_frozen_features_are_an_error_from_the_first_step() -> None:
    cotrain = joined(Method(regularizer=relative(0.1) * Gap()))
    cotrain.policy.encoder.requires_grad_(False)
    with pytest.raises(ValueError, match="gap asks something of the features"):
        cotrain(batch(), domain=HALF, step=0)


def test_methods_without_measured_weights_save_what_they_always_saved() -> None:
    assert not [key for key in joined(Method(regularizer=0.1 * MMD())).state_dict() if "extra" in key]
    assert [key for key in joined(Method(regularizer=relative(0.1) * MMD())).state_dict() if "extra" in key]
