"""Pictures agree with the cameras of the keypoints, look as the knobs say, and a policy learns from them."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from cotrain_bench.results import CannotContinue
from cotrain_bench.sim2sim.cache import cache_folder
from cotrain_bench.sim2sim.demos import Demos, Request, demonstrations
from cotrain_bench.sim2sim.gaps import GAPS, Gap
from cotrain_bench.sim2sim.image_cell import study
from cotrain_bench.sim2sim.image_demos import ImageDemos, ImageRequest, image_demonstrations, kept_seeds
from cotrain_bench.sim2sim.image_policy import ImageFlowPolicy
from cotrain_bench.sim2sim.images import LOOKS, PIXELS, ImageWorld, width
from cotrain_bench.sim2sim.methods import METHODS, Setting
from cotrain_bench.sim2sim.rendering import Look, Renderer
from cotrain_bench.sim2sim.rollouts import roll_out
from cotrain_bench.sim2sim.training import Budget, frames, train
from cotrain_bench.sim2sim.world import World

import cotrain_losses as ctl
from tests.worlds import KeptImages

MOTIONS = np.random.default_rng(0).uniform(-1, 1, (12, 4))


@cache
def world(gap: str, pixels: int = PIXELS) -> ImageWorld:
    return ImageWorld("pick-place", GAPS[gap], pixels=pixels)


def moved(here: ImageWorld, seed: int = 3):
    episode = here.episode(seed)
    for motion in MOTIONS:
        episode.step(here.gap.command(motion))
    return episode


# pictures


def test_an_observation_is_both_views_the_hand_and_the_gripper():
    episode = moved(world("none"))
    seen, views = episode.observation(), episode.views()
    assert seen.shape == (width(),) and seen.dtype == np.float32
    assert views.shape == (2, 48, 48, 3) and views.dtype == np.uint8 and views.std() > 20
    np.testing.assert_array_equal(seen[:-4].reshape(views.shape), views)
    np.testing.assert_allclose(seen[-4:-1], episode.keypoints()[0], atol=1e-6)
    plain = moved(World("pick-place", Gap()))
    assert seen[-1] == np.float32(plain.observation()[-1])


def test_the_same_episode_gives_the_same_pixels_in_any_renderer_closed_or_alive():
    with ImageWorld("pick-place", GAPS["none"]) as first:
        once = moved(first).views()
    with ImageWorld("pick-place", GAPS["none"]) as second, ImageWorld("pick-place", GAPS["visual"]) as other:
        moved(other).views()
        np.testing.assert_array_equal(moved(second).views(), once)
    np.testing.assert_array_equal(moved(world("none")).views(), once)


@pytest.mark.parametrize("pixels", [48, 160])
@pytest.mark.parametrize("gap", ["none", "visual", "hard"])
@pytest.mark.parametrize(("point", "geoms"), [(3, ["objGeom"]), (1, ["rightpad_geom", "rightclaw_it"])])
def test_a_thing_is_drawn_where_its_keypoint_is_projected(gap, pixels, point, geoms):
    here = KeptImages("pick-place", GAPS[gap], pixels=pixels)
    episode, model = moved(here), here.env.model
    plain, was = episode.views().astype(int), (model.geom_rgba.copy(), model.geom_matid.copy())
    ids = [model.geom(name).id for name in geoms]
    model.geom_rgba[ids], model.geom_matid[ids] = (0, 1, 0, 1), -1
    painted = episode.views().astype(int)
    model.geom_rgba[:], model.geom_matid[:] = was
    centre = np.mean([here.latest.data.geom(name).xpos for name in geoms], axis=0)
    near = episode.keypoints()[point]
    assert np.linalg.norm(centre - near) < 0.06
    for camera, before, after in zip(here.cameras, plain, painted, strict=True):
        rows, columns = (np.abs(after - before).max(-1) > 20).nonzero()
        assert len(rows)
        x, y = camera.project(centre[None])[0]
        assert abs(columns.mean() + 0.5 - (1 + x) * pixels / 2) < 1 + 0.01 * pixels
        assert abs(rows.mean() + 0.5 - (1 - y) * pixels / 2) < 1 + 0.01 * pixels


def test_only_the_gaps_that_are_to_be_seen_change_the_picture():
    assert set(LOOKS) == {name for name, gap in GAPS.items() if {k[:6] for k in gap.differences()} & {"camera"}}
    source = world("none").episode(3).views()
    np.testing.assert_array_equal(world("control").episode(3).views(), source)
    assert np.abs(world("visual").episode(3).views().astype(int) - source).mean() > 10


def test_permuted_colours_permute_the_channels_and_half_the_light_halves_every_lit_pixel():
    def seen(look: Look):
        with ImageWorld("pick-place", Gap(), look) as here:
            return here.episode(3).views().astype(float)

    np.testing.assert_allclose(seen(Look(colours=(1, 2, 0))), seen(Look())[..., [1, 2, 0]], atol=1.0)
    bright, dim, sky = seen(Look(light=0.4)), seen(Look(light=0.2)), seen(Look(light=0.0)) > 0  # the sky is not lit
    lit = (bright > 40) & ~sky
    assert lit.mean() > 0.3 and sky.mean() < 0.3
    np.testing.assert_allclose(dim[lit] / bright[lit], 0.5, atol=0.03)


def test_a_closed_world_says_so():
    with ImageWorld("pick-place", Gap()) as here:
        episode = here.episode(0)
    with pytest.raises(RuntimeError, match=r"draws until it is closed, and this one is\. Make another world"):
        episode.observation()


# OpenGL

WITHOUT_GL = """
import mujoco
from cotrain_bench.results import CannotContinue
from cotrain_bench.sim2sim.rendering import Renderer
try:
    Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8)
except CannotContinue as error:
    print(error)
"""


def test_a_missing_gl_library_is_one_sentence_with_its_package(tmp_path):
    there = {**os.environ, "MUJOCO_GL": "egl", "__EGL_VENDOR_LIBRARY_FILENAMES": str(tmp_path / "none.json")}
    ran = subprocess.run([sys.executable, "-c", WITHOUT_GL], env=there, capture_output=True, text=True, check=True)
    (line,) = ran.stdout.splitlines()
    assert "MUJOCO_GL=egl did not start" in line
    assert "apt-get install libegl1 libgl1-mesa-dri, or apt-get install libosmesa6 and set MUJOCO_GL=osmesa." in line


def test_an_unknown_mujoco_gl_is_named(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(CannotContinue, match="MUJOCO_GL set to egl or osmesa, got 'glfw'"):
        Renderer(world("none").env.model, 8)


# demonstrations


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as threads:
        yield threads


def test_drawn_demonstrations_are_the_recorded_ones_seen(executor):
    request, said = ImageRequest(Request("pick-place", GAPS["visual"], seed=5, count=2), LOOKS["visual"], 16), []
    drawn = image_demonstrations(request, executor, report=said.append)
    plain = demonstrations(request.demos, None)
    np.testing.assert_array_equal(drawn.demos.commands, plain.commands)
    assert drawn.views.shape == (len(plain.commands), 2, 16, 16, 3) and drawn.views.dtype == np.uint8
    with ImageWorld("pick-place", GAPS["visual"], LOOKS["visual"], 16) as here:
        for k, seed in enumerate(kept_seeds(request.demos, plain)):
            start = here.episode(seed)
            np.testing.assert_array_equal(drawn.views[plain.lengths[:k].sum()], start.views())
    again = image_demonstrations(request, None, report=said.append)  # no executor: from the file
    np.testing.assert_array_equal(again.views, drawn.views)
    (file,) = cache_folder().glob("images-*")
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    np.testing.assert_array_equal(image_demonstrations(request, executor, report=said.append).views, drawn.views)
    assert said == [f"{file} is damaged and not used; its demonstrations are made again."]


def test_seeds_that_failed_are_passed_over():
    request, here = Request("pick-place", Gap(), seed=3, count=2), World("pick-place", Gap())
    starts = np.array([here.episode(seed).observation() for seed in (4, 7)], np.float32)
    demos = Demos(starts, np.zeros((2, 4), np.float32), np.array([1, 1]), tried=6, expert=1.0)
    assert kept_seeds(request, demos) == [4, 7]


def test_every_setting_of_an_image_request_changes_its_key():
    request = ImageRequest(Request("pick-place", Gap(), seed=5, count=2))
    for change in ({"demos": replace(request.demos, seed=6)}, {"look": Look(light=0.5)}, {"pixels": 32}):
        assert replace(request, **change).key() != request.key()


# policy


def drawn_demos(seed: int, n: int, pixels: int) -> Demos:
    """Pictures of a bright square whose place in both views is the command."""
    draws = np.random.default_rng(seed)
    places = draws.integers(0, pixels - 4, (n, 2))
    views = np.zeros((n, 2, pixels, pixels, 3), np.uint8)
    for view, (row, column) in zip(views, places, strict=True):
        view[:, row : row + 4, column : column + 4] = 255
    commands = np.concatenate([places / pixels - 0.5, np.zeros((n, 2))], axis=1).astype(np.float32)
    plain = Demos(np.zeros((n, 25), np.float32), commands, np.ones(n, int), n, 1.0)
    return ImageDemos(views, np.zeros((n, 4), np.float32), plain).seen()


def policy_loss(policy: ImageFlowPolicy, observations: torch.Tensor, actions: torch.Tensor) -> float:
    torch.manual_seed(1)
    with torch.no_grad():
        return float(policy.compute_loss({"observations": observations, "actions": actions}))


def test_the_views_reach_their_convolutions_as_they_were_drawn():
    policy, seen = ImageFlowPolicy(4), []
    for view in policy.encoder.views:
        view.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    episode = world("none").episode(3)
    first, before = episode.observation(), episode.views()
    episode.step(MOTIONS[0])
    policy.encode(torch.from_numpy(np.stack([first, episode.observation()]))[None])
    for k, given in enumerate(seen):
        expected = np.concatenate([before[k], episode.views()[k]], axis=-1).transpose(2, 0, 1) / 255 - 0.5
        np.testing.assert_allclose(given[0], expected, atol=1e-6)


def test_half_precision_keeps_every_pixel():
    demos = drawn_demos(0, 3, 16)
    assert demos.observations.dtype == np.float16
    levels = ImageDemos(np.arange(256, dtype=np.uint8).reshape(1, 1, 1, 1, 256), np.zeros((1, 4), np.float32), demos)
    np.testing.assert_array_equal(levels.seen().observations[0, :-4], np.arange(256))


@pytest.mark.parametrize("method", [ctl.recipes.cotraining(0.5), ctl.recipes.cfg_adda(128, ratio=0.5)])
def test_the_loss_falls_in_a_few_dozen_steps_and_the_policy_reads_the_picture(method):
    data = frames(drawn_demos(0, 64, 16), drawn_demos(1, 64, 16))
    torch.manual_seed(0)
    policy = ImageFlowPolicy(4, pixels=16)
    policy.fit_normalizer(data.observations[:, -1], data.actions[:, 0])
    cotrain = ctl.CoTrain(policy, method, seam=policy.seam, loss="compute_loss")
    optimizer = torch.optim.AdamW([*policy.parameters(), *cotrain.plugin_parameters()], 1e-3)
    losses = []
    for step in range(60):
        rows = torch.randperm(128)[:64].tolist()
        found = cotrain(data[rows], domain=data.is_target[rows], step=step)
        optimizer.zero_grad()
        found.total.backward()
        optimizer.step()
        losses.append(float(found.policy))
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    seen, actions = data.observations, data.actions
    own, others = (policy_loss(policy, pictures, actions) for pictures in (seen, seen.roll(1, 0)))
    assert own < 0.95 * others
    assert all(p.grad.abs().sum() > 0 for view in policy.encoder.views for p in view.parameters())


def test_episodes_of_pictures_roll_out_like_any_other():
    here = world("visual", 16)
    here.task = replace(here.task, horizon=16)
    policy = ImageFlowPolicy(4, pixels=16).eval()
    found = roll_out(policy.predict_action, here, [1, 2], seed=0, watched=1)
    assert found.steps == [16, 16] and math.isfinite(found.paths[0].sum())


# cells


def test_the_study_is_four_methods_on_five_pairs_that_share_their_demonstrations():
    cells = study()
    assert len({(cell.method, cell.seed) for cell in cells}) == len(cells) == 20
    one, other = replace(cells[0], method="adda"), replace(cells[0], method="cfg_adda")
    assert one.image_requests() == other.image_requests() and one.key() != other.key()
    assert one.key() != replace(one, pixels=32).key()
    looks = {name: request.look for name, request in one.image_requests().items()}
    assert looks["source"] == looks["fresh_source"] == Look() != looks["target"] == looks["fresh_target"]


def test_a_cell_of_images_trains_its_policy_and_meets_its_own_world():
    cell = replace(study()[-1], pixels=16, budget=Budget(steps=3, batch_size=8))
    data = frames(drawn_demos(0, 8, 16), drawn_demos(1, 40, 16))
    method = METHODS[cell.method](Setting(128, cell.ratio, 3))
    trained = train(data, method, cell.budget, seed=cell.seed, policy=cell.policy)
    assert isinstance(trained.policy, ImageFlowPolicy) and math.isfinite(trained.loss)
    here = cell.world()
    assert here is replace(cell, method="adda").world() and here.gap == GAPS[cell.gap]
    seen = torch.from_numpy(here.episode(0).observation()).expand(1, 2, -1)
    assert trained.policy.predict_action(seen).shape == (1, 8, 4)
