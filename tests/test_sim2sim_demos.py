"""Demonstrations, what a cell may change in them, and the frames that a policy is given."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from cotrain_bench.results import CannotContinue
from cotrain_bench.sim2sim.batches import Batches, Budget, HeldOut
from cotrain_bench.sim2sim.columns import as_told, labelled, normalised
from cotrain_bench.sim2sim.coverage import Region
from cotrain_bench.sim2sim.demos import Demos, Request, cache_folder, demonstrations
from cotrain_bench.sim2sim.frames import frames
from cotrain_bench.sim2sim.gaps import GAPS, Gap
from hypothesis import given
from hypothesis import strategies as st

from tests.cells import drawn

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


@pytest.mark.parametrize("variable", ["COTRAIN_CACHE", "XDG_CACHE_HOME", "HOME"])
def test_a_cache_that_cannot_be_written_is_named_before_anything_is_recorded(variable, tmp_path, monkeypatch):
    for name in ("COTRAIN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(variable, str(tmp_path / "file" / "below"))
    rule = rf"the folder that {variable} names, got .*below.*: Not a directory\. Set COTRAIN_CACHE to another\."
    with pytest.raises(CannotContinue, match=rule):
        demonstrations(Request("pick-place", Gap(), seed=5, count=2), None)  # no executor: nothing can be recorded


def test_every_setting_of_a_request_changes_its_key():
    request = Request("pick-place", Gap(), seed=5, count=2)
    changed = [{"gap": GAPS["hard"]}, {"seed": 6}, {"count": 3}, {"noise": 0.2}]
    changed.append({"region": Region("pick-place", "half")})
    assert all(replace(request, **change).key() != request.key() for change in changed)


def test_an_expert_that_fails_its_gate_stops_the_run_with_the_gap_named(executor):
    with pytest.raises(CannotContinue, match=r"solves at least 90%.*got 0% of 10 .*'lag': 5.0.*milder gap"):
        demonstrations(Request("pick-place", Gap(lag=5.0), seed=0, count=1), executor)


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


# what a cell may change in the data


def test_a_label_is_two_columns_in_training_and_the_targets_code_in_evaluation():
    data = frames(drawn(0, [3]), drawn(1, [5, 4]))
    told = labelled(data)
    assert torch.equal(told.observations[..., :28], data.observations)
    assert torch.equal(told.observations[..., 28] == 1, (~data.is_target)[:, None].expand(-1, 2))
    assert torch.equal(told.observations[..., 28:].sum(2), torch.ones(12, 2))
    seen = as_told(lambda observations: observations)(data.observations[data.is_target])
    assert torch.equal(seen, told.observations[data.is_target])


def test_normalising_by_domain_undoes_any_shift_and_scale_of_the_source_and_leaves_the_target():
    data = frames(drawn(0, [30]), drawn(1, [40]))
    scale, shift = torch.rand(28) + 0.5, torch.randn(28)
    moved = torch.where(data.is_target[:, None, None], data.observations, data.observations * scale + shift)
    same, other = normalised(data), normalised(replace(data, observations=moved))
    torch.testing.assert_close(other.observations, same.observations, atol=1e-5, rtol=1e-4)
    assert torch.equal(same.observations[data.is_target], data.observations[data.is_target])
    now = same.observations[:, -1]
    torch.testing.assert_close(now[~data.is_target].mean(0), now[data.is_target].mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(now[~data.is_target].std(0), now[data.is_target].std(0))


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
