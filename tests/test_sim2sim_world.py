"""Gaps, cameras and the world: each knob changes what it is named for and nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cotrain_bench.sim2sim.demos import expert_success
from cotrain_bench.sim2sim.gaps import CENTRE, GAPS, Gap, cameras
from cotrain_bench.sim2sim.tasks import TASKS
from cotrain_bench.sim2sim.world import World
from hypothesis import given
from hypothesis import strategies as st

from tests.cells import world

unit = st.floats(-1, 1)


# gaps


@given(st.sampled_from(sorted(GAPS)), st.tuples(unit, unit, unit, unit))
def test_the_expert_command_causes_exactly_the_motion_it_meant(gap, motion):
    np.testing.assert_allclose(GAPS[gap].executed(GAPS[gap].command(np.array(motion))), motion, atol=1e-12)


def test_a_turned_weaker_biased_frame_moves_the_hand_as_written_out():
    gap = Gap(command_yaw=90.0, command_gain=0.5, command_bias=(0.0, 0.0, 0.2))
    np.testing.assert_allclose(gap.executed(np.array([0.4, 0.2, 0.6, 1.0])), [-0.1, 0.2, 0.5, 1.0], atol=1e-12)


def test_each_gap_touches_only_what_it_is_named_for():
    kinds = {name: {knob.split("_")[0] for knob in gap.differences()} for name, gap in GAPS.items()}
    assert kinds["none"] == set()
    assert kinds["visual"] == {"camera"} and kinds["control"] == {"command"}
    assert kinds["visual-control"] == {"camera", "command"}
    assert kinds["physics"] == {"mass", "friction", "grip", "lag"}
    assert kinds["hard"] >= {"camera", "command", "mass"}


def test_a_control_or_physics_gap_is_not_to_be_seen_and_a_camera_gap_is():
    start = {name: world(name).episode(3).observation() for name in ("none", "control", "visual")}
    np.testing.assert_array_equal(start["control"], start["none"])
    assert np.abs(start["visual"] - start["none"]).max() > 0.05
    seen = world("physics").episode(3).observation()
    np.testing.assert_allclose(seen[[6, 7, 10, 11]], start["none"][[6, 7, 10, 11]], atol=1e-3)  # object and goal


def test_physics_reaches_the_model():
    here, source, gap = world("physics").env.model, world("none").env.model, GAPS["physics"]
    assert here.body("obj").mass == gap.mass * source.body("obj").mass
    assert (here.geom("objGeom").friction == gap.friction * source.geom("objGeom").friction).all()
    assert (here.actuator_gainprm[:, 0] == gap.grip * source.actuator_gainprm[:, 0]).all()
    assert here.eq_solref[0, 0] == gap.lag


# cameras


@given(st.integers(0, 1), st.tuples(unit, unit, unit), st.floats(-80, 80))
def test_a_camera_projects_as_a_pinhole_and_turning_it_is_turning_the_scene_back(which, offset, yaw):
    point = CENTRE + 0.3 * np.array(offset)
    camera = cameras(Gap())[which]
    depth = camera.axes[2] @ (point - camera.eye)
    expected = [camera.axes[k] @ (point - camera.eye) / depth / math.tan(math.radians(22.5)) for k in (0, 1)]
    np.testing.assert_allclose(camera.project(point[None])[0], expected, atol=1e-12)
    np.testing.assert_allclose(camera.axes @ camera.axes.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(camera.project(CENTRE[None]), 0, atol=1e-12)
    c, s = math.cos(math.radians(-yaw)), math.sin(math.radians(-yaw))
    turned = CENTRE + np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ (point - CENTRE)
    np.testing.assert_allclose(
        cameras(Gap(camera_yaw=yaw))[which].project(point[None]), camera.project(turned[None]), atol=1e-12
    )


def test_up_in_the_world_is_up_in_the_picture():
    for camera in cameras(GAPS["hard"]):
        low, high = camera.project(CENTRE + np.array([[0, 0, 0], [0, 0, 0.1]]))
        assert high[1] > low[1]


# world


def test_an_episode_is_meta_worlds_own():
    env = World("pick-place", Gap()).env
    env.seed(7)
    state, _ = env.reset()
    episode = world("none").episode(7)
    assert state[-2] > 0.5  # the goal is not hidden
    for _ in range(20):
        motion = world("none").expert(state)
        state, *_ = env.step(motion.astype(np.float32))
        episode.step(episode.expert())
    read = [*range(7), -3, -2, -1]  # hand, opening, object, goal: what experts read
    np.testing.assert_array_equal(episode.state()[read], state[read])


def test_episodes_stepped_in_turn_do_not_disturb_each_other():
    alone = [world("control").episode(seed) for seed in (1, 2)]
    for episode in alone:
        for _ in range(15):
            episode.step(episode.expert())
    together = [world("control").episode(seed) for seed in (1, 2)]
    for _ in range(15):
        for episode in together:
            episode.step(episode.expert())
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.observation(), other.observation())


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_a_command_takes_effect_after_the_delay(delay):
    up, still = np.array([0, 0, 1.0, 0]), np.zeros(4)
    here = World("pick-place", Gap(command_delay=delay))
    episode, idle = here.episode(0), here.episode(0)
    for step in range(delay + 1):
        assert np.array_equal(episode.observation(), idle.observation())
        episode.step(up if step == 0 else still)
        idle.step(still)
    assert episode.keypoints()[0, 2] > idle.keypoints()[0, 2]


@pytest.mark.parametrize("gap", sorted(GAPS))
def test_the_expert_passes_its_gate_under_every_gap(gap):
    assert expert_success("pick-place", GAPS[gap], range(10)) >= TASKS["pick-place"].gate


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path / "cache"))


# rollouts


def still(observations):
    return torch.zeros(len(observations), 8, 4)
