"""Measured strengths in expressions: negated, scaled, multiplied, summed, and refused."""

from __future__ import annotations

import pytest
import torch

from cotrain_losses import MMD
from cotrain_losses.strength import MeasuredStrength, relative
from cotrain_losses.strength.schedules import linear, warmup
from tests.drawn import features
from tests.slopes import Slope, slopes, stepped
from tests.training import Gap


def test_measured_weights_are_negated_scaled_and_multiplied_like_any_other() -> None:
    policy, term, z = slopes(0, 3, 2, 4, 1)
    built = -(2.0 * (linear(0.0, 1.0, 4) * relative(0.3, standardise=False) * Slope(term[0][:3], term[0][3:])))
    stepped(built, z, policy[0], 3, 0)
    stepped(built, z, policy[0], 3, 1)
    alone = min(1.0, 0.3 * float(policy[0].norm() / term[0].norm()))
    assert [built.strengths(step)["slope"] for step in (0, 2, 4)] == pytest.approx([0.0, -alone, -2 * alone])
    summed = 0.1 * Gap() + relative(0.1) * Gap() - relative(0.2) * warmup(1.0, 3) * Gap()
    assert len(summed.parts()) == 3 and len(summed.measured_strengths()) == 2
    assert "relative(0.1, raw=1)" in repr(summed)


def test_a_measured_weight_measures_one_term() -> None:
    weight = relative(0.1)
    with pytest.raises(ValueError, match=r"measures one term, got one that scales several"):
        weight * (Gap() + 2 * MMD())
    with pytest.raises(ValueError, match=r"measures one term"):
        weight * Gap() + weight * MMD()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"fraction": -0.1}, "negate the strength"),
        ({"fraction": 0.1, "raw": 0.0}, "above 0, got 0.0"),
        ({"fraction": 0.1, "decay": 1.0}, r"lies in \[0, 1\), got 1.0"),
    ],
)
def test_settings_out_of_range_are_errors(how: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        relative(**how)


def test_a_policy_that_is_not_heard_is_warned_about_once() -> None:
    regularizer = relative(0.1) * Gap()
    regularizer.measured_strengths()[0].patience = 3
    z = torch.cat(features(0, 3, 2, 4)).requires_grad_()
    with pytest.warns(UserWarning, match=r"got none in 3 steps.*regularizer\.seam\(z\)"):
        for step in range(5):
            regularizer(z[:3], z[3:], step=step).backward()
    assert regularizer.strengths() == {"gap": 0.0}


class Half(MeasuredStrength):
    """One half, which goes by nothing."""

    def forward(self, step: int | None = None) -> float:
        return 0.5


def test_a_strength_that_goes_by_nothing_has_nothing_to_log() -> None:
    assert Half().readings() == (Half() * Gap()).readings() == {}


def test_a_measured_strength_is_zero_while_its_term_has_sent_nothing() -> None:
    policy, term, z = slopes(0, 3, 2, 4, 1)
    built = relative(0.3, standardise=False) * Slope(0 * term[0][:3], 0 * term[0][3:])
    for step in (0, 1):
        stepped(built, z, policy[0], 3, step)
    assert built.strengths(2)["slope"] == 0.0
