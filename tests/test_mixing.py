"""The sampler: exact shares, epochs, ranks, workers, and where it goes on."""

from __future__ import annotations

import itertools
import math
import pickle

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from cotrain_losses.mixing import MixedBatchSampler
from tests.drawn import seeds
from tests.masks import batch_sizes, mask, ratios, target_counts

filled = st.integers(1, 40)


# --- the sampler ---


@given(filled, filled, batch_sizes, ratios, seeds)
def test_batches_are_full_and_of_the_floor_or_ceiling_share(n, m, size, ratio, seed):
    assume(math.ceil(max(n, m) / size) < 40 or 0.01 < ratio < 0.99)
    is_target = mask(n, m)
    sampler = MixedBatchSampler(is_target, size, ratio, seed=seed)
    batches = list(itertools.islice(sampler, 50))
    assert all(len(batch) == size for batch in batches)
    for count in target_counts(batches, is_target):
        assert math.floor(size * ratio - 1e-9) <= count <= math.ceil(size * ratio + 1e-9)


@given(filled, filled, batch_sizes, st.floats(0.05, 0.95), seeds, st.integers(0, 3))
def test_an_epoch_passes_the_larger_side_once(n, m, size, ratio, seed, epoch):
    assume(n != m)
    is_target = mask(n, m)
    larger, share = (is_target, ratio) if n > m else (~is_target, 1 - ratio)
    sampler = MixedBatchSampler(is_target, size, ratio, seed=seed)
    sampler.set_epoch(epoch)
    drawn = [i for batch in sampler for i in batch if larger[i]]
    first_pass = drawn[: max(n, m)]
    assert len(sampler) == math.ceil(round(max(n, m) / (size * share), 9))
    assert len(drawn) < max(n, m) + size + 1
    # within a batch the order is shuffled, so the pass is compared as the frames of its whole batches
    assert len(set(drawn)) == max(n, m) and len(set(first_pass)) >= max(n, m) - size


@given(filled, filled, batch_sizes, st.floats(0.05, 0.95), seeds)
def test_no_frame_of_the_smaller_side_comes_twice_more_than_another_also_across_epochs(n, m, size, ratio, seed):
    assume(n < m)
    is_target = mask(n, m)
    sampler = MixedBatchSampler(is_target, size, ratio, seed=seed)
    times = torch.zeros(n + m, dtype=torch.long)
    for _ in range(3):
        for batch in sampler:
            times += torch.bincount(torch.tensor(batch), minlength=n + m)
            assert times[is_target].max() - times[is_target].min() <= 1


def test_epochs_and_seeds_shuffle_anew():
    is_target = mask(5, 60)
    sampler, other = MixedBatchSampler(is_target, 8, 0.2), MixedBatchSampler(is_target, 8, 0.2, seed=1)
    first, second = list(sampler), list(sampler)
    assert first != second and first != list(other)
    sampler.set_epoch(0)
    assert list(sampler) == first


@given(filled, filled, batch_sizes, st.floats(0.05, 0.95), seeds, st.integers(0, 60))
def test_resuming_at_any_batch_draws_what_the_unbroken_run_would(n, m, size, ratio, seed, start):
    is_target = mask(n, m)
    make = lambda **options: MixedBatchSampler(is_target, size, ratio, seed=seed, **options)
    whole = make()
    unbroken = list(itertools.islice(itertools.chain.from_iterable(itertools.repeat(whole)), start + 5))
    resumed = make(start=start)
    again = list(itertools.islice(itertools.chain.from_iterable(itertools.repeat(resumed)), 5))
    assert again == unbroken[start:]
    assert make().batch(start) == unbroken[start]


def test_naming_the_epoch_that_is_next_keeps_the_start():
    is_target = mask(4, 40)
    whole = MixedBatchSampler(is_target, 8, 0.25)
    batches = [batch for _ in range(3) for batch in whole]
    start = len(whole) + 2
    resumed = MixedBatchSampler(is_target, 8, 0.25, start=start)
    seen = []
    for epoch in range(resumed.epoch, 3):
        resumed.set_epoch(epoch)
        seen += list(resumed)
    assert seen == batches[start:]
    resumed.set_epoch(1, start=3)
    assert next(iter(resumed)) == batches[len(whole) + 3]


def test_an_iterator_left_early_disturbs_nothing():
    is_target = mask(4, 40)
    sampler, untouched = MixedBatchSampler(is_target, 8, 0.25), MixedBatchSampler(is_target, 8, 0.25)
    next(iter(sampler))
    sampler.set_epoch(0)
    assert list(sampler) == list(untouched)


@given(st.integers(1, 5), filled, filled, st.integers(1, 9), st.floats(0.05, 0.95), seeds)
def test_ranks_share_one_global_batch_of_the_exact_share(world, n, m, size, ratio, seed):
    is_target = mask(n, m)
    ranks = [MixedBatchSampler(is_target, size, ratio, seed=seed, rank=r, world_size=world) for r in range(world)]
    alone = MixedBatchSampler(is_target, size * world, ratio, seed=seed)
    for whole, *parts in itertools.islice(zip(alone, *ranks, strict=True), 12):
        assert sorted(whole) == sorted(i for part in parts for i in part)
        assert {len(part) for part in parts} == {size}
        held = target_counts(parts, is_target)
        assert max(held) - min(held) <= 1


def test_the_odd_target_row_visits_every_rank():
    is_target = mask(10, 400)
    ranks = [MixedBatchSampler(is_target, 4, 0.25 / 4, rank=r, world_size=4) for r in range(4)]
    held = torch.tensor([target_counts(list(rank), is_target) for rank in ranks])
    assert (held.sum(0) == 1).all() and (held.sum(1) > held.sum() // 5).all()


def test_workers_draw_the_same_batches_as_the_main_process():
    is_target, data = mask(6, 50), torch.arange(56)
    make = lambda: MixedBatchSampler(is_target, 8, 0.3, seed=3)
    loader = DataLoader(data, batch_sampler=make(), num_workers=2)
    alone = make()
    for _ in range(2):
        assert [batch.tolist() for batch in loader] == list(alone)
    assert len(loader) == len(alone)


def test_a_pickled_sampler_goes_on_alike():
    sampler = MixedBatchSampler(mask(6, 50), 8, 0.3, seed=3)
    next(iter(sampler))
    copy = pickle.loads(pickle.dumps(sampler))
    assert list(copy) == list(sampler)


@pytest.mark.parametrize(("ratio", "passed"), [(0.0, 50), (1.0, 6)])
def test_at_ratio_zero_and_one_only_one_side_is_drawn_and_passed_once(ratio, passed):
    is_target = mask(6, 50)
    drawn = [i for batch in MixedBatchSampler(is_target, 2, ratio) for i in batch]
    assert len(drawn) == len(set(drawn)) == passed
    assert is_target[drawn].unique().tolist() == [bool(ratio)]


def test_at_a_ratio_below_one_row_a_batch_the_target_comes_in_every_so_often():
    is_target = mask(5, 1000)
    counts = target_counts(list(MixedBatchSampler(is_target, 8, 0.01)), is_target)
    assert set(counts) == {0, 1} and abs(sum(counts) - 8 * 0.01 * len(counts)) < 1


def test_one_frame_may_be_drawn_many_times_in_a_batch():
    is_target = torch.tensor([True] + [False] * 9)
    assert target_counts(list(MixedBatchSampler(is_target, 10, 0.7)), is_target) == [7, 7, 7]


@pytest.mark.parametrize("rows", [10**7 + 1, 10**18])
def test_a_batch_of_absurd_size_is_refused_at_once(rows):
    with pytest.raises(ValueError, match="batch_size counts the rows of a step"):
        MixedBatchSampler(torch.arange(60) >= 50, rows, 0.25)
