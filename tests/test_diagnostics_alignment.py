"""Distances between domains: closed forms, invariances, another library, and honest errors."""

from __future__ import annotations

import math

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings

from cotrain_losses.measures import alignment as al
from cotrain_losses.measures.neighbours import kernel_test, neighbour_mixing
from cotrain_losses.measures.sides import Side, halves, replicates
from tests.drawn import features, seeds, sizes, widths


def normal(seed: int, n: int, d: int, shift: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, d, generator=generator, dtype=torch.float64) + shift


@given(seeds, sizes, sizes, widths)
def test_exact_transport_is_that_of_pot(seed, n, m, d):
    x, y = features(seed, n, m, d)
    expected = ot.emd2([], [], ot.dist(x.numpy(), y.numpy()))
    assert al.squared_wasserstein(x, y) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(seeds, sizes)
def test_in_one_dimension_transport_and_its_sliced_form_match_quantiles(seed, n):
    x, y = features(seed, n, n, 1)
    expected = float((x.sort(0).values - y.sort(0).values).square().mean())
    assert al.squared_wasserstein(x, y) == pytest.approx(expected, rel=1e-9)
    assert al.squared_sliced(x, y) == pytest.approx(expected, rel=1e-9)


@given(seeds, sizes, sizes, widths)
def test_repeating_every_row_changes_no_transport(seed, n, m, d):
    x, y = features(seed, n, m, d)
    assert al.squared_sliced(x.repeat(3, 1), y) == pytest.approx(al.squared_sliced(x, y), rel=1e-9)
    assert al.squared_wasserstein(x.repeat(3, 1), y) == pytest.approx(al.squared_wasserstein(x, y), rel=1e-9)


@given(seeds, sizes, widths)
def test_a_pure_shift_is_read_off_exactly(seed, n, d):
    x = normal(seed, n, d)
    shift = normal(seed + 1, 1, d)
    for squared in (al.squared_wasserstein, al.squared_sliced):
        assert squared(x, x + shift) == pytest.approx(float(shift.square().sum()), rel=1e-8)


@given(seeds, sizes, sizes)
def test_transport_is_blind_to_order_common_shifts_and_rotations_and_gromov_to_separate_ones(seed, n, m):
    x, y = features(seed, n, m, 3)
    turn, other = (torch.linalg.qr(normal(seed + k, 3, 3)).Q for k in (1, 2))
    moved = al.squared_wasserstein(x.flip(0) @ turn + 7.0, y @ turn + 7.0)
    assert moved == pytest.approx(al.squared_wasserstein(x, y), rel=1e-8)
    assert al.squared_gromov(x @ turn + 7.0, y @ other) == pytest.approx(al.squared_gromov(x, y), rel=1e-5, abs=1e-9)


@settings(max_examples=5)
@given(seeds)
def test_gromov_wasserstein_of_a_turned_and_shuffled_copy_in_another_width_is_zero(seed):
    x = normal(seed, 12, 3)
    copy = torch.cat([x.flip(0) @ torch.linalg.qr(normal(seed + 1, 3, 3)).Q, torch.zeros(12, 2)], 1)
    assert al.squared_gromov(x, copy) < 1e-9
    assert al.squared_gromov(x, 3 * copy) > 0.1


@pytest.mark.parametrize("d", [2, 64])
def test_a_known_distance_between_gaussians_lies_within_the_stated_error(d):
    """N(0, I) and N(mu, s^2 I): W^2 = |mu|^2 + d (1 - s)^2, in units of sqrt(d (1 + s^2) / 2)."""
    for scale in (1.0, 1.5):
        x, y = normal(0, 500, d), normal(1, 500, d, 2 / math.sqrt(d), scale)
        unit = math.sqrt(d * (1 + scale**2) / 2)
        known = math.sqrt(4 + d * (1 - scale) ** 2) / unit
        drawn = list(replicates(Side.of("s", x), Side.of("t", y), rows=250, repeats=6))
        for squared in (al.squared_wasserstein, al.squared_sliced):
            found = al.estimate(squared, drawn, unit=al.pooled_spread(x, y))
            assert found.interval[0] <= known <= found.interval[1]


def test_a_debiased_shift_is_right_in_high_dimension_where_the_plain_distance_is_not():
    """d = 256, n = 200: two samples of one distribution are already farther apart than the shift."""
    x, y = normal(2, 400, 256), normal(3, 400, 256, 4 / 16)
    drawn = list(replicates(Side.of("s", x), Side.of("t", y), rows=200, repeats=6))
    found = al.estimate(al.squared_wasserstein, drawn)
    assert found.value > 16
    assert found.debiased_interval[0] <= 4.0 <= found.debiased_interval[1]
    assert found.debiased == pytest.approx(4.0, abs=1.0)


def test_identical_distributions_are_one_split_half_apart():
    drawn = list(replicates(Side.of("s", normal(4, 300, 5)), Side.of("t", normal(5, 300, 5)), rows=150, repeats=6))
    assert al.estimate(al.squared_wasserstein, drawn).multiple == pytest.approx(1.0, abs=0.06)


@given(seeds, sizes, sizes)
def test_an_overall_scale_leaves_distances_in_spreads(seed, n, m):
    x, y = features(seed, n + 2, m + 2, 3)

    def value(scale):
        drawn = list(replicates(Side.of("s", scale * x), Side.of("t", scale * y), rows=9, repeats=2))
        return al.estimate(al.squared_wasserstein, drawn, unit=al.pooled_spread(scale * x, scale * y)).value

    assert value(1000.0) == pytest.approx(value(1.0), rel=1e-8)


@given(seeds, sizes)
def test_halves_share_no_episode_and_lose_no_row(seed, episodes):
    groups = torch.arange(episodes).repeat_interleave(torch.arange(episodes) % 3 + 1)
    side = Side.of("s", torch.arange(len(groups)).double()[:, None], groups)
    a, b = halves(side, torch.Generator().manual_seed(seed))
    assert not set(a.groups.tolist()) & set(b.groups.tolist())
    assert sorted(torch.cat([a.features, b.features]).flatten().tolist()) == list(range(len(groups)))
    assert min(len(a), len(b)) >= 1


def mixing_by_loops(x, y, gx, gy, k):
    rows, domain, group = torch.cat([x, y]), [0] * len(x) + [1] * len(y), [*gx, *(g + 1000 for g in gy)]
    found = {0: [0.0, 0.0], 1: [0.0, 0.0]}
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if group[j] != group[i]]
        others.sort(key=lambda j: float((rows[i] - rows[j]).square().sum()))
        found[domain[i]][0] += sum(domain[j] != domain[i] for j in others[:k]) / k
        found[domain[i]][1] += sum(domain[j] != domain[i] for j in others) / len(others)
    return sum(a / b for a, b in found.values()) / 2


@settings(max_examples=10)
@given(seeds)
def test_neighbour_mixing_matches_the_definition(seed):
    x, y = features(seed, 12, 12, 2)
    gx, gy = [i // 2 for i in range(12)], [i // 3 for i in range(12)]
    found = neighbour_mixing(Side.of("s", x, gx), Side.of("t", y, gy), neighbours=3)
    assert found == pytest.approx(mixing_by_loops(x, y, gx, gy, 3), abs=1e-6)


def test_mixing_is_one_for_one_distribution_and_zero_far_apart():
    s, same, far = (Side.of("x", normal(k, 400, 3, shift)) for k, shift in ((0, 0.0), (1, 0.0), (2, 50.0)))
    assert neighbour_mixing(s, same) == pytest.approx(1.0, abs=0.06)
    assert neighbour_mixing(s, far) == 0.0


def test_the_permutation_test_is_exact_under_the_null_also_when_rows_cluster_in_episodes():
    """60 pairs of one distribution with strong episodes: P(p <= 0.1) = 0.1 up to four standard errors."""
    small = 0
    for seed in range(60):
        g = torch.arange(40) % 8
        s, t = (Side.of("x", normal(2 * seed + k, 8, 2)[g] + 0.1 * normal(seed, 40, 2), g) for k in (0, 1))
        small += kernel_test(s, t, permutations=99, seed=seed).p_value <= 0.1
    assert small / 60 < 0.1 + 4 * math.sqrt(0.09 / 60)


def test_the_permutation_test_sees_a_shift():
    s, t = Side.of("s", normal(0, 100, 4)), Side.of("t", normal(1, 100, 4, 1.0))
    assert kernel_test(s, t, permutations=199).p_value == 1 / 200


def test_more_neighbours_than_rows_is_said():
    with pytest.raises(ValueError, match="pass neighbours=4"):
        neighbour_mixing(Side.of("s", normal(0, 5, 2)), Side.of("t", normal(1, 9, 2)))


@pytest.mark.parametrize(
    ("values", "groups", "sentence"),
    [
        (
            torch.tensor([[1.0], [float("nan")], [2.0]]),
            None,
            "1 rows of source with NaN or infinity, the first in row 1",
        ),
        (torch.ones(1, 3), None, "at least 2 rows"),
        (torch.ones(0, 3), None, "at least 2 rows"),
        (torch.ones(3, 2), [1, 2], r"shape \(3,\), got shape \(2,\)"),
    ],
)
def test_rows_that_cannot_be_compared_are_named(values, groups, sentence):
    with pytest.raises(ValueError, match=sentence):
        Side.of("source", values, groups)


def test_complex_features_are_refused():
    with pytest.raises(TypeError, match="real numbers"):
        Side.of("source", np.ones((3, 2), complex))
