"""Mixing: exact shares, nothing repeated too early, resuming, and the paper's guideline."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from drawn import seeds
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from cotrain_losses.mixing import MixedBatchSampler, crossing_ratio, natural_ratio, ratio_range, ratio_weights
from cotrain_losses.mixing.domains import Domains
from cotrain_losses.mixing.rounding import ONE, Counts, floor_sum

ratios = st.sampled_from([0.0, 0.016, 0.1, 1 / 3, 0.5, 0.9, 1.0]) | st.floats(0, 1)
batch_sizes = st.integers(1, 17)
filled = st.integers(1, 40)
three = st.lists(st.integers(1, 9), min_size=3, max_size=3).map(lambda parts: [p / sum(parts) for p in parts])


def mask(n_target: int, n_source: int, seed: int = 0) -> torch.Tensor:
    """A shuffled mask: target frames lie anywhere in the dataset."""
    order = torch.randperm(n_target + n_source, generator=torch.Generator().manual_seed(seed))
    return (torch.arange(n_target + n_source) < n_target)[order]


def target_counts(batches: list[list[int]], is_target: torch.Tensor) -> list[int]:
    return [int(is_target[batch].sum()) for batch in batches]


# --- rounding ---


@given(st.integers(0, 60), st.integers(1, 50), st.integers(0, 200), st.integers(0, 200))
def test_floor_sum_is_the_sum_of_floors(n, m, a, b):
    assert floor_sum(n, m, a, b) == sum((a * i + b) // m for i in range(n))


@given(three, batch_sizes, st.integers(0, ONE - 1), st.integers(0, 40))
def test_rows_before_a_batch_are_the_counts_of_all_earlier_batches_summed(shares, rows, phase, number):
    counts = Counts(shares, rows, phase)
    expected = np.sum([counts.of(k) for k in range(number)], axis=0) if number else np.zeros(3)
    assert counts.before(number) == expected.tolist()


@given(three, batch_sizes, st.integers(0, ONE - 1))
def test_every_batch_holds_the_floor_or_the_ceiling_and_sums_to_its_size(shares, rows, phase):
    counts = Counts(shares, rows, phase)
    for number in (0, 1, 2, 10**9):
        found = counts.of(number)
        assert sum(found) == rows
        assert all(
            math.floor(rows * s - 1e-9) <= c <= math.ceil(rows * s + 1e-9) for c, s in zip(found, shares, strict=True)
        )


@given(three, batch_sizes)
def test_the_expected_share_is_exact(shares, rows):
    phases = np.linspace(0, ONE, 1000, endpoint=False).astype(np.int64)  # midpoint rule over U: error below 2 / 1000
    mean = np.mean([Counts(shares, rows, int(phase)).of(3) for phase in phases], axis=0)
    np.testing.assert_allclose(mean, rows * np.array(shares), atol=2e-3)


@given(three, batch_sizes, st.integers(0, ONE - 1), st.integers(1, 3000))
def test_counts_summed_over_batches_stay_near_their_expectation(shares, rows, phase, number):
    deviation = np.abs(np.array(Counts(shares, rows, phase).before(number)) - number * rows * np.array(shares))
    assert deviation.max() < 2 + math.log2(number)  # the golden angle's discrepancy; independent draws would give sqrt


@given(ratios, batch_sizes, st.integers(0, ONE - 1), st.integers(0, 10**6))
def test_with_two_domains_every_prefix_is_within_one_row(ratio, rows, phase, number):
    _, drawn = Counts([1 - ratio, ratio], rows, phase).before(number)
    assert abs(drawn - number * rows * ratio) < 1 + 1e-3


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


# --- domains ---


@given(three, seeds)
def test_named_domains_get_their_shares(shares, seed):
    names = ("real", "sim_a", "sim_b")
    labels = torch.arange(60) % 3
    sampler = MixedBatchSampler(labels, 12, dict(zip(names, shares, strict=True)), domains=names, seed=seed)
    for batch in sampler:
        counts = torch.bincount(labels[batch], minlength=3).tolist()
        assert all(abs(c - 12 * s) < 1 + 1e-9 for c, s in zip(counts, shares, strict=True))


def test_integers_names_and_masks_say_the_same():
    labels = torch.tensor([0, 1, 1, 0, 1])
    by_name = ["real" if label == 0 else "sim" for label in labels]
    settings = {"batch_size": 5, "ratio": 0.4, "target": "real"}
    batches = [
        list(MixedBatchSampler(domain, domains=("real", "sim"), **settings))
        for domain in (labels, by_name, labels == 0)
    ]
    assert batches[0] == batches[1] == batches[2] == list(MixedBatchSampler(np.array(by_name), **settings))
    assert all((labels[batch] == 0).sum() == 2 for batch in batches[0])


def test_one_number_with_several_sources_lets_them_share_by_size():
    labels = torch.tensor([0] * 5 + [1] * 30 + [2] * 10)
    sampler = MixedBatchSampler(labels, 20, 0.2, domains=("real", "a", "b"), target="real")
    assert sampler.share == pytest.approx({"real": 0.2, "a": 0.6, "b": 0.2})


def test_the_realised_share_and_the_passes_are_what_was_drawn():
    is_target = mask(7, 90)
    sampler = MixedBatchSampler(is_target, 10, 0.13, seed=5)
    counts = target_counts(list(sampler), is_target)
    assert sampler.realised()["target"] == pytest.approx(sum(counts) / (10 * len(counts)), abs=1e-12)
    assert sampler.realised(3)["target"] == pytest.approx(sum(counts[:3]) / 30, abs=1e-12)
    assert sampler.passes()["target"] == pytest.approx(sum(counts) / 7, abs=1 / 7)
    assert "0.13 of target (7 frames)" in repr(sampler)


@pytest.mark.parametrize("names", [("source", "target"), ("real", "sim"), ("sim", "real"), ("b", "target", "c")])
def test_every_form_of_a_label_is_read_as_the_same_domain_everywhere(names):
    target = "target" if "target" in names else "real"
    positions = [k * 5 % 7 % len(names) for k in range(12)]
    domains = Domains.named(names, target)
    text, numbers = [names[k] for k in positions], torch.tensor(positions)
    forms = [positions, numbers, numbers.to(torch.uint8), numbers.numpy(), [np.int64(k) for k in positions]]
    forms += [list(numbers), text, np.array(text), np.array(text, dtype=object), tuple(text)]
    if len(names) == 2:
        is_target = [name == target for name in text]
        forms += [is_target, torch.tensor(is_target), np.array(is_target), np.array(is_target, dtype=object)]
    for form in forms:
        assert domains.labels(form).tolist() == positions and domains.labels(form).dtype == torch.long
        assert domains.is_target(domains.labels(form)).tolist() == [name == target for name in text]
        sampler = MixedBatchSampler(form, 5, 0.4, domains=names, target=target)
        assert sampler.sizes == domains.counts(numbers) and sampler.ratio[target] == 0.4


@pytest.mark.parametrize("number", [np.float32(0.25), np.float64(0.25), np.array(0.25), torch.tensor(0.25)])
def test_numbers_of_numpy_and_torch_are_numbers(number):
    sampler = MixedBatchSampler(mask(10, 90), torch.tensor(8), number, seed=np.int64(3))
    assert list(sampler) == list(MixedBatchSampler(mask(10, 90), 8, 0.25, seed=3))


# --- weights and ratios ---


@given(st.floats(0, 1), st.floats(0.05, 0.95), seeds)
def test_weights_restore_the_ratio_of_any_share_exactly_on_full_batches(ratio, share, seed):
    generator = torch.Generator().manual_seed(seed)
    target, source = (torch.rand(n, generator=generator, dtype=torch.float64) for n in (3, 11))
    weights = ratio_weights(torch.tensor([True, False]), ratio=ratio, share=share).double()
    drawn = share * weights[0] * target.mean() + (1 - share) * weights[1] * source.mean()
    torch.testing.assert_close(drawn, ratio * target.mean() + (1 - ratio) * source.mean(), rtol=1e-6, atol=1e-6)


def test_sampling_weighing_and_any_mix_of_both_have_the_same_expected_gradient():
    is_target, ratio, draws = mask(8, 120), 0.1, 400
    slope = torch.randn(128, dtype=torch.float64)  # each frame's own gradient
    exact = ratio * slope[is_target].mean() + (1 - ratio) * slope[~is_target].mean()
    for share in (ratio, natural_ratio(source=120, target=8), 0.5):
        sampler = MixedBatchSampler(is_target, 16, ratio, share=share)
        batches = [sampler.batch(k * 7) for k in range(draws)]
        means = torch.stack([(sampler.weights(is_target[b]).double() * slope[b]).mean() for b in batches])
        assert abs(means.mean() - exact) < 4 * means.std() / math.sqrt(draws)


def test_weights_follow_the_labels_and_what_never_counts_may_stay_undrawn():
    shares = {"a": 0.4, "b": 0.35, "c": 0.25}
    found = ratio_weights([2, 0, 2], ratio={"a": 0.2, "b": 0.3, "c": 0.5}, share=shares, domains=("a", "b", "c"))
    torch.testing.assert_close(found, torch.tensor([2.0, 0.5, 2.0]))
    torch.testing.assert_close(ratio_weights([True, False], ratio=0.0, share=0.0), torch.tensor([0.0, 1.0]))


def test_the_paper_figures_of_the_guideline():
    assert natural_ratio(source=3000, target=50) == pytest.approx(0.0164, abs=5e-5)
    assert ratio_range(source=3000, target=50) == pytest.approx((0.0164, 0.129), abs=5e-4)
    published = {0.01: 0.0909, 0.05: 0.1827, 0.1: 0.2403, 0.3: 0.3539, 0.5: 0.4142, 0.7: 0.4555, 0.9: 0.4868}
    for size_ratio, crossing in published.items():
        assert crossing_ratio(source=1000, target=round(1000 * size_ratio)) == pytest.approx(crossing, abs=5e-5)


@given(st.integers(1, 500), st.integers(1, 5000), st.floats(0.5, 0.95))
def test_the_range_lies_between_the_natural_ratio_and_a_half(n, m, q):
    lower, upper = ratio_range(source=m, target=n, contribution=q)
    assert lower <= upper + 1e-12 <= 0.5 + 1e-12
    if m <= 5 * n and upper < 0.5:  # the wanted contribution, by its definition: g_t / g_s = q / (1 - q)
        assert upper / (1 - upper) * m / n == pytest.approx(q / (1 - q))


@given(st.integers(1, 500), st.integers(1, 5000))
def test_at_the_crossing_the_target_contributes_what_the_source_is_given(n, m):
    w, rho = crossing_ratio(source=m, target=n), n / m
    assert (w / rho) / (w / rho + 1 - w) == pytest.approx(1 - w)


# --- errors ---


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: MixedBatchSampler(mask(2, 3), 4, 3.0), ValueError, 'For "3 source to 1 target" use 0.25'),
        (lambda: MixedBatchSampler(mask(0, 3), 4, 0.1), ValueError, "'target' with none and share 0.1"),
        (lambda: MixedBatchSampler(mask(3, 0), 4, 0.1), ValueError, "'source' with none"),
        (lambda: MixedBatchSampler(mask(2, 3), 4, {"real": 1.0}), ValueError, "missing: ['source', 'target']"),
        (lambda: MixedBatchSampler(mask(2, 3), 4, {"source": 0.5, "target": 0.6}), ValueError, "sum to 1, got 1.1"),
        (lambda: MixedBatchSampler([0, 1], 4, 0.5), TypeError, "domains=('real', 'sim_a', 'sim_b')"),
        (lambda: MixedBatchSampler([0, 3], 4, 0.5, domains=("a", "b")), ValueError, "got values from 0 to 3"),
        (lambda: MixedBatchSampler(["a", "b"], 4, 0.5), ValueError, "target='a'"),
        (lambda: MixedBatchSampler(["a", "b"], 4, 0.5, domains=("a", "c")), ValueError, "got 'b'"),
        (lambda: MixedBatchSampler(mask(1, 1), 4, 0.5, domains=("a", "b", "c")), TypeError, "a bool mask tells"),
        (lambda: MixedBatchSampler(torch.ones(2, 2), 4, 0.5), ValueError, "Flatten it"),
        (lambda: MixedBatchSampler(torch.ones(2), 4, 0.5), TypeError, "got float32"),
        (lambda: MixedBatchSampler([True, None], 4, 0.5), TypeError, "got a mixture of NoneType, bool. Label every"),
        (lambda: MixedBatchSampler(np.array([None]), 4, 0.5), TypeError, "got NoneType"),
        (lambda: MixedBatchSampler(np.array([1.0, math.nan]), 4, 0.5), TypeError, "got float64 with 1 NaN"),
        (lambda: MixedBatchSampler(["a", math.nan], 4, 0.5), TypeError, "got a mixture of float, str"),
        (lambda: MixedBatchSampler([True, 2], 4, 0.5), TypeError, "got a mixture of bool, int"),
        (lambda: MixedBatchSampler(mask(1, 1), 4, "0.5"), ValueError, "lies in [0, 1], got '0.5'"),
        (lambda: MixedBatchSampler(mask(1, 1), 4.5, 0.5), ValueError, "got batch_size=4.5. Pass int(batch_size)"),
        (lambda: MixedBatchSampler(mask(1, 1), True, 0.5), ValueError, "got batch_size=True"),
        (lambda: MixedBatchSampler(mask(1, 1), 0, 0.5), ValueError, "batch_size=0"),
        (lambda: MixedBatchSampler(mask(1, 1), 1, 0.5, rank=2, world_size=2), ValueError, "rank=2"),
        (lambda: MixedBatchSampler(mask(1, 1), 1, 0.5, start=-1), ValueError, "start is a whole number"),
        (lambda: ratio_weights([True], ratio=0.1, share=0.0), ValueError, "Draw some of it"),
        (lambda: natural_ratio(source=0, target=0), ValueError, "one in all"),
        (lambda: ratio_range(source=10, target=0), ValueError, "at least 1 of each"),
        (lambda: ratio_range(source=10, target=1, contribution=0.3), ValueError, "the paper uses 0.8"),
    ],
)
def test_what_cannot_be_mixed_is_said(make, error, says):
    with pytest.raises(error) as caught:
        make()
    assert says in str(caught.value)
