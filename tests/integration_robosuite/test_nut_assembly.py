"""NutAssemblySquare as two domains: the expert passes its gate, gaps do what they say, episodes share nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from importlib.metadata import version

import numpy as np
import pytest
import torch
from cotrain_bench.sim2sim.demos import Request, demonstrations
from cotrain_bench.sim2sim.evaluation import roll_out
from cotrain_bench.sim2sim.gaps import GAPS, Gap
from cotrain_bench.sim2sim.nut_assembly import NutWorld
from cotrain_bench.sim2sim.tasks import gate
from cotrain_bench.sim2sim.world import domain

pytestmark = pytest.mark.robosuite


@cache
def world(gap: str) -> NutWorld:
    return domain("nut-assembly", GAPS[gap])


def test_the_simulator_is_the_one_that_was_measured():
    assert version("robosuite") == "1.5.2" and version("mujoco") == "3.3.7" and int(version("numpy")[0]) < 2
    assert isinstance(world("none"), NutWorld)


@pytest.mark.parametrize("gap", sorted(GAPS))
def test_the_expert_passes_its_gate_and_robosuite_agrees_that_the_nut_is_on_its_peg(gap):
    here, solved = world(gap), 0
    for seed in range(10):
        episode = here.episode(seed)
        while not episode.success and episode.steps < here.task.horizon:
            episode.step(episode.expert())
        here.env._check_success()
        assert bool(here.env.objects_on_pegs[0]) == episode.success
        solved += episode.success
    assert solved >= gate("nut-assembly") * 10


def test_only_a_camera_gap_is_to_be_seen_at_the_start():
    start = {name: world(name).episode(3).observation() for name in ("none", "control", "physics", "visual")}
    assert start["none"].shape == (28,)
    np.testing.assert_array_equal(start["control"], start["none"])
    np.testing.assert_allclose(start["physics"], start["none"], atol=1e-6)
    assert np.abs(start["visual"] - start["none"]).max() > 0.05


def test_episodes_stepped_in_turn_do_not_disturb_each_other():
    here = world("control")
    alone = [here.episode(seed) for seed in (1, 2)]
    for episode in alone:
        for _ in range(8):
            episode.step(episode.expert())
    together = [here.episode(seed) for seed in (1, 2)]
    for _ in range(8):
        for episode in together:
            episode.step(episode.expert())
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.observation(), other.observation())
    assert np.abs(alone[0].observation() - alone[1].observation()).max() > 0.01


def test_a_command_takes_effect_after_the_delay():
    here = NutWorld(Gap(command_delay=2))
    episode, idle = here.episode(0), here.episode(0)
    for step in range(3):
        np.testing.assert_array_equal(episode.observation(), idle.observation())
        episode.step(np.array([0, 0, 1.0, -1.0]) if step == 0 else np.zeros(4))
        idle.step(np.zeros(4))
    assert episode.keypoints()[0, 2] > idle.keypoints()[0, 2] + 1e-3


def test_physics_reaches_the_model_and_the_controller():
    here, source, gap = world("physics"), world("none"), GAPS["physics"]
    mass, usual = (w.model.body_mass[w.env.obj_body_id["SquareNut"]] for w in (here, source))
    assert mass == pytest.approx(gap.mass * usual)
    np.testing.assert_allclose(here.arm.kp, source.arm.kp * (Gap().lag / gap.lag) ** 2)
    motors = [a for a in range(here.model.nu) if "finger" in here.model.actuator(a).name]
    np.testing.assert_allclose(
        here.model.actuator_gainprm[motors, 0], gap.grip * source.model.actuator_gainprm[motors, 0]
    )
    usual, changed = source.model.geom_friction, (here.model.geom_friction != source.model.geom_friction).any(1)
    np.testing.assert_allclose(here.model.geom_friction[changed], gap.friction * usual[changed])
    names = {here.model.geom(g).name for g in np.flatnonzero(changed)}
    assert all(name.startswith(("SquareNut_g", "gripper0_right_finger")) for name in names)
    assert {"SquareNut_g0", "gripper0_right_finger1_pad_collision"} <= names


def test_the_suite_records_and_rolls_out_on_it_as_on_any_task(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path))
    with ThreadPoolExecutor(1) as executor:
        demos = demonstrations(Request("nut-assembly", Gap(), seed=5, count=1), executor)
    assert (
        len(demos) == 1 and demos.observations.shape == (demos.lengths[0], 28) and demos.expert >= gate("nut-assembly")
    )
    here = NutWorld(Gap())
    here.task = replace(here.task, horizon=8)
    found = roll_out(lambda observations: torch.zeros(len(observations), 8, 4), here, [0, 1], seed=0, watched=1)
    assert found.steps == [8, 8] and found.paths[0].shape == (9, 2, 3)
