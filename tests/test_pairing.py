"""Pairing against dynamic time warping written as loops, and the sampler's law against its formula."""

from __future__ import annotations

import math
import re
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain_losses import OptimalTransport, Rows
from cotrain_losses.mixing.pairing import (
    AlignedPairs,
    Alignment,
    NearestByDTW,
    PairedSampler,
    alignments,
    dtw_distances,
)
from cotrain_losses.mixing.pairing.warping import warped
from tests.drawn import features, seeds, sizes
from tests.elsewhere import OneDevice
from tests.warping import dtw_by_loops, dtw_path


def trajectory(seed, frames, d=2):
    return np.cumsum(np.random.default_rng(seed).normal(size=(frames, d)), 0)


def straight(frames):
    return np.linspace(0.0, 1.0, frames)[:, None]


@settings(max_examples=10)
@given(seeds, st.lists(sizes, min_size=1, max_size=3), st.lists(sizes, min_size=1, max_size=3), st.floats(0.05, 2.0))
def test_distances_are_the_recursion_hard_and_soft_for_any_lengths(seed, lengths, other_lengths, gamma):
    x = [trajectory(seed + k, n) for k, n in enumerate(lengths)]
    y = [trajectory(seed + 100 + k, n) for k, n in enumerate(other_lengths)]
    for smoothing in (0.0, gamma):
        expected = [[dtw_by_loops(a, b, smoothing) for b in y] for a in x]
        np.testing.assert_allclose(dtw_distances(x, y, gamma=smoothing), expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=10)
@given(seeds, sizes, sizes)
def test_an_alignment_is_monotone_covers_both_sides_and_costs_its_distance(seed, n, m):
    x, y = trajectory(seed, n), trajectory(seed + 1, m)
    (found,) = alignments([x], [y], normalise=False)
    assert found.distance == pytest.approx(dtw_path(x, y)[1], rel=1e-9)
    steps = np.diff(found.path, axis=0)
    assert ((steps >= 0) & (steps <= 1)).all() and (steps.sum(1) > 0).all()
    assert found.path[0].tolist() == [0, 0] and found.path[-1].tolist() == [n - 1, m - 1]
    along = math.sqrt(sum(((x[i] - y[j]) ** 2).sum() for i, j in found.path))
    np.testing.assert_allclose([found.distance, along], dtw_by_loops(x, y), rtol=1e-9)


def test_a_normalised_distance_has_no_unit() -> None:
    x, y = trajectory(0, 7), trajectory(1, 5)
    (metres,), (millimetres,) = alignments([x], [y]), alignments([1000 * x], [1000 * y])
    np.testing.assert_allclose(metres.distance, millimetres.distance, rtol=1e-9)
    arc = max(np.linalg.norm(np.diff(t, axis=0), axis=1).sum() for t in (x, y))
    np.testing.assert_allclose(metres.distance, dtw_by_loops(x, y) / arc, rtol=1e-9)


def test_a_soft_alignment_of_a_slowed_copy_finds_the_copied_frames() -> None:
    x = trajectory(3, 5)
    (found,) = alignments([x], [np.repeat(x, 2, axis=0)], gamma=0.01)
    assert found.path.tolist() == [[k // 2, k] for k in range(10)]


def paired(window=0, sharpness=10.0, cutoff=0.1, pairs=4, seed=0, start=0):
    """Three source demonstrations of 4, 6 and 3 frames, two target ones of 5 and 2."""
    source, target = [range(4), range(4, 10), range(10, 13)], [range(13, 18), range(18, 20)]
    found = alignments([straight(4), straight(6) + 0.05, straight(3) - 0.2], [straight(5), straight(2)])
    settings = {"window": window, "sharpness": sharpness, "cutoff": cutoff, "seed": seed, "start": start}
    return found, source, target, PairedSampler(found, source, target, pairs, **settings)


def test_rows_of_a_batch_are_matched_frames_source_half_first() -> None:
    found, source, target, sampler = paired()
    matches = {(source[a.source][i], target[a.target][j]) for a in found for i, j in a.path}
    for batch in sampler:
        assert len(batch) == 8 and set(zip(batch[:4], batch[4:], strict=True)) <= matches


def test_an_epoch_passes_every_target_frame_once() -> None:
    *_, sampler = paired(pairs=3)
    drawn = [index for k in range(7) for index in sampler.batch(k)[3:]]
    assert sorted(drawn) == sorted(3 * list(range(13, 20)))


def test_demonstrations_are_drawn_by_the_sigmoid_of_their_distance_within_standard_errors() -> None:
    found, _, _, sampler = paired(pairs=500)
    here = [a for a in found if a.target == 0]
    weight = [1.0 / (1.0 + math.exp(10.0 * (a.distance - 0.1))) for a in here]
    expected = np.array(weight) / sum(weight)
    np.testing.assert_allclose(sampler.probabilities[0], expected, rtol=1e-12)
    rows = [s for k in range(8) for s, t in zip(sampler.batch(k)[:500], sampler.batch(k)[500:], strict=True) if t < 18]
    shares = [np.mean([s < 4 for s in rows]), np.mean([4 <= s < 10 for s in rows]), np.mean([s >= 10 for s in rows])]
    error = np.sqrt(expected * (1 - expected) / len(rows))
    assert (np.abs(shares - expected) < 4 * error).all()


def test_a_window_moves_the_matched_frame_uniformly_and_stays_inside_the_demonstration() -> None:
    path = np.stack([np.arange(40), np.arange(40)], 1)
    sampler = PairedSampler([Alignment(0, 0, 0.0, path)], [range(40)], [range(40, 80)], 40, window=3)
    moved = [
        (s, s - (t - 40)) for k in range(50) for s, t in zip(*np.split(np.array(sampler.batch(k)), 2), strict=True)
    ]
    inside = [step for s, step in moved if 6 < s < 34]
    assert set(inside) == {-3, -2, -1, 0, 1, 2} and all(0 <= s < 40 for s, _ in moved)
    error = 4 * math.sqrt(1 / 6 * 5 / 6 / len(inside))
    assert all(abs(inside.count(step) / len(inside) - 1 / 6) < error for step in range(-3, 3))


def test_no_sharpness_and_no_window_is_unpaired() -> None:
    *_, sampler = paired(window=None, sharpness=0.0, pairs=700)
    np.testing.assert_allclose(sampler.probabilities[1], [1 / 3] * 3)
    rows = [(s, t) for k in range(10) for s, t in zip(*np.split(np.array(sampler.batch(k)), 2), strict=True)]
    assert {s for s, t in rows if t == 13} == set(range(13))


def test_far_demonstrations_keep_their_order_where_the_sigmoid_underflows() -> None:
    path = np.array([[0, 0]])
    far = [Alignment(k, 0, 1000.0 + k, path) for k in range(2)]
    np.testing.assert_allclose(PairedSampler(far, [[0], [1]], [[2]], 1).probabilities[0], [1.0, 0.0], atol=1e-4)


def test_a_batch_is_a_function_of_its_number_so_a_run_resumes_anywhere() -> None:
    whole = list(paired(window=2)[3])
    assert list(paired(window=2, start=1)[3]) == whole[1:]
    assert list(paired(window=2, seed=1)[3]) != whole
    *_, sampler = paired(window=2)
    first, second = list(sampler), list(sampler)
    assert first == whole and second == [sampler.batch(k) for k in range(len(whole), 2 * len(whole))]


@settings(max_examples=10)
@given(seeds, sizes, sizes, st.floats(0.0, 1.0))
def test_the_nearest_row_by_dtw_of_each_target_row_is_discounted(seed, n, m, discount):
    x, y = torch.randn(n, 4, 2, dtype=torch.float64), torch.randn(m, 4, 2, dtype=torch.float64)
    factor = NearestByDTW(discount=discount)(Rows(x.flatten(1), {"action": x}), Rows(y.flatten(1), {"action": y}))
    expected = np.ones((n, m))
    for j in range(m):
        expected[np.argmin([dtw_by_loops(a, y[j].numpy()) for a in x.numpy()]), j] = discount
    np.testing.assert_array_equal(factor.numpy(), expected)


@settings(max_examples=20)
@given(seeds, sizes, sizes, st.integers(1, 6), st.integers(1, 5), st.sampled_from([0.0, 0.1, 2.0]))
def test_a_batch_is_warped_as_each_pair_alone_and_a_side_without_steps_is_infinitely_far(seed, n, m, h, k, gamma):
    draws = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(*shape, 2, generator=draws, dtype=torch.float64) + 100 for shape in ((n, h), (m, k)))
    ends, stops = (torch.randint(0, most + 1, (rows,), generator=draws) for rows, most in ((n, h), (m, k)))
    found = warped(x, y, ends, stops, gamma=gamma)
    for i, j in product(range(n), range(m)):
        if ends[i] == 0 or stops[j] == 0:
            assert found[i, j] == torch.inf
        else:
            alone = dtw_by_loops(x[i, : ends[i]].numpy(), y[j, : stops[j]].numpy(), gamma)
            assert float(found[i, j]) == pytest.approx(alone if gamma else alone**2, rel=1e-8, abs=1e-8)


def test_rows_without_mass_and_rows_without_a_valid_step_match_nothing() -> None:
    x, y = torch.randn(3, 4, 2), torch.randn(2, 4, 2)
    none = torch.zeros(3, 4, dtype=torch.bool)
    target = Rows(y.flatten(1), {"action": y})
    first = torch.tensor([1.0, 0.0, 0.0])
    assert NearestByDTW(discount=0.2)(Rows(x.flatten(1), {"action": x}, mass=first), target).tolist() == [
        pytest.approx([0.2, 0.2]),
        [1.0, 1.0],
        [1.0, 1.0],
    ]
    for nothing in (Rows(x.flatten(1), {"action": x}, mass=0 * first), Rows(x.flatten(1), {"action": x}, valid=none)):
        assert (NearestByDTW()(nothing, target) == 1).all()


def test_pairing_reads_nothing_on_the_host_and_mixes_no_devices() -> None:
    x, valid = torch.empty(5, 4, 2, device="meta"), torch.ones(5, 4, dtype=torch.bool, device="meta")
    extras = {"action": x, "index": torch.empty(5, dtype=torch.long, device="meta")}
    rows = Rows(x.flatten(1), extras, mass=torch.ones(5, device="meta"), valid=valid)
    aligned = AlignedPairs([Alignment(0, 0, 0.0, np.array([[0, 0]]))], [range(2)], [range(2, 4)])
    with OneDevice():
        assert NearestByDTW(gamma=0.1)(rows, rows).shape == aligned(rows, rows).shape == (5, 5)


def test_padding_changes_no_match() -> None:
    x, y = torch.randn(3, 4, 2), torch.randn(2, 4, 2)
    valid = torch.tensor([[True] * 3 + [False]] * 3), torch.tensor([[True] * 2 + [False] * 2] * 2)
    sides = [Rows(v.flatten(1), {"action": v}, valid=keep) for v, keep in ((x, valid[0]), (y, valid[1]))]
    noisy = [
        Rows(r.features, {"action": r.extras["action"].where(r.valid[..., None], torch.randn(()))}, valid=r.valid)
        for r in sides
    ]
    nans = [
        Rows(r.features, {"action": r.extras["action"].where(r.valid[..., None], torch.nan)}, valid=r.valid)
        for r in sides
    ]
    for other in (noisy, nans):
        torch.testing.assert_close(NearestByDTW()(*sides), NearestByDTW()(*other), rtol=0, atol=0)


def test_aligned_frames_are_discounted_and_a_discount_draws_mass_to_them() -> None:
    found = [Alignment(0, 0, 0.0, np.array([[0, 0], [1, 1]]))]
    pairing = AlignedPairs(found, [range(2)], [range(2, 4)], discount=0.1)
    x, y = features(0, 2, 2, 3)
    sides = Rows(x, {"index": torch.tensor([0, 1])}), Rows(y, {"index": torch.tensor([3, 2])})
    assert pairing(*sides).tolist() == [[1.0, 0.1], [0.1, 1.0]]
    plain, drawn = (OptimalTransport(1.0, pairing=p).coupling(*sides).plan for p in (None, pairing))
    assert drawn[0, 1] > plain[0, 1] and drawn[1, 0] > plain[1, 0]


@pytest.mark.parametrize(
    "trajectories", [[np.zeros((0, 2))], [np.full((3, 2), np.nan)], [np.zeros((3, 3))], [np.zeros(3)]]
)
def test_trajectories_that_cannot_be_aligned_are_refused(trajectories) -> None:
    with pytest.raises(ValueError, match=r"DTW aligns trajectories .* got source demonstration 0"):
        alignments(trajectories, [np.zeros((2, 2))])


def test_two_demonstrations_that_do_not_move_have_no_distance_without_a_unit() -> None:
    still, other = np.zeros((3, 2)), np.ones((2, 2))
    with pytest.raises(ValueError, match=r"source demonstration 0 and target demonstration 1, neither of which moves"):
        alignments([still], [still, other])
    same, apart = alignments([still], [still, other], normalise=False)
    assert same.distance == 0.0 < apart.distance and alignments([still], [still])[0].distance == 0.0


def test_alignments_that_do_not_fit_the_demonstrations_are_refused() -> None:
    path = np.array([[0, 0]])
    with pytest.raises(ValueError, match="matches every frame of its target"):
        PairedSampler([Alignment(0, 0, 0.0, path)], [[0]], [[1, 2]], 1)
    with pytest.raises(ValueError, match="matches every frame of its target"):
        PairedSampler([Alignment(3, 0, 0.0, path)], [[0]], [[1]], 1)
    with pytest.raises(ValueError, match="got none for target demonstration 1"):
        PairedSampler([Alignment(0, 0, 0.0, path)], [[0]], [[1], [2]], 1)


def test_settings_and_extras_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"discount .* lies in \[0, 1\], got 2"):
        NearestByDTW(discount=2.0)
    for refused in (lambda: NearestByDTW(gamma=-1.0), lambda: dtw_distances([], [], gamma=float("inf"))):
        with pytest.raises(ValueError, match="gamma smooths soft-DTW and is at least 0"):
            refused()
    with pytest.raises(ValueError, match="at least one pair"):
        PairedSampler([], [], [], 0)
    rows = Rows(torch.zeros(2, 3), {"action": torch.zeros(2, 3)})
    with pytest.raises(ValueError, match=r"reads rows.extras\['state'\]"):
        NearestByDTW("state")(rows, rows)
    with pytest.raises(ValueError, match=r"shape \(rows, steps, width\), got \(2, 3\)"):
        NearestByDTW()(rows, rows)


def test_without_tslearn_the_extra_that_brings_it_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tslearn", None)
    with pytest.raises(ModuleNotFoundError, match=re.escape("cotrain-losses[dtw]")):
        dtw_distances([np.zeros((2, 1))], [np.zeros((2, 1))])


def test_the_example_of_the_reference_aligns_a_demonstration_with_one_twice_as_fast(capsys) -> None:
    page = (Path(__file__).parent.parent / "docs" / "reference" / "mixing.md").read_text()
    exec(re.search(r"```py\n(.*?)```", page, re.S).group(1), {})
    assert "[[0, 0], [1, 0], [2, 1], [3, 1], [4, 2]]" in capsys.readouterr().out
