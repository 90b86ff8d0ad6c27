"""Balanced strengths in training: the held-out batch, its release, and a run that is resumed."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor

from cotrain_losses import MMD, CoTrain, DomainClassifier, DomainGuidance, Method
from cotrain_losses.strength import balanced, relative
from tests.strengths import joined, optimizer_of
from tests.toy import batch
from tests.training import HALF, Gap, run


def test_a_steps_losses_hold_what_each_weight_went_by() -> None:
    cotrain = joined(balanced_method())
    cotrain.hold_out(batch(99, 4))
    assert joined(Method())(batch(), domain=HALF, step=0).readings == {}
    optimizer, watch = optimizer_of(cotrain), cotrain.watch(every=1)
    for step in range(8):
        found = cotrain(shifted(step), domain=HALF, step=step)
        found.total.backward()
        optimizer.step()
        optimizer.zero_grad()
    inner, outer = sorted(cotrain.regularizer.measured_strengths(), key=lambda part: type(part).__name__, reverse=True)
    assert outer.reading.discernibility is not None and outer.reading.target_loss is not None
    of_outer = {name: float(value) for name, value in outer.reading._asdict().items()}
    of_inner = dict(zip(("policy_gradient", "term_gradient"), inner.lengths, strict=True))
    assert {name: value for name, value in watch.values.items() if name.startswith("reading/")} == {
        f"reading/{name}": value for name, value in found.readings.items()
    }
    assert found.readings == {f"domain_classifier/{name}": value for name, value in (of_outer | of_inner).items()}


def test_a_silence_after_release_is_not_complained_of(recwarn) -> None:
    cotrain = joined(balanced_method())
    cotrain.hold_out(batch(99, 4))
    controlled(cotrain, optimizer_of(cotrain), range(6))
    cotrain.release_held_out()
    controlled(cotrain, optimizer_of(cotrain), range(6, 100))
    assert not [w for w in recwarn if "got no report" in str(w.message)]
    joined(Method()).release_held_out()


def balanced_method(weight: Any = None) -> Method:
    torch.manual_seed(1)
    weight = balanced(-relative(0.3) if weight is None else weight, 0.6, every=3, ramp=6, rows=40)
    return Method(regularizer=weight * DomainClassifier(4, hidden=(5,)), guidance=DomainGuidance(drop=0.5))


def shifted(step: int) -> dict[str, Tensor]:
    b = batch(step)
    return {**b, "observation": b["observation"] + 9.0 * HALF[:, None]}


def controlled(cotrain: CoTrain, optimizer: torch.optim.Optimizer, steps: range) -> list[tuple[float, ...]]:
    return run(cotrain, optimizer, steps, shifted)


def test_a_balanced_cap_is_resumed_exactly_with_a_batch_held_out() -> None:
    through, first, later = (joined(balanced_method()) for _ in range(3))
    for cotrain in (through, first, later):
        cotrain.hold_out(batch(99, 4))
    expected = controlled(through, optimizer_of(through), range(16))
    assert expected[0][1] == 0.0 and expected[-1][1] < 0.0
    optimizer = optimizer_of(first)
    controlled(first, optimizer, range(10))
    saved = io.BytesIO()
    torch.save({"cotrain": first.state_dict(), "optimizer": optimizer.state_dict()}, saved)
    saved.seek(0)
    state, resumed = torch.load(saved), optimizer_of(later)
    later.load_state_dict(state["cotrain"])
    resumed.load_state_dict(state["optimizer"])
    assert controlled(later, resumed, range(10, 16)) == expected[10:]
    assert controlled(copy.deepcopy(later), resumed, range(16, 17)) == controlled(later, resumed, range(16, 17))


def test_a_held_out_batch_disturbs_neither_random_numbers_nor_modes_and_has_the_same_noise_each_time() -> None:
    told: list[float] = []
    plain, watched = joined(balanced_method(0.0)), joined(balanced_method(0.0))
    watched.hold_out(batch(99, 4))
    for cotrain in (plain, watched):
        cotrain.policy.encoder[1].eval()
    watched.regularizer.measured_strengths()[0].on_target_loss = told.append
    sgd = [torch.optim.SGD(c.parameters(), lr=0.0) for c in (plain, watched)]
    assert controlled(plain, sgd[0], range(8)) == controlled(watched, sgd[1], range(8))
    assert len(told) == 2 and told[0] == told[1] and watched.policy.training
    assert not watched.policy.encoder[1].training


def test_a_target_loss_is_reported_to_every_balanced_weight() -> None:
    cotrain = joined(Method(regularizer=balanced(1.0) * Gap() + 0.1 * MMD() + -balanced(0.5) * Gap()))
    cotrain.report_target_loss(0.25)
    each = [strength.get_extra_state() for strength in cotrain.regularizer.measured_strengths()]
    assert [state["reported"] for state in each] == [[0.25], [0.25]]
    joined(Method()).report_target_loss(1.0)


def test_a_held_out_batch_of_unequal_tensors_needs_labels() -> None:
    cotrain = joined(balanced_method())
    with pytest.raises(ValueError, match=r"tensors of \[2, 4\] rows.*domain="):
        cotrain.hold_out({**batch(0, 4), "other": torch.zeros(2)})
