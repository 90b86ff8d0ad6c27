"""Probes, regimes and whole diagnoses: chance is chance, bad layers are said, good parts are kept."""

from __future__ import annotations

import json
from functools import cache

import pytest
import torch
from scipy.stats import beta

from cotrain_losses.measures import diagnosis
from cotrain_losses.measures.alignment import Estimate
from cotrain_losses.measures.discernibility import ProbeReading, clustered_interval, probe_accuracy
from cotrain_losses.measures.regime import regime, relative_distance
from cotrain_losses.measures.sides import Side

QUICK = {"rows": 100, "repeats": 2}


def episodes(seed: int, n: int = 12, frames: int = 10, d: int = 6, shift: float = 0.0):
    """Frames (n * frames, d) that cluster by episode, and their episodes."""
    g = torch.Generator().manual_seed(seed)
    groups = torch.arange(n).repeat_interleave(frames)
    centres = torch.randn(n, d, generator=g, dtype=torch.float64)
    x = centres[groups] + 0.3 * torch.randn(n * frames, d, generator=g, dtype=torch.float64)
    x[:, 0] += shift
    return x, groups


def sides(seed: int, shift: float = 0.0):
    return Side.of("s", *episodes(2 * seed)), Side.of("t", *episodes(2 * seed + 1, shift=shift))


def test_on_one_distribution_the_interval_holds_one_half():
    """6 pairs whose frames cluster: at 95 % coverage, three misses or more have probability 0.002."""
    intervals = [probe_accuracy(*sides(seed), seeds=1, seed=seed).interval for seed in range(6)]
    assert sum(low <= 0.5 <= high for low, high in intervals) >= 4


def test_frames_of_one_episode_are_never_on_both_sides():
    """Were they, a probe would read the episode: two domains that are one distribution would look discernible."""
    s, t = sides(3)
    grouped = probe_accuracy(s, t, seeds=1)
    leaky = probe_accuracy(Side.of("s", s.features), Side.of("t", t.features), seeds=1)
    assert leaky.accuracy > 0.85 > grouped.accuracy
    assert grouped.episodes == 24


@pytest.mark.parametrize("hidden", [64, None])
def test_far_domains_are_read_without_error(hidden):
    found = probe_accuracy(*sides(0, shift=9.0), hidden=hidden, seeds=1)
    assert found.accuracy > 0.97 and found.auc > 0.97 and found.proxy_a_distance > 1.85


def test_only_the_network_reads_what_no_line_separates():
    x = torch.randn(400, 2, dtype=torch.float64)
    ring = 4 * torch.nn.functional.normalize(torch.randn(400, 2, dtype=torch.float64))
    network, line = (probe_accuracy(Side.of("s", x), Side.of("t", ring), hidden=h, seeds=1) for h in (64, None))
    assert network.accuracy > 0.9 > 0.65 > line.accuracy


def test_permuted_labels_give_chance():
    x, y = sides(1, shift=9.0)
    pooled, groups = torch.cat([x.features, y.features]), torch.cat([x.groups, y.groups + 12])
    order = torch.randperm(24)
    mixed = torch.isin(groups, order[:12])
    found = probe_accuracy(Side.of("s", pooled[mixed], groups[mixed]), Side.of("t", pooled[~mixed], groups[~mixed]))
    assert found.interval[0] <= 0.5 <= found.interval[1]


def test_accuracy_is_blind_to_shift_and_scale():
    s, t = sides(2, shift=1.0)
    moved = [Side.of("x", 1e4 * side.features + 3e4, side.groups) for side in (s, t)]
    assert probe_accuracy(*moved, seeds=1).accuracy == pytest.approx(probe_accuracy(s, t, seeds=1).accuracy, abs=0.02)


def test_the_interval_is_clopper_and_pearsons_at_the_effective_size():
    low, high = clustered_interval(0.7, 0.7 * 0.3 / 100, clusters=100_000, rows=100_000)
    assert low == pytest.approx(beta.ppf(0.025, 70, 31), abs=1e-4)
    assert high == pytest.approx(beta.ppf(0.975, 71, 30), abs=1e-4)
    assert clustered_interval(1.0, 0.0, clusters=20, rows=2000)[0] < 0.85
    assert clustered_interval(0.0, 0.0, clusters=20, rows=2000)[0] == 0.0


def reading(low: float, high: float) -> ProbeReading:
    return ProbeReading((low + high) / 2, (low, high), 0.5, 0.0, 20)


@pytest.mark.parametrize(
    ("distance", "probe", "name", "between"),
    [
        ((3.0, 2.0, 4.0), (0.9, 1.0), "disjoint", ("disjoint",)),
        ((0.3, 0.2, 0.4), (0.9, 1.0), "structured", ("structured",)),
        ((0.3, 0.0, 0.4), (0.45, 0.55), "overlapping", ("overlapping",)),
        ((1.0, 0.9, 1.1), (0.9, 1.0), "uncertain", ("disjoint", "structured")),
        ((0.3, 0.2, 0.4), (0.6, 0.9), "uncertain", ("structured", "overlapping")),
        ((1.0, 0.1, 2.0), (0.6, 0.9), "uncertain", ("disjoint", "structured", "overlapping")),
        ((3.0, 2.0, 4.0), (0.4, 0.6), "uncertain", ()),
    ],
)
def test_the_rule_says_what_both_intervals_allow(distance, probe, name, between):
    found = regime(distance, reading(*probe))
    assert (found.name, found.between) == (name, between)
    assert found.next and f"{distance[0]:.2f}" in found.because


def test_relative_distance_is_in_pair_distances_of_the_target():
    transport = Estimate(1.0, 0.0, 0.5, 2.0, 0.5, (0.4, 0.6), (0.4, 1.0), 10)
    assert relative_distance(transport, 2**0.5, 1.0) == pytest.approx((0.5, 0.4, 0.6))


@pytest.mark.parametrize(("shift", "name"), [(0.0, "overlapping"), (0.5, "structured"), (20.0, "disjoint")])
def test_three_shifts_are_three_regimes(shift, name):
    """30 episodes of 10 frames in 8 dimensions, one of them shifted."""
    (x, gx), (y, gy) = episodes(0, n=30, d=8), episodes(1, n=30, d=8, shift=shift)
    if shift == 0.5:  # readable everywhere, and near: a constant of one domain
        x[:, 1] *= 0.05
        y[:, 1] = 0.05 * y[:, 1] + 1.0
    found = diagnosis(x, y, source_groups=gx, target_groups=gy, **QUICK)
    assert found.regime is not None and found.regime.name == name


def test_the_json_holds_what_it_promises_and_nothing_that_json_lacks():
    (x, gx), (y, gy) = episodes(0), episodes(1, shift=9.0)
    found = json.loads(
        json.dumps(diagnosis(x, y, source_groups=gx, target_groups=gy, **QUICK).as_dict(), allow_nan=False)
    )
    assert found["alignment"]["wasserstein"] > 1 and found["discernibility"]["accuracy"] > 0.9
    assert found["regime"] in ("disjoint", "structured", "overlapping", "uncertain")
    assert found["notes"] == []


def test_other_widths_leave_the_comparison_of_geometries():
    x, y = torch.randn(60, 3), torch.randn(50, 5)
    found = diagnosis(x, y, **QUICK)
    assert list(found.distances) == ["gromov_wasserstein"] and found.regime is None
    assert "widths 3 (source) and 5 (target)" in " ".join(found.notes)


def test_too_few_rows_keep_the_parts_that_do_not_need_them():
    found = diagnosis(torch.randn(2, 3), torch.randn(8, 3), **QUICK)
    said = " ".join(found.notes)
    assert "wasserstein" in found.distances
    assert found.mixing is None and "neighbour mixing was not measured" in said
    assert found.probe is None and "the probe was not measured" in said


def test_one_episode_is_said():
    x, y = torch.randn(40, 3), torch.randn(40, 3)
    found = diagnosis(x, y, source_groups=[0] * 40, target_groups=list(range(40)), **QUICK)
    assert "the source comes in 1 episode" in " ".join(found.notes) and found.regime is not None


@pytest.mark.parametrize(
    ("source", "target", "said"), [(1, 1, "one constant"), (0, 0, "one constant"), (1, 2, "its own")]
)
def test_a_layer_that_is_constant_in_both_domains_has_collapsed(source, target, said):
    found = diagnosis(torch.full((9, 3), float(source)), torch.full((8, 3), float(target)))
    assert found.regime.name == "collapsed" and said in found.regime.because
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["regime"] == "collapsed"


@pytest.mark.parametrize("constant", ["source", "target"])
def test_a_domain_that_has_collapsed_is_said(constant):
    sides = {"source": torch.randn(40, 3), "target": torch.randn(40, 3), constant: torch.ones(40, 3)}
    found = diagnosis(sides["source"], sides["target"], **QUICK)
    assert f"features of the {constant} are constant" in " ".join(found.notes) and "wasserstein" in found.distances
    json.dumps(found.as_dict(), allow_nan=False)


@cache
def a_shift_of_one():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (60, 50))
    return x, y + 1, diagnosis(x, y + 1, **QUICK)


@pytest.mark.parametrize(
    "change", [lambda x: 1e-150 * x, lambda x: 1e150 * x, lambda x: 1 + 1e-6 * x, lambda x: 1e6 + x]
)
def test_no_scale_and_no_shift_changes_what_is_measured(change):
    x, y, expected = a_shift_of_one()
    found = diagnosis(change(x), change(y), **QUICK)
    assert found.notes == expected.notes and found.distances.keys() == expected.distances.keys()
    for name, estimate in expected.distances.items():
        assert found.distances[name].value == pytest.approx(estimate.value, rel=2e-4), name
    assert found.probe.accuracy == pytest.approx(expected.probe.accuracy, abs=0.03)
    assert found.regime.name == expected.regime.name


@pytest.mark.parametrize("name", ["rows", "repeats", "neighbours"])
def test_counts_are_checked(name):
    with pytest.raises(ValueError, match=f"{name} counts from [12], got 0"):
        diagnosis(torch.randn(9, 3), torch.randn(9, 3), **{name: 0})
