"""The tasks: Meta-World's own numbers at a fraction of the cost, and what a policy has to know is to be seen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from cotrain_bench.results import CannotContinue, read_results
from cotrain_bench.sim2sim import gates
from cotrain_bench.sim2sim.demos import GATE_SEEDS, Request, attempt, demonstrations, expert_success
from cotrain_bench.sim2sim.gaps import CENTRE, GAPS, Gap, both, cameras
from cotrain_bench.sim2sim.tasks import TASKS, meta_world
from cotrain_bench.sim2sim.world import Episode, World
from hypothesis import given
from hypothesis import strategies as st

from tests.worlds import Kept

HAND, OPENING, OBJECT, GOAL = slice(0, 3), 3, slice(4, 7), slice(-3, None)  # in Meta-World's observation

MOVES = {
    "pick-place": {"object", "goal"},
    "assembly": {"goal"},
    "coffee-pull": {"object", "goal"},
    "hammer": {"object"},
    "box-close": {"object", "goal"},
    "button-press": {"object", "goal"},
}
"""what the seed of an episode moves, in Meta-World"""

TARGETS = {"pick-place": "goal", "coffee-pull": "mug_goal", "box-close": "goal"}
"""the site that Meta-World draws its target at"""


@cache
def world(task: str, gap: str = "none") -> World:
    return World(task, GAPS[gap])


def acted(episode: Episode, steps: int) -> list[np.ndarray]:
    seen = [episode.observation()]
    for _ in range(steps):
        episode.step(episode.expert())
        seen.append(episode.observation())
    return seen


@pytest.mark.parametrize("task", meta_world())
def test_an_episode_is_meta_worlds_own_until_it_is_solved_and_is_solved_when_meta_world_says_so(task):
    world(task).episode(0)  # a first one, so that this one starts from what the first left behind
    env, episode = World(task, Gap()).env, world(task).episode(1)
    env.seed(1)
    state, _ = env.reset()
    while not episode.success and episode.steps < TASKS[task].horizon:
        for part in (HAND, OPENING, OBJECT, GOAL):
            np.testing.assert_array_equal(episode.state()[part], state[part])
        state, _, _, _, info = env.step(world(task).expert(state).astype(np.float32))
        assert episode.step(episode.expert()) == bool(info["success"])
    assert episode.success and len(episode.observation()) == 28


@pytest.mark.parametrize("task", meta_world())
def test_an_episode_is_a_function_of_its_seed_and_its_commands(task):
    first, other, again = (acted(world(task, "control").episode(seed), 8) for seed in (3, 4, 3))
    np.testing.assert_array_equal(first, again)
    assert np.abs(np.subtract(first[0], other[0])).max() > 1e-3


@pytest.mark.parametrize("task", meta_world())
def test_what_the_seed_moves_is_to_be_seen_and_the_rest_stays(task):
    here = world(task)
    episodes = [here.episode(seed) for seed in range(3)]
    points = np.array([episode.keypoints() for episode in episodes])
    seen = np.array([episode.observation()[:24].reshape(2, 6, 2) for episode in episodes])
    for name, k in (("object", 3), ("goal", 5)):
        moved = name in MOVES[task]
        assert (np.ptp(points[:, k], axis=0).max() > 0.005) == moved
        assert (np.ptp(seen[:, :, k], axis=0).max(axis=-1) > 0.005).all() == moved
        for camera, view in zip(here.cameras, seen[0], strict=True):
            np.testing.assert_array_equal(view[k], camera.project(points[0])[k])


@pytest.mark.parametrize("task", TARGETS)
def test_the_goal_is_where_meta_world_draws_its_target(task):
    here = Kept(task, Gap())
    episode = here.episode(2)
    episode.step(np.zeros(4))
    np.testing.assert_allclose(episode.keypoints()[5], here.latest.data.site(TARGETS[task]).xpos, atol=1e-12)


def test_the_goal_is_the_nail_of_the_hammer_the_top_of_the_wrenchs_peg_and_over_the_lids_box():
    hammer, pegs, boxes = world("hammer").episode(0), Kept("assembly", Gap()), Kept("box-close", Gap())
    wrench, box = pegs.episode(0), boxes.episode(0)
    before = hammer.keypoints()[5]
    np.testing.assert_allclose(before, [0.24, 0.64, 0.11], atol=1e-6)
    while not hammer.step(hammer.expert()):
        pass
    assert hammer.keypoints()[5][1] - before[1] > 0.09
    for episode in (wrench, box):
        episode.step(np.zeros(4))
    top = np.array([0, 0, 0.05])  # of the peg, from its middle
    np.testing.assert_allclose(wrench.keypoints()[5] - top, pegs.latest.data.body("peg").xpos, atol=1e-12)
    np.testing.assert_allclose(box.keypoints()[5][:2], boxes.latest.data.body("boxbody").xpos[:2], atol=1e-12)


@pytest.mark.parametrize("task", meta_world())
def test_a_physics_gap_changes_the_handled_body_the_fingers_the_gripper_the_weld_and_nothing_else(task):
    here, source, gap = world(task, "physics").env.model, world(task).env.model, GAPS["physics"]
    world(task, "physics").place(), world(task).place()
    differs = {}
    for name in dir(source):
        value = getattr(source, name)
        if isinstance(value, np.ndarray) and not np.array_equal(value, getattr(here, name), equal_nan=True):
            differs[name] = np.unique(np.nonzero(value != getattr(here, name))[0]).tolist()
    body = source.body(meta_world()[task].body).id
    geoms = [*np.nonzero(source.geom_bodyid == body)[0], *(source.geom(f"{s}pad_geom").id for s in ("right", "left"))]
    assert differs.pop("geom_friction") == sorted(geoms) and len(geoms) > 2
    assert differs.pop("body_mass") == differs.pop("body_inertia") == [body]
    assert here.body_mass[body] == gap.mass * source.body_mass[body] > 0
    assert set(differs) == {"actuator_gainprm", "actuator_biasprm", "eq_solref"}


@given(st.sampled_from(sorted(GAPS)), st.integers(0, 2**32 - 1))
def test_both_cameras_at_once_see_to_the_last_bit_what_each_sees_alone(gap, seed):
    points = CENTRE + 0.3 * np.random.default_rng(seed).standard_normal((6, 3))
    np.testing.assert_array_equal(both(GAPS[gap]).project(points), [c.project(points) for c in cameras(GAPS[gap])])


# the gate


@pytest.mark.parametrize("task", meta_world())
def test_the_expert_passes_its_gate_in_the_source(task):
    assert expert_success(task, Gap(), GATE_SEEDS) >= TASKS[task].gate


def test_an_expert_below_its_tasks_gate_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path))
    monkeypatch.setitem(TASKS, "box-close", replace(TASKS["box-close"], gate=0.9))
    with ThreadPoolExecutor(1) as here, pytest.raises(CannotContinue, match=r"at least 90%.*box-close"):
        demonstrations(Request("box-close", Gap(), seed=0, count=1), here)


def test_episodes_leave_no_trace_in_a_workers_world():
    together, (alone,) = attempt("hammer", GAPS["hard"], [0, 1], 0.1), attempt("hammer", GAPS["hard"], [1], 0.1)
    for one, other in zip(together[1], alone, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_table_of_gates_names_the_knob_that_breaks_a_pair(tmp_path, monkeypatch):
    monkeypatch.setattr(gates, "meta_world", lambda: {"pick-place": TASKS["pick-place"]})
    monkeypatch.setattr(gates, "GAPS", {"none": Gap(), "stuck": Gap(mass=1.1, lag=5.0)})
    monkeypatch.setattr(gates, "GATE_SEEDS", range(3))
    monkeypatch.setattr(gates, "NOISY_SEEDS", range(3, 5))
    monkeypatch.setattr(gates, "executor", lambda _, workers: ThreadPoolExecutor(workers))
    gates.gates(tmp_path, workers=1, by_knob=True)
    rows = {row.pop("gap"): row for row in read_results(tmp_path)["rows"]}
    solved = {gap: (row["solved"], row["of"], row["kept"], row["of_noisy"], row["passes"]) for gap, row in rows.items()}
    whole, nothing = (3, 3, 2, 2, True), (0, 3, 0, 2, False)
    assert solved == {"none": whole, "stuck": nothing, "stuck: mass": whole, "stuck: lag": nothing}
    assert 40 < rows["none"]["median_steps"] < 70 and rows["stuck"]["median_steps"] is None
