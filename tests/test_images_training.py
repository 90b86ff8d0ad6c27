"""Demonstrations seen in pictures, the policy that learns from them, and its cells."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from cotrain_bench.sim2sim.augment import AugmentedEncoder
from cotrain_bench.sim2sim.batches import Budget
from cotrain_bench.sim2sim.demos import Demos, Request, cache_folder, demonstrations
from cotrain_bench.sim2sim.evaluation import roll_out
from cotrain_bench.sim2sim.frames import frames
from cotrain_bench.sim2sim.gaps import GAPS, Gap
from cotrain_bench.sim2sim.image_cell import AUGMENTED, study
from cotrain_bench.sim2sim.images import (
    LOOKS,
    ImageDemos,
    ImageRequest,
    ImageWorld,
    image_demonstrations,
    kept_seeds,
)
from cotrain_bench.sim2sim.methods import METHODS, Setting
from cotrain_bench.sim2sim.policy import ImageFlowPolicy
from cotrain_bench.sim2sim.rendering import Look
from cotrain_bench.sim2sim.training import train
from cotrain_bench.sim2sim.world import World

import cotrain_losses as ctl
from tests.pictures import MOTIONS, world

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
    zeros = np.zeros((2, 6, 3), np.float32), np.zeros((2, 4), np.float32)
    demos = Demos(starts, *zeros, np.array([1, 1]), tried=6, expert=1.0)
    assert kept_seeds(request, demos) == [4, 7]


def test_every_setting_of_an_image_request_changes_its_key():
    request = ImageRequest(Request("pick-place", Gap(), seed=5, count=2))
    for change in (
        {"demos": replace(request.demos, seed=6)},
        {"look": Look(light=0.5)},
        {"pixels": 32},
        {"max_yaw": 9.0},
        {"camera_seed": 1},
    ):
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
    plain = Demos(np.zeros((n, 28), np.float32), np.zeros((n, 6, 3), np.float32), commands, np.ones(n, int), n, 1.0)
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


def test_a_policy_that_was_trained_on_changed_pictures_sees_them_as_they_are_later():
    data = frames(drawn_demos(0, 16, 16), drawn_demos(1, 16, 16))
    policy = train(data, ctl.recipes.cotraining(0.5), Budget(steps=2, batch_size=8), seed=0, policy=AUGMENTED).policy
    assert isinstance(policy.encoder, AugmentedEncoder)
    assert torch.equal(policy.encode(data.observations), policy.encode(data.observations))


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
    looks = {name: request.look for name, request in replace(one, unlabelled=2).image_requests().items()}
    assert looks["source"] == looks["fresh_source"] == Look() != LOOKS["visual-control"]
    assert {looks[name] for name in ("target", "fresh_target", "unlabelled")} == {LOOKS["visual-control"]}


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
