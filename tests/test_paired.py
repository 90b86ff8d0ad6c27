"""Statistics over pairs, against scipy, closed forms and simulation."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest
from cotrain_bench import paired
from cotrain_bench.paired import contrast, correlation, detectable, holm, mean_interval
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats


def row(successes: int, episodes: int = 100) -> dict[str, float]:
    return {"success": successes / episodes, "successes": successes, "episodes": episodes}


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=2, max_size=8))
def test_a_contrast_is_the_paired_t_test_unless_pairs_vary_less_than_their_episodes(pairs):
    found = contrast([[(1.0, row(a)), (-1.0, row(b))] for a, b in pairs])
    differences = np.array([(a - b) / 100 for a, b in pairs])
    rates = np.array([[(x + 1) / 102 for x in pair] for pair in pairs])
    episodes = math.sqrt((rates * (1 - rates) / 100).sum(1).mean())
    assert found.mean == pytest.approx(differences.mean(), abs=1e-12) and found.pairs == len(pairs)
    if differences.std(ddof=1) > episodes:
        wanted = stats.ttest_1samp(differences, 0.0)
        low, high = wanted.confidence_interval()
        assert (found.p, found.low, found.high) == pytest.approx((wanted.pvalue, low, high), abs=1e-9)
    else:
        assert (found.high - found.low) == pytest.approx(
            2 * stats.t.ppf(0.975, len(pairs) - 1) * episodes / len(pairs) ** 0.5
        )


def test_pairs_that_agree_by_chance_do_not_make_a_certainty():
    found = contrast([[(1.0, row(3)), (-1.0, row(2))]] * 5)
    assert found.p > 0.3 and found.low < 0 < found.high


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=3, max_size=8), st.floats(0.0, 0.3))
def test_no_harm_is_a_one_sided_test_against_the_margin(pairs, margin):
    weighted = [[(1.0, row(a)), (-1.0, row(b))] for a, b in pairs]
    found, two_sided = contrast(weighted, margin=margin), contrast(weighted)
    assert found.mean == two_sided.mean and two_sided.low <= found.low <= found.mean <= found.high <= two_sided.high
    assert (found.p <= 0.05) == (found.low >= -margin) or found.low == pytest.approx(-margin)
    differences = np.array([(a - b) / 100 for a, b in pairs])
    if (found.high - found.low) / 2 == pytest.approx(
        stats.t.ppf(0.95, len(pairs) - 1) * differences.std(ddof=1) / len(pairs) ** 0.5
    ):
        wanted = stats.ttest_1samp(differences, -margin, alternative="greater")
        assert found.p == pytest.approx(wanted.pvalue, abs=1e-9)


def test_one_pair_is_refused():
    with pytest.raises(ValueError, match=r"needs two pairs.*got 1"):
        contrast([[(1.0, row(3))]])


@pytest.mark.parametrize("pairs", [3, 5, 20])
def test_the_detectable_difference_is_found_in_eighty_of_a_hundred_studies(pairs):
    draws = np.random.default_rng(0).standard_normal((40_000, pairs)) / 10
    shift = detectable(pairs, 0.1 / pairs**0.5, 0.05)
    p = stats.ttest_1samp(draws + shift, 0.0, axis=1)
    assert np.mean((p.pvalue < 0.05) & (p.statistic > 0)) == pytest.approx(0.8, abs=0.01)


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.001, 0.999))
def test_holm_rejects_what_its_step_down_procedure_rejects(ps, level):
    assume(all(abs(p * k - level) > 1e-12 for p in ps for k in range(1, len(ps) + 1)))  # decided by no rounding
    order, rejected = np.argsort(ps, kind="stable"), set()
    for rank, index in enumerate(order):
        if ps[index] * (len(ps) - rank) > level:
            break
        rejected.add(int(index))
    assert {i for i, p in enumerate(holm(ps)) if p <= level} == rejected


def test_a_mean_has_the_interval_of_its_bootstrap():
    values = np.random.default_rng(1).random(30)
    low, high = mean_interval(values)
    wanted = stats.bootstrap((values,), np.mean, method="percentile", rng=2).confidence_interval
    assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=5e-3)


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=5)
def test_a_correlation_is_scipys_and_its_interval_holds_it(seed, ranks):
    draws = np.random.default_rng(seed)
    x = draws.standard_normal(40)
    y = x + draws.standard_normal(40)
    found = correlation(x, y, np.arange(40) // 4, ranks=ranks)
    wanted = stats.spearmanr(x, y).statistic if ranks else stats.pearsonr(x, y).statistic
    assert found is not None and found.r == pytest.approx(wanted) and found.low < found.r < found.high
    assert found.cells == 40


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=5)
def test_a_draw_of_pairs_is_worth_what_its_rows_written_out_are(seed, ranks):
    draws = np.random.default_rng(seed)
    x, y, pair = draws.integers(0, 6, 30), draws.standard_normal(30), draws.integers(0, 5, 30)
    with patch.object(paired, "DRAWS", 50):  # ten of a correlation
        found = correlation(x, y, pair, ranks=ranks, seed=seed)
    wanted = []
    for counts in np.random.default_rng(seed).multinomial(5, np.full(5, 0.2), 10):
        rows = np.repeat(np.arange(30), counts[pair])
        wanted.append((stats.spearmanr if ranks else stats.pearsonr)(x[rows], y[rows]).statistic)
    assert found is not None and (found.low, found.high) == pytest.approx(np.quantile(wanted, (0.025, 0.975)))


def test_there_is_no_correlation_with_a_constant():
    assert correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], [0, 1, 2]) is None
    assert correlation([1.0, 2.0], [1.0, 2.0], [0, 1]) is None
