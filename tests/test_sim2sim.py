"""Two simulated domains: gaps do what their names say, experts stay valid, evaluation is paired."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from cotrain_bench.results import CannotContinue
from cotrain_bench.sim2sim import comparison, figures, summary
from cotrain_bench.sim2sim.cache import cache_folder
from cotrain_bench.sim2sim.cameras import CENTRE, cameras
from cotrain_bench.sim2sim.cell import Cell
from cotrain_bench.sim2sim.demos import Demos, Request, demonstrations, expert_success
from cotrain_bench.sim2sim.gaps import GAPS, Gap
from cotrain_bench.sim2sim.measures import measures
from cotrain_bench.sim2sim.methods import METHODS, Setting, extras
from cotrain_bench.sim2sim.policy import FlowPolicy
from cotrain_bench.sim2sim.rollouts import roll_out
from cotrain_bench.sim2sim.run import Runner
from cotrain_bench.sim2sim.settings import settings as chosen
from cotrain_bench.sim2sim.tasks import TASKS
from cotrain_bench.sim2sim.training import Batches, Budget, HeldOut, frames, train
from cotrain_bench.sim2sim.variants import as_target, labelled, normalised
from cotrain_bench.sim2sim.world import World
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import cotrain_losses as ctl
from cotrain_losses.strength import balanced, relative
from cotrain_losses.strength.schedules import warmup

unit = st.floats(-1, 1)


@cache
def world(gap: str) -> World:
    return World("pick-place", GAPS[gap])


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


# demonstrations


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as threads:
        yield threads


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path / "cache"))


def same(one: Demos, other: Demos) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def test_demonstrations_are_cached_and_a_damaged_file_is_said_and_recorded_again(executor):
    request, said = Request("pick-place", Gap(), seed=5, count=2), []
    first = demonstrations(request, executor, report=said.append)
    assert len(first) == 2 and first.lengths.sum() == len(first.observations) == len(first.commands)
    (file,) = cache_folder().iterdir()
    assert same(demonstrations(request, None, report=said.append), first) and not said  # no executor: from the file
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert same(demonstrations(request, executor, report=said.append), first)
    assert said == [f"{file} is damaged and not used; its demonstrations are made again."]
    assert file.read_bytes() == whole


def test_every_setting_of_a_request_changes_its_key():
    request = Request("pick-place", Gap(), seed=5, count=2)
    changed = [{"gap": GAPS["hard"]}, {"seed": 6}, {"count": 3}, {"noise": 0.2}]
    assert all(replace(request, **change).key() != request.key() for change in changed)


def test_an_expert_that_fails_its_gate_stops_the_run_with_the_gap_named(executor):
    with pytest.raises(CannotContinue, match=r"solves at least 90%.*got 0% of 10 .*'lag': 5.0.*milder gap"):
        demonstrations(Request("pick-place", Gap(lag=5.0), seed=0, count=1), executor)


# policy and training


class Towards(nn.Module):
    """The exact velocity of the flow to one point: (mu - x) / (1 - t)."""

    def __init__(self, mu: torch.Tensor) -> None:
        super().__init__()
        self.mu = mu

    def forward(self, noisy, time, condition):
        return (self.mu - noisy) / (1 - time[:, None, None])


def test_the_exact_velocity_field_has_zero_loss_and_its_sampler_arrives():
    policy, mu = FlowPolicy(25, 4), torch.randn(8, 4)
    actions = torch.randn(50, 4) * 3 + 1
    policy.fit_normalizer(torch.randn(50, 25), actions)
    policy.velocity = Towards(mu)
    point = (mu * actions.std(0) + actions.mean(0)).expand(5, 8, 4)
    observations = torch.randn(5, 2, 25)
    assert policy.compute_loss({"observations": observations, "actions": point}) < 1e-6
    torch.testing.assert_close(policy.predict_action(observations), point, rtol=1e-4, atol=1e-4)


def drawn(seed: int, lengths: list[int]) -> Demos:
    draws = np.random.default_rng(seed)
    n = sum(lengths)
    observations, commands = draws.standard_normal((n, 25)), draws.standard_normal((n, 4))
    return Demos(observations.astype(np.float32), commands.astype(np.float32), np.array(lengths), len(lengths), 1.0)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.lists(st.integers(1, 12), min_size=1, max_size=4))
def test_frames_hold_the_past_and_the_chunk_and_never_cross_episodes(target, source):
    sides = drawn(0, target), drawn(1, source)
    found, row = frames(*sides, horizon=8), 0
    for is_target, demos in zip((True, False), sides, strict=True):
        start = 0
        for length in demos.lengths:
            for t in range(length):
                past = demos.observations[[start + max(t - 1, 0), start + t]]
                chunk = demos.commands[[start + min(t + k, length - 1) for k in range(8)]]
                assert np.array_equal(found.observations[row], past) and np.array_equal(found.actions[row], chunk)
                assert bool(found.is_target[row]) == is_target
                row, start = row + 1, start
            start += length
    assert row == len(found.is_target)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_the_same_policy_from_the_same_weights_at_its_ratio(method):
    data = frames(drawn(0, [30, 20]), drawn(1, [200]))
    short, shorter = (
        train(
            data,
            METHODS[method](Setting(128, 0.25, 40)),
            Budget(steps=steps, batch_size=32),
            seed=0,
            extras=extras,
            held_out=HeldOut(data.held_out(), 0.5) if METHODS[method].holds_out else None,
        )
        for steps in (40, 1)
    )
    assert math.isfinite(short.loss) and short.loss < shorter.loss
    assert short.ratio == pytest.approx(1.0 if method == "real_only" else 0.25)
    assert set(short.policy.state_dict()) == set(FlowPolicy(25, 4).state_dict())


# what a cell may change in the data


def test_a_label_is_two_columns_in_training_and_the_targets_code_in_evaluation():
    data = frames(drawn(0, [3]), drawn(1, [5, 4]))
    told = labelled(data)
    assert torch.equal(told.observations[..., :25], data.observations)
    assert torch.equal(told.observations[..., 25] == 1, (~data.is_target)[:, None].expand(-1, 2))
    assert torch.equal(told.observations[..., 25:].sum(2), torch.ones(12, 2))
    seen = as_target(lambda observations: observations)(data.observations[data.is_target])
    assert torch.equal(seen, told.observations[data.is_target])


def test_normalising_by_domain_undoes_any_shift_and_scale_of_the_source_and_leaves_the_target():
    data = frames(drawn(0, [30]), drawn(1, [40]))
    scale, shift = torch.rand(25) + 0.5, torch.randn(25)
    moved = torch.where(data.is_target[:, None, None], data.observations, data.observations * scale + shift)
    same, other = normalised(data), normalised(replace(data, observations=moved))
    torch.testing.assert_close(other.observations, same.observations, atol=1e-5, rtol=1e-4)
    assert torch.equal(same.observations[data.is_target], data.observations[data.is_target])
    now = same.observations[:, -1]
    torch.testing.assert_close(now[~data.is_target].mean(0), now[data.is_target].mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(now[~data.is_target].std(0), now[data.is_target].std(0))


def test_measures_tell_domains_that_lie_apart_from_domains_that_do_not():
    near, far = drawn(1, [60, 50, 70, 60]), drawn(2, [60, 50, 70, 60])
    far = replace(far, observations=far.observations + 5)
    data = frames(drawn(0, [60, 50, 70, 60]), near)
    trained = train(data, METHODS["cotraining"](Setting(128, 0.5, 3)), Budget(steps=3, batch_size=16), seed=0)
    found = [measures(trained, frames(drawn(0, [60, 50, 70, 60]), source)) for source in (near, far)]
    assert found[0]["log_wasserstein"] < found[1]["log_wasserstein"]
    assert found[0]["probe_accuracy"] < 0.75 < found[1]["probe_accuracy"]
    assert found[0]["relative_distance"] < found[1]["relative_distance"]
    assert measures(trained, data) == measures(trained, data)


def test_a_terms_mean_weight_over_the_steps_is_kept():
    data = frames(drawn(0, [60, 50]), drawn(1, [60, 50, 70]))
    assert train(data, ctl.Method(ratio=0.5), Budget(steps=3, batch_size=16), seed=0).strengths == {}
    weight = warmup(1.0, 3)
    method = ctl.Method(ratio=0.5, regularizer=weight * ctl.MMD())
    kept = train(data, method, Budget(steps=3, batch_size=16), seed=0).strengths
    assert kept == {"mmd": pytest.approx(sum(weight(step) for step in range(3)) / 3)}


def test_what_a_balanced_weight_went_by_is_kept_for_every_hundredth_step():
    data = frames(drawn(0, [60, 50]), drawn(1, [60, 50, 70]))
    weight = balanced(-relative(0.1), every=100, ramp=400, rows=40)
    method = ctl.Method(ratio=0.5, regularizer=weight * ctl.DomainClassifier(128))
    held_out = HeldOut(data.held_out(), 0.5)
    kept = train(data, method, Budget(steps=300, batch_size=16), seed=0, extras=extras, held_out=held_out).readings
    assert {len(numbers) for numbers in kept.values()} == {3}
    names = {"factor", "discernibility", "target_loss", "best", "braked", "policy_gradient", "term_gradient"}
    assert set(kept) == {f"domain_classifier/{name}" for name in names}
    assert 0.0 <= min(kept["domain_classifier/discernibility"]) <= max(kept["domain_classifier/discernibility"]) <= 1.0


def test_a_target_demonstration_is_held_out_whole_and_the_last_is_not():
    data = frames(drawn(0, [3, 5]), drawn(1, [4]))
    held = data.held_out()
    assert held.sum() == 5 and data.is_target[held].all() and len(set(data.episode[held].tolist())) == 1
    with pytest.raises(ValueError, match="of two at least, got one"):
        frames(drawn(0, [5]), drawn(1, [4])).held_out()


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_held_out_demonstration_is_trained_on_after_its_share_of_the_steps(share):
    data = frames(drawn(0, [6, 5]), drawn(1, [40]))
    held = data.held_out()
    drawn_rows = Batches(data, HeldOut(held, share), Budget(steps=20, batch_size=16), 0.5, seed=0)
    seen = [bool(held[rows].any()) for rows in drawn_rows]
    assert len(seen) == 20 and seen == [step >= 20 * share for step in range(20)]
    assert drawn_rows.realised() == pytest.approx(0.5)


# rollouts


def still(observations):
    return torch.zeros(len(observations), 8, 4)


def test_an_episode_runs_as_it_would_alone_with_the_noise_of_its_row():
    def noisy(observations):  # the policy of a row depends on its observation and its row of the noise
        return torch.randn(3, 8, 4)[: len(observations)] + observations[:, 1:, :4]

    here = World("pick-place", GAPS["control"])
    here.task = replace(here.task, horizon=20)
    together = roll_out(noisy, here, [1, 2, 3], seed=0, watched=3)
    alone = roll_out(noisy, here, [1], seed=0, watched=1)
    np.testing.assert_array_equal(together.paths[0], alone.paths[0])
    np.testing.assert_array_equal(together.goals[0], alone.goals[0])
    assert together.steps == [20, 20, 20] and len(together.paths[0]) == 21


def test_the_experts_motions_replayed_open_loop_solve_the_episode():
    here = world("none")
    episode, motions = here.episode(4), []
    while not episode.success:
        motions.append(episode.expert())
        episode.step(motions[-1])
    chunks = iter(torch.tensor(np.array(motions + [motions[-1]] * 8)).split(8))
    found = roll_out(lambda observations: next(chunks)[None], here, [4], seed=0)
    assert found.solved == [True] and found.steps == [len(motions)]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (lambda o: torch.zeros(len(o), 4), r"shape \(episodes, horizon, 4\), got \(2, 4\) for 2 episodes"),
        (lambda o: torch.full((len(o), 8, 4), math.nan), "finite commands, got NaN"),
    ],
)
def test_a_policy_of_wrong_shape_or_without_numbers_is_refused(policy, message):
    with pytest.raises(ValueError, match=message):
        roll_out(policy, world("none"), [0, 1], seed=0)


# a whole run


def test_no_two_domains_or_seeds_share_an_episode():
    used = []
    for seed in (0, 1):
        (cell,) = chosen("demo", seed=seed, methods=("cotraining",)).cells()
        for request in cell.requests().values():
            used.append(range(request.seed, request.seed + 4 * request.count + 20 + request.count))
        used.append(cell.evaluation_seeds())
    joined = [k for some in used for k in some]
    assert len(set(joined)) == len(joined)


CHANGES = {
    "gap": "hard",
    "ratio": 0.3,
    "label": True,
    "scales": (0.0,),
    "policy": f"{FlowPolicy.__module__}:flow",
    "method": "cfg",
}


@pytest.mark.parametrize("what", [*CHANGES, "seed", "target_demos", "source_demos", "episodes"])
def test_every_setting_of_a_cell_changes_its_key(what):
    cell = Cell("cfg_adda")
    assert replace(cell, **{what: CHANGES.get(what, 7)}).key() != cell.key() == Cell("cfg_adda").key()
    assert replace(cell, budget=Budget(steps=7)).key() != cell.key()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "adda "}, r"a method is one of real_only, .* got 'adda '"),
        ({"ratio": 1.1}, r"lies in \[0, 1\], got 1.1"),
        ({"episodes": 0}, "episodes counts from 1, got 0"),
        ({"budget": Budget(steps=0)}, "steps counts optimizer steps from 1, got 0"),
        ({"seed": 1000}, r"lies in \[0, 999\].*got 1000"),
        ({"scales": (1.0,)}, "scales are of a guided method, cfg or cfg_adda or structured"),
    ],
)
def test_a_cell_that_means_nothing_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Cell(**change)


def test_a_run_writes_everything_and_run_again_computes_nothing(tmp_path):
    run = chosen("smoke", methods=("real_only", "cfg_adda"), source_demos=3, target_demos=1, steps=5, episodes=2)
    out = tmp_path / "out"
    results = comparison.compare(run, out, Runner(workers=1))
    assert [row["method"] for row in results["rows"]] == ["real_only", "cfg_adda"]
    assert json.loads((out / "results.json").read_text()) == results
    for row in results["rows"]:
        assert row["successes"] == sum(row["outcomes"]) and row["low"] <= row["success"] <= row["high"]
        assert "one trained policy" in row["interval"]
    assert (out / "results.csv").read_text().count("\n") == 3
    for name in ("success", "rollouts", "features"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "report.html").read_text()
    assert "+ CFG-ADDA" in page and "ONE trained policy" in page and "command yaw 30.0" in page
    written = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert len(written) == 2
    assert comparison.compare(run, out, Runner(workers=1))["rows"] == results["rows"]
    assert {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()} == written


def test_a_policy_under_a_balanced_weight_has_a_picture_of_what_the_weight_went_by():
    series = {"discernibility": [None, 0.95, 0.8], "factor": [0.0, 0.1, 0.1], "braked": [1.0, 0.0, 1.0]}
    row = {f"reading_domain_classifier/{name}": numbers for name, numbers in series.items()} | {"method": "structured"}
    assert figures.balanced_terms(row) == ["domain_classifier"] and figures.balanced_terms({"method": "adda"}) == []
    plot = figures.balance([(row, "domain_classifier"), (row, "domain_classifier")])
    for axes in plot.axes:
        probe, share = (line.get_xydata().tolist() for line in axes.get_lines())
        assert probe[1:] == [[200.0, 0.95], [300.0, 0.8]] and math.isnan(probe[0][1])
        assert share == [[100.0, 0.0], [200.0, 0.1], [300.0, 0.1]]
        assert axes.get_title() == "structured (ours): domain classifier"


def test_the_headline_says_whether_the_intervals_overlap():
    def row(method, success, low, high):
        return {"method": method, "success": success, "low": low, "high": high}

    apart = summary.headline([row("real_only", 0.1, 0.05, 0.2), row("cotraining", 0.5, 0.4, 0.6)])
    assert apart == (
        "Target only solves 10% [5%, 20%], plain co-training 50% [40%, 60%]: the intervals do not overlap."
    )
    assert summary.headline([row("real_only", 0.1, 0.05, 0.4), row("cotraining", 0.5, 0.4, 0.6)]).endswith(
        "the intervals overlap."
    )


def test_the_command_of_a_report_repeats_its_settings():
    from cotrain_bench.sim2sim.settings import PRESETS
    from typer.testing import CliRunner

    from cotrain_losses.cli.commands import app

    for run in PRESETS.values():
        words = summary.command(
            comparison.described(run, {name: drawn(0, [3]) for name in ("source", "target")})
        ).split()
        assert CliRunner().invoke(app, [*words[1:], "--help"]).exit_code == 0
        given = dict(zip(words[3::2], words[4::2], strict=True))
        again = chosen(
            "demo",
            **{
                "task": given["--task"],
                "gap": given["--gap"],
                "methods": tuple(given["--methods"].split(",")),
                "ratio": float(given["--ratio"]),
                **{n: int(given[f"--{n.replace('_', '-')}"]) for n in ("seed", "target_demos", "source_demos")},
                **{n: int(given[f"--{n}"]) for n in ("steps", "episodes")},
            },
        )
        assert again == run
