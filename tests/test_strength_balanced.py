"""Balanced strengths: they rise while the domain is easy to read and brake when the target's loss grows."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cotrain_losses.strength import balanced
from tests.strengths import clouds, read
from tests.training import Gap


def held(weight: Any, apart: float, losses: list[float | None], **how: Any) -> list[float]:
    """The weights of a balanced term over readings of clouds `apart`, a report before each."""
    measured = balanced(weight, **{"every": 1, "ramp": 4, "rows": 64, **how})
    regularizer, found = measured * Gap(), []
    for step, loss in enumerate(losses):
        if loss is not None:
            measured.on_target_loss(loss)
        source, target = clouds(step, 64, apart)
        regularizer(source.requires_grad_(), target, step=step)
        found.append(regularizer.strengths(step)["gap"])
    return found


def test_the_weight_rises_while_the_domain_is_easy_to_read_and_stops_at_the_whole() -> None:
    assert held(-0.8, 9.0, [1.0] * 6) == pytest.approx([-0.2, -0.4, -0.6, -0.8, -0.8, -0.8])
    assert held(0.8, 9.0, [1.0] * 6, discernibility=1.0) == [0.0] * 6  # at the set point it stays


def test_it_falls_when_the_domain_is_hard_to_read() -> None:
    measured = balanced(1.0, every=1, ramp=4, rows=32)
    regularizer, found = measured * Gap(), []
    for step in range(40):  # long enough at zero to warn that it stays there, had it not risen before
        measured.on_target_loss(1.0)
        source, target = clouds(step, 64, 9.0 if step < 4 else 0.0)
        regularizer(source.requires_grad_(), target, step=step)
        found.append(regularizer.strengths()["gap"])
    assert found == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25, *[0.0] * 33])


def test_a_whole_strength_at_the_set_point_is_not_said_to_fall_short_of_it() -> None:
    """The probe reads 1.0, which is what is wanted from here on: no warning that the set point does not bind."""
    measured, wanting = (balanced(1.0, discernibility=d, every=1, ramp=4, rows=64) for d in (0.9, 1.0))
    for which, steps in ((measured, range(6)), (wanting, range(6, 36))):
        wanting.load_state_dict(measured.state_dict())
        for step in steps:
            which.on_target_loss(1.0)
            source, target = clouds(step, 64, 9.0)
            (which * Gap())(source.requires_grad_(), target, step=step)
    assert wanting.reading.factor == wanting.reading.discernibility == 1.0


def test_it_moves_slower_near_the_wanted_discernibility() -> None:
    measured = balanced(1.0, discernibility=0.84, every=1, ramp=1, rows=4096)
    source, target = clouds(0, 512, 2.0)
    accuracy = read(source, target)
    assert abs(accuracy - 0.84) < 0.05
    measured.on_target_loss(0.0)
    (measured * Gap())(source.requires_grad_(), target, step=0)
    assert measured.reading.factor == pytest.approx(max(0.0, (accuracy - 0.84) / 0.05))
    assert measured.reading.discernibility == pytest.approx(accuracy)


def test_it_does_not_rise_before_the_targets_loss_is_known() -> None:
    assert held(1.0, 9.0, [None, None, 1.0, 1.0]) == pytest.approx([0.0, 0.0, 0.25, 0.5])


@pytest.mark.parametrize("worse", [1.5, math.nan, math.inf])
def test_a_target_loss_past_its_best_brakes_whatever_the_probe_reads(worse: float) -> None:
    losses = [1.0, 1.0, 1.0, 1.0, worse, worse]
    found = held(1.0, 9.0, losses)
    assert found == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.5, 0.0])


def test_a_target_loss_within_tolerance_does_not_brake_below_zero_either() -> None:
    assert held(1.0, 9.0, [-2.0, -1.9, -1.85])[-1] == 0.75
    assert held(1.0, 9.0, [-2.0, -2.0, -1.0, -1.0])[-1] < 0.5


def test_a_set_point_that_never_binds_is_said_once_either_way() -> None:
    with pytest.warns(UserWarning, match=r"discernibility 0\.9 does not bind: the whole strength is on") as caught:
        held(1.0, 9.0, [1.0] * 50)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="without the term, so its strength stays zero") as caught:
        held(1.0, 0.0, [1.0] * 50)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=r"got no report in 3 readings.*hold_out\(batch\)") as caught:
        held(1.0, 9.0, [None] * 25)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=r"got no report in 20 readings"):
        held(1.0, 9.0, [1.0, *[None] * 21])


def test_when_held_out_episodes_are_trained_on_the_weight_stays_or_falls_by_the_probe_alone() -> None:
    measured = balanced(1.0, every=1, ramp=4, rows=64)
    regularizer, found = measured * Gap(), []
    for step, apart in enumerate([9.0, 9.0, 9.0, 9.0, 0.0, 0.0]):
        measured.on_target_loss(1.0 if step < 2 else 50.0)  # past its best, and no longer asked for
        if step == 2:
            measured.release()
        source, target = clouds(step, 64, apart)
        regularizer(source.requires_grad_(), target, step=step)
        found.append(measured.reading.factor)
    assert found[:4] == [0.25, 0.5, 0.5, 0.5] and found[5] < found[4] < 0.5
    resumed = balanced(1.0, every=1, ramp=4, rows=64)
    resumed.load_state_dict(measured.state_dict())
    for step in range(6, 9):
        resumed.on_target_loss(0.1)  # a new best
        source, target = clouds(step, 64, 9.0)
        (resumed * Gap())(source.requires_grad_(), target, step=step)
    assert resumed.reading.factor == measured.reading.factor and resumed.reading.braked


def test_parts_of_an_accumulated_batch_are_one_step_of_the_controller() -> None:
    measured = balanced(1.0, every=2, ramp=4, rows=64)
    regularizer, (source, target) = measured * Gap(), clouds(0, 64, 9.0)
    factors = []
    for step in range(6):
        measured.on_target_loss(1.0)
        for part in (slice(0, 32), slice(32, 64)):
            regularizer(source[part].requires_grad_(), target[part], step=step)
        factors.append(measured.reading.factor)
    assert factors == [0.0, 0.5, 0.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"discernibility": 0.5}, "above chance 0.5"),
        ({"every": 20, "ramp": 10}, "1 <= every <= ramp"),
        ({"rows": 8}, "rows >= 32"),
        ({"tolerance": -1.0}, "tolerance >= 0"),
    ],
)
def test_controllers_out_of_range_are_errors(how: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        balanced(1.0, **how)
