"""The nut task without robosuite: where its cameras look, what its expert does, and what is said."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from cotrain_bench.results import CannotContinue
from cotrain_bench.sim2sim.gaps import CENTRE, Gap
from cotrain_bench.sim2sim.nut_assembly import GRIP, TABLE
from cotrain_bench.sim2sim.world import domain
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.robosuite import standing

place = st.tuples(st.floats(-0.2, 0.3), st.floats(-0.2, 0.3), st.floats(0.82, 1.1))


def seen(hand, nut=(-0.11, 0.15, 0.83)):
    nut = np.array(nut)
    handle, peg = nut - np.array([0.054, 0, 0]), np.array([0.23, 0.1, 0.85])
    return np.stack([np.array(hand), np.array(hand), np.array(hand), nut, handle, peg])


def motion(hand, nut=(-0.11, 0.15, 0.83), opening=1.0):
    return standing(seen(hand, nut), opening).expert()


GRIPPED = np.array([-0.11 - GRIP * 0.054, 0.15, 0.83])


def test_what_lies_before_the_arm_is_in_the_middle_and_what_is_farther_is_farther():
    points = TABLE + np.array([[0, 0, 0.15], [0.1, 0, 0.15], [0, 0.1, 0.15], *np.zeros((3, 3))])
    middle, ahead, left = standing(points).observation()[:9].reshape(3, 3)
    np.testing.assert_allclose(middle, CENTRE)
    np.testing.assert_allclose(ahead - middle, [0, 0.1, 0], atol=1e-12)
    np.testing.assert_allclose(left - middle, [-0.1, 0, 0], atol=1e-12)


@given(place, place, st.floats(0, 1))
def test_the_expert_asks_for_motions_within_reach_everywhere(hand, nut, opening):
    asked = motion(hand, nut, opening)
    assert np.linalg.norm(asked[:3]) <= 1 + 1e-9 and abs(asked[3]) == 1


def test_the_expert_goes_over_the_handle_down_closes_lifts_carries_and_lowers():
    aside = motion(np.add(GRIPPED, (0.1, 0, 0.1)))
    assert aside[[0, 3]] == pytest.approx([-1 / np.hypot(1, 0.2), -1], abs=0.05)
    assert motion(np.add(GRIPPED, (0, 0, 0.05)))[2] == pytest.approx(-1)
    np.testing.assert_allclose(motion(GRIPPED), [0, 0, 0, 1])
    np.testing.assert_allclose(motion(GRIPPED, opening=0.4), [0, 0, 1, 1])
    high, over = np.array([-0.11, 0.15, 1.0]), np.array([0.23, 0.1, 1.0])
    at = np.array([-GRIP * 0.054, 0, 0])
    carried, lowered = motion(high + at, high, 0.4), motion(over + at, over, 0.4)
    assert carried[0] > 0.95 and carried[2] == 0
    np.testing.assert_allclose(lowered, [0, 0, -1, 1], atol=1e-9)


def test_without_robosuite_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "robosuite", None)  # as if it were not installed
    with pytest.raises(CannotContinue, match=r"robosuite was not found here.*`make robosuite` makes"):
        domain("nut-assembly", Gap())
