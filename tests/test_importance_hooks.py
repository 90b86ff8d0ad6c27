"""Weights over training: hand traces, optima, resuming, and equal expected gradients."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain_losses.importance import (
    DiscrepancyWeights,
    GroupDRO,
    ProductWeights,
    RatioWeights,
    TableWeights,
    TimeWindow,
)
from cotrain_losses.importance.samples import Samples
from cotrain_losses.mixing import MixedBatchSampler, ratio_weights
from tests.drawn import seeds


def samples(domain: list[int], **known) -> Samples:
    labels = torch.tensor(domain)
    return Samples(labels, labels == 1, **{name: torch.tensor(value) for name, value in known.items()})


# --- ratio, table, time ---


@given(st.floats(0, 1), st.floats(0.05, 0.95))
def test_ratio_weights_as_a_hook_are_the_function(ratio, share):
    batch = samples([0, 1, 1, 0])
    expected = ratio_weights(batch.is_target, ratio=ratio, share=share)
    torch.testing.assert_close(RatioWeights(ratio, share)(batch), expected)


def test_a_table_is_read_by_index_and_a_window_by_domain_and_time():
    batch = samples([0, 0, 1, 1], index=[3, 0, 1, 1], time=[0.2, 0.6, 0.2, 0.9])
    table, window = TableWeights(torch.tensor([1.0, 2.0, 3.0, 4.0])), TimeWindow({"source": (0.6, 1.0)})
    assert table(batch).tolist() == [4.0, 1.0, 2.0, 2.0]
    assert window(batch).tolist() == [0.0, 1.0, 1.0, 1.0]
    both = ProductWeights(table, window, lambda s: s.is_target.float() + 1)
    assert both(batch).tolist() == [0.0, 1.0, 4.0, 4.0]


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: TableWeights(torch.arange(4.0)), {"weights"}),
        (lambda: GroupDRO({"source": 0.3, "target": 0.7}), {"alpha", "total", "updates", "prior", "share"}),
        (
            lambda: DiscrepancyWeights(torch.tensor([False, True, False])),
            {"is_target", "discrepancy", "losses", "seen", "q"},
        ),
        (lambda: TimeWindow({"source": (0.1, 0.4)}), {"low", "high"}),
    ],
)
def test_all_state_is_in_the_checkpoint(make, names):
    assert set(make().state_dict()) == names
    nested = ProductWeights(make(), make())
    assert len(nested.state_dict()) == 2 * len(names)


# --- group DRO ---


def test_three_updates_traced_by_hand():
    dro = GroupDRO({"a": 0.25, "b": 0.75}, step_size=1.0, smoothing=0.1)
    alpha, seen = [0.25, 0.75], []
    for excess, labels in (([1.0, 0.0, -9.0], [0, 1, 1]), ([0.5, 2.0, 3.0], [0, 1, 1]), ([4.0], [1])):
        dro.update(torch.tensor(excess), torch.tensor(labels))
        means = [0.0, 0.0]
        for k in (0, 1):
            own = [max(0.0, e) for e, label in zip(excess, labels, strict=True) if label == k]
            means[k] = sum(own) / len(own) if own else 0.0
        grown = [a * math.exp(e) for a, e in zip(alpha, means, strict=True)]
        alpha = [0.9 * g / sum(grown) + 0.1 * p for g, p in zip(grown, (0.25, 0.75), strict=True)]
        seen.append(alpha)
        torch.testing.assert_close(dro.alpha, torch.tensor(alpha, dtype=torch.float64))
    mean = [sum(column) / 3 for column in zip(*seen, strict=True)]
    assert list(dro.shares().values()) == pytest.approx(mean)
    assert dro(samples([1, 0])).tolist() == pytest.approx([alpha[1] / 0.75, alpha[0] / 0.25])


def test_the_mixture_moves_to_the_domain_with_more_to_learn_and_drives_the_sampler():
    dro = GroupDRO({"a": 0.5, "b": 0.3, "c": 0.2})
    for _ in range(20):
        dro.update(torch.tensor([0.0, 0.1, 0.3]), torch.tensor([0, 1, 2]))
    assert dro.shares()["c"] > 0.5
    sampler = MixedBatchSampler(torch.arange(30) % 3, 20, dro.shares(), domains=("a", "b", "c"))
    assert sampler.realised()["c"] == pytest.approx(dro.shares()["c"], abs=0.05)


def test_the_prior_stands_before_the_first_update_and_large_losses_do_not_overflow():
    dro = GroupDRO({"a": 0.5, "b": 0.5}, step_size=1e3)
    assert dro.shares() == {"a": 0.5, "b": 0.5}
    for _ in range(50):
        dro.update(torch.tensor([1e3, 0.0]), torch.tensor([0, 1]))
    assert dro.alpha.isfinite().all() and dro.alpha.min() > 0


def test_mixture_weights_resume_from_a_checkpoint():
    whole, halted = GroupDRO({"a": 0.5, "b": 0.5}), GroupDRO({"a": 0.5, "b": 0.5})
    steps = [(torch.rand(6), torch.arange(6) % 2) for _ in range(6)]
    for step in steps:
        whole.update(*step)
    for step in steps[:3]:
        halted.update(*step)
    resumed = GroupDRO({"a": 0.5, "b": 0.5})
    resumed.load_state_dict(halted.state_dict())
    for step in steps[3:]:
        resumed.update(*step)
    assert resumed.shares() == whole.shares()


def test_sampling_at_alpha_and_weighing_by_alpha_have_the_same_expected_gradient():
    dro = GroupDRO({"source": 0.8, "target": 0.2}, smoothing=0.0)
    dro.update(torch.tensor([0.0, 1.0]), torch.tensor([0, 1]))
    slopes, labels = (
        torch.randn(50, dtype=torch.float64),
        (torch.arange(50) < 10).long(),
    )  # full batch at share (.8, .2)
    weighted = (dro(Samples(labels, labels == 1)).double() * slopes).mean()
    exact = sum(a * slopes[labels == k].mean() for k, a in enumerate(dro.alpha))
    torch.testing.assert_close(weighted, exact, rtol=1e-6, atol=1e-7)


# --- per-sample weights ---


def by_scipy(module: DiscrepancyWeights, losses: torch.Tensor) -> float:
    """The optimal value by a general solver: |q - p| as the sum of two positive parts, the maximum as a variable."""
    optimize = pytest.importorskip("scipy.optimize")
    n = len(losses)
    p, cost = module.is_target.double(), losses + module.discrepancy_weight * module.discrepancy
    objective = lambda v: float(
        (torch.tensor(v[:n]) * cost).sum()
        + module.sparse * v[n : 2 * n].sum()
        + module.smooth * (v[:n] ** 2).sum()
        + module.peak * v[-1]
    )
    lower = module.floor * p
    parts = [
        {"type": "eq", "fun": lambda v: v[:n].sum() - module.total},
        {"type": "ineq", "fun": lambda v: v[n : 2 * n] - (v[:n] - p.numpy())},
        {"type": "ineq", "fun": lambda v: v[n : 2 * n] + (v[:n] - p.numpy())},
        {"type": "ineq", "fun": lambda v: v[-1] - v[:n]},
    ]
    bounds = [(float(low), module.bound) for low in lower] + [(0, 10)] * n + [(0, 10)]
    start = [max(float(low), 1.0) for low in lower] + [1.0] * n + [5.0]
    found = optimize.minimize(
        objective, start, bounds=bounds, constraints=parts, options={"maxiter": 500, "ftol": 1e-12}
    )
    return found.fun if found.success else math.inf


@settings(max_examples=8)
@given(seeds, st.integers(1, 3), st.integers(1, 3), st.sampled_from([0.0, 0.3]), st.floats(0.01, 0.3))
def test_the_weights_meet_their_constraints_and_no_solver_does_better(seed, n_target, n_source, peak, sparse):
    losses = torch.rand(n_target + n_source, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    module = DiscrepancyWeights(torch.arange(n_target + n_source) < n_target, peak=peak, sparse=sparse, smooth=0.05)
    module.observe(torch.arange(len(losses)), losses)
    module.solve()
    assert module.q.sum() == pytest.approx(n_target + 0.5 * n_source, abs=1e-9)
    assert (module.q >= module.is_target.double() - 1e-12).all() and (module.q <= 5 + 1e-12).all()
    assert module.objective(module.q) <= by_scipy(module, losses) + 1e-6


def test_easy_near_source_samples_are_let_in_first():
    module = DiscrepancyWeights(
        torch.tensor([True, False, False, False]), discrepancy=torch.tensor([9.0, 1.0, 1.0, 5.0])
    )
    assert module.discrepancy[0] == 0
    module.observe(torch.arange(4), torch.tensor([0.5, 0.1, 0.9, 0.1]))
    module.solve()
    assert module.q[1] > module.q[2] and module.q[1] > module.q[3] and module.q[0] >= 1
    assert module(samples([1, 0, 0], index=[0, 1, 1])).tolist() == pytest.approx(module.q[[0, 1, 1]].tolist())


def test_losses_are_averaged_and_the_unseen_count_as_the_mean():
    module = DiscrepancyWeights(torch.tensor([True, False, False]), memory=0.5)
    before = module.q.clone()
    module.solve()
    assert torch.equal(module.q, before)  # nothing observed yet
    for value in (1.0, 3.0):
        module.observe(torch.tensor([1]), torch.tensor([value]))
    assert module.losses.tolist() == [0.0, 2.0, 0.0] and module.seen.tolist() == [False, True, False]
    module.solve()
    assert module.q[1] == pytest.approx(float(module.q[2]))


def test_per_sample_weights_resume_from_a_checkpoint():
    module = DiscrepancyWeights(torch.tensor([True, False, False]))
    module.observe(torch.arange(3), torch.tensor([1.0, 0.2, 0.4]))
    resumed = DiscrepancyWeights(torch.tensor([True, False, False]))
    resumed.load_state_dict(copy.deepcopy(module.state_dict()))
    module.solve(), resumed.solve()
    assert torch.equal(module.q, resumed.q)


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: TableWeights(torch.ones(3))(samples([0])), "index=batch['index']"),
        (lambda: TableWeights(torch.ones(3))(samples([0], index=[3])), "samples 0 to 2, got indices from 3"),
        (lambda: TableWeights(-torch.ones(3)), "least value -1"),
        (lambda: TimeWindow({"source": (0, 1)})(samples([0])), "Seam(..., time=...)"),
        (lambda: TimeWindow({"sim": (0, 1)}), "got ['sim']"),
        (lambda: TimeWindow({"source": (1, 0)}), "low <= high"),
        (lambda: RatioWeights(0.5, 0.0), "got share 0 and ratio 0.5 for 'target'"),
        (lambda: GroupDRO({"a": 1.0, "b": 0.0}), "prior and a share above 0"),
        (lambda: GroupDRO({"a": 1.0}, step_size=0.0), "step_size is above 0"),
        (lambda: GroupDRO({"a": 1.0}).update(torch.ones(2), torch.zeros(3)), "(2,) and (3,)"),
        (lambda: GroupDRO({"a": 1.0}).update(torch.tensor([math.nan]), torch.zeros(1)), "NaN or infinite"),
        (lambda: DiscrepancyWeights(torch.ones(2).bool(), floor=6.0), "lies between 12"),
        (lambda: DiscrepancyWeights(torch.ones(2).bool(), smooth=0.0), "smooth is above 0"),
        (
            lambda: DiscrepancyWeights(torch.ones(2).bool()).observe(torch.zeros(1).long(), torch.ones(2)),
            "(1,) and (2,)",
        ),
    ],
)
def test_what_cannot_be_weighed_is_said(act, says):
    with pytest.raises(ValueError) as caught:
        act()
    assert says in str(caught.value)
