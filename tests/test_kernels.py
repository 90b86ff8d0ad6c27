"""Triton's kernels against the CPU's float64: sizes, masses, extremes, and where they leave the work to torch."""

from __future__ import annotations

import math
import warnings
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from cotrain_bench.gpu.held import Held
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cotrain_losses import MMD, DomainClassifier, OptimalTransport, Rows, Sinkhorn
from cotrain_losses._core import kernels
from cotrain_losses._core.flags import Flags
from cotrain_losses.terms import Block, Pair
from cotrain_losses.terms.mmd import CORAL, EnergyDistance
from cotrain_losses.terms.transport import launched, rounds
from tests.drawn import features, seeds
from tests.elsewhere import OneDevice, another_device, rows
from tests.interpreted import interpreted, valued
from tests.tools.accuracy import DEFAULTS, error, tight
from tests.tools.accuracy import sides as sides_of_width
from tests.tools.launches import Launches

pytest.importorskip("triton", reason="Triton has no wheels for this platform")

MEANS = {
    "median": MMD(),
    "mean": MMD("mean"),
    "given, biased": MMD(1.3, estimator="biased", scales=(0.7, 1.0, 3.0)),
    "energy": EnergyDistance(),
}
TRANSPORT = {
    "entropic": lambda **k: OptimalTransport(0.5, **k),
    "linear": lambda **k: OptimalTransport(0.5, value="linear", **k),
    "ones": lambda **k: OptimalTransport(0.5, unbalanced=2.0, reference="ones", **k),
    "source left behind": lambda **k: OptimalTransport(0.5, unbalanced=(1.0, math.inf), **k),
    "target left behind": lambda **k: OptimalTransport(0.5, unbalanced=(math.inf, 1.0), **k),
    "divergence": lambda **k: Sinkhorn(0.6, **k),
    "divergence with reach": lambda **k: Sinkhorn(0.6, reach=1.0, **k),
}

EACH = [MMD(), EnergyDistance(), OptimalTransport(), Sinkhorn(0.5)]


def sides(seed: int, n: int, m: int, d: int, zeros: bool) -> list[Rows]:
    """Both sides in float32; with masses, some of them zero and the others over five orders."""
    x, y = (z.float() for z in features(seed, n, m, d))
    if not zeros:
        return [Rows(x), Rows(y)]
    generator = torch.Generator().manual_seed(seed)
    masses = [10 ** (-5 * torch.rand(k, generator=generator)) * (torch.arange(k) % 3 != 1) for k in (n, m)]
    return [Rows(z, mass=mass) for z, mass in zip((x, y), masses, strict=True)]


def double(side: Rows) -> Rows:
    return side.map(torch.Tensor.double)


def assert_close(found, expected, rtol):
    (value, at), (worth, of) = found, expected
    assert (value.double() - worth).abs() <= rtol * (1 + worth.abs())
    assert (at.double() - of).norm() <= rtol * (1 + of.norm())


@settings(max_examples=2)
@given(seeds, st.integers(1, 20), st.integers(1, 20), st.integers(1, 40), st.booleans())
@example(0, 1, 1, 1, False)
@example(0, 66, 3, 33, True)
@pytest.mark.parametrize("name", MEANS)
def test_means_over_pairs_are_those_of_float64(name, seed, n, m, d, zeros):
    both = sides(seed, n, m, d, zeros)
    with interpreted() as launched:
        found = valued(MEANS[name], *both, eager=False)
    assert "weigh" in launched or min(n, m) < 2
    assert_close(found, valued(MEANS[name], *map(double, both)), 3e-6)


@pytest.mark.parametrize(("name", "n", "zeros"), [*((name, 9, True) for name in TRANSPORT), ("ones", 66, False)])
def test_transport_is_that_of_float64(name, n, zeros):
    both = sides(0, n, 14 if zeros else 3, 3, zeros)  # 66 rows are more than a tile holds
    with interpreted() as launched:
        found = valued(TRANSPORT[name](), *both, eager=False)
    assert launched == [*["normalise"] * zeros, "distances", "solve", "pull"]
    assert_close(found, valued(TRANSPORT[name](tolerance=1e-10), *map(double, both)), 1e-3)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["median", "energy", "entropic", "divergence"])
def test_rows_in_half_precision_are_read_as_they_are(name, half):
    term = MEANS[name] if name in MEANS else TRANSPORT[name]()
    exact = MEANS[name] if name in MEANS else TRANSPORT[name](tolerance=1e-10)
    for masses in (False, True):
        both = [replace(side, features=side.features.to(half)) for side in sides(0, 9, 14, 3, masses)]
        with interpreted() as launched, Launches() as counted:
            value, at = valued(term, *both, eager=False)
        assert "pull" in launched and counted.found["_to_copy"] == 1  # of the gradients
        assert value.dtype == torch.float32 and at.dtype == half
        assert_close((value, at), valued(exact, *map(double, both)), 4 * torch.finfo(half).eps)


@pytest.mark.filterwarnings("ignore:.*leaves nearly all mass behind")
@pytest.mark.parametrize(
    "name", ["Sinkhorn(0.5, reach=1)", "OptimalTransport(unbalanced=1)", "OptimalTransport, groups"]
)
def test_the_gradient_of_a_default_is_within_a_thousandth_of_the_converged_one(name):
    pair = sides_of_width(14, 9, 64, grouped="groups" in name)
    off, launched = error(DEFAULTS[name], *pair, tolerance=tight(name))
    assert launched and off <= 1e-3


@pytest.mark.parametrize("n, m, eps", [(12, 9, 1e-3), (1, 3, 1e-3)])
def test_sharp_transport_reaches_its_tolerance(n, m, eps):
    x, y = rows(n, 3, 1), rows(m, 3, 2, 5.0)
    with interpreted():
        found = valued(OptimalTransport(eps), Rows(x), Rows(y), eager=False)
    assert_close(found, valued(OptimalTransport(eps, tolerance=1e-9), Rows(x.double()), Rows(y.double())), 1e-3)


def test_equal_rows_and_a_common_offset_cost_no_digits():
    x, y = rows(7, 4, 0).repeat(2, 1), rows(9, 4, 1)
    far = torch.full((4,), 1e3)
    for term in (MMD(), EnergyDistance(), Sinkhorn(0.7)):
        moved = Rows((x.double() + far).float()), Rows((y.double() + far).float())
        expected = valued(term, *map(double, moved))
        with interpreted():
            assert_close(valued(term, *moved, eager=False), expected, 2e-4)


def test_a_median_of_zero_gives_way_to_the_mean():
    both = [Rows(torch.tensor([[0.0], [0.0], [0.0], [2.0]])), Rows(torch.zeros(3, 1))]
    with interpreted():
        assert_close(valued(MMD(), *both, eager=False), valued(MMD(), *map(double, both)), 1e-6)


def test_what_a_kernel_does_not_reach_is_told_as_on_the_cpu(monkeypatch):
    monkeypatch.setattr(launched, "PASSES", 2)
    flags = Flags()
    pair = Pair(Rows(rows(5, 3, 0)), Rows(rows(4, 3, 1)), eager=False, flags=flags)
    with interpreted(), monkeypatch.context() as patch:
        patch.setattr("cotrain_losses._core.flags.eager", lambda x: False)
        assert OptimalTransport(0.01).evaluate(pair).isfinite()
        with pytest.warns(UserWarning, match="did not converge: after 2 passes .* Raise reg or blur, or loosen"):
            flags.read()


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("term", EACH, ids=lambda term: type(term).__name__)
def test_a_bad_row_ends_in_a_value_that_is_not_finite(term, bad):
    x, y = rows(5, 3, 0), rows(4, 3, 1)
    x[2, 1] = bad
    with interpreted() as launched, torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("cotrain_losses._core.flags.eager", lambda z: False)
        assert not term.evaluate(Pair(Rows(x), Rows(y), eager=False, flags=Flags())).isfinite()
    assert launched


@pytest.mark.parametrize("bad", [0.0, math.nan])
def test_terms_with_and_without_a_kernel_tell_of_bad_rows_together_and_of_good_ones_nothing(bad):
    x, y = rows(5, 3, 0), rows(4, 3, 1)
    x[2, 1] += bad
    regularizer = MMD() + CORAL() + 0.1 * DomainClassifier(3)
    with interpreted() as names, another_device():
        regularizer(x, y)
        with pytest.raises(ValueError, match="the source features must be finite") if bad else nullcontext():
            regularizer.flags.read()
    assert "weigh" in names


def test_each_transport_is_told_by_its_own_tolerance(monkeypatch):
    monkeypatch.setattr(launched, "PASSES", 4)
    x, y = rows(8, 3, 0), rows(6, 3, 1)
    for terms, told in (((1e-4, 1.9), 1), ((1.9, 1e-4), 1), ((1.9, 1.8), 0)):
        regularizer = sum(OptimalTransport(0.05, tolerance=each) for each in terms)
        with interpreted(), another_device():
            regularizer(x, y)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                regularizer.flags.read()
        assert sum("tolerance 1e-04" in str(each.message) for each in said) == told == len(said)


def test_no_rows_of_mass_are_an_exact_zero():
    x, y = rows(3, 2, 0), rows(4, 2, 1)
    both = Rows(x, mass=torch.ones(3)), Rows(y, mass=torch.zeros(4))
    for term in (MMD(), EnergyDistance(), OptimalTransport(), Sinkhorn()):
        with interpreted():
            value, at = valued(term, *both, eager=False)
        assert value == 0 and (at == 0).all()


@pytest.mark.parametrize("left", ["double", "groups", "extras", "tolerance", "rows", "callback", "exact"])
def test_what_kernels_do_not_take_is_left_to_torch(left):
    x, y = (rows(600 if left == "rows" else 5, 2, seed) for seed in (0, 1))
    group = torch.arange(5) % 2 if left == "groups" else None
    both = [Rows(z.double() if left == "double" else z, group=group) for z in (x, y)]
    terms = {
        "extras": [MMD(extras=("action",))],
        "tolerance": [OptimalTransport(tolerance=1e-9), Sinkhorn(tolerance=1e-9)],
        "rows": [Sinkhorn(5.0)],
        "callback": [OptimalTransport(1.0, cost=lambda s, t: torch.cdist(s.features, t.features), tolerance=1e-8)],
        "exact": [OptimalTransport(0.0)],
    }.get(left, [MMD(), EnergyDistance()])
    for term in terms:
        held = [Rows(z.features, {"action": z.features}, group=z.group) for z in both]
        pair = Pair(*held, eager=False, flags=Flags())
        with interpreted() as launched, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="OptimalTransport.reg=0. is exact")
            found = term.evaluate(pair)
        assert not launched
        torch.testing.assert_close(found.double(), term(*map(double, held)), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("grouped", [False, True])
def test_other_costs_and_groups_are_solved_by_the_kernel_and_pulled_by_torch(grouped):
    x, y = rows(6, 2, 0), rows(5, 2, 1)
    group = [torch.arange(k) % 2 if grouped else None for k in (6, 5)]
    sides = [Rows(z, {"action": z[:, :1]}, group=g) for z, g in zip((x, y), group, strict=True)]
    term = OptimalTransport(0.3, cost=[Block(), lambda s, t: torch.cdist(s.extra("action"), t.extra("action"))])
    with interpreted() as launched:
        found = term.evaluate(Pair(*sides, eager=False, flags=Flags()))
        with another_device():
            plan = term.coupling(*sides).plan
    assert launched == ["solve", "solve"]
    torch.testing.assert_close(plan.double(), term.coupling(*map(double, sides)).plan, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found.double(), term(*map(double, sides)), rtol=1e-5, atol=1e-5)


def test_an_extra_in_float64_leaves_the_pull_to_torch_and_the_kernels_in_use():
    sides = [Rows(rows(n, 2, n), {"state": rows(n, 3, n).double()}) for n in (6, 5)]
    term = OptimalTransport(0.3, cost=[Block(), Block("state", detach=True)])
    with interpreted() as launched:
        found = term.evaluate(Pair(*sides, eager=False, flags=Flags()))
    assert launched == ["solve"] and kernels.failed == []
    torch.testing.assert_close(found.double(), term(*map(double, sides)), rtol=1e-5, atol=1e-5)


class Raising:
    """A kernel that cannot be launched."""

    def __init__(self, error):
        self.error = error

    def __getitem__(self, grid):
        raise self.error


def test_a_kernel_that_cannot_be_launched_is_said_once_and_torch_computes(monkeypatch):
    launch = kernels.launch

    def broken(kernel, *arguments, **sizes):
        launch(Raising(RuntimeError("Failed to find C compiler")), *arguments, **sizes)

    monkeypatch.setattr(kernels, "failed", [])
    both = Rows(rows(5, 2, 0)), Rows(rows(4, 2, 1))
    with interpreted(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "runs_on", lambda device: not kernels.failed)  # as on a GPU
        patch.setattr(kernels, "launch", broken)
        with pytest.warns(UserWarning, match="Failed to find C compiler"):
            values = [valued(MMD(), *both, eager=False)[0]]
        values.append(valued(OptimalTransport(), *both, eager=False)[0])  # without a warning
    for value, term in zip(values, (MMD(), OptimalTransport()), strict=True):
        torch.testing.assert_close(value, term(*both), rtol=1e-4, atol=1e-5)


def test_kernels_run_on_a_gpu_that_they_are_compiled_for_until_one_fails_or_they_are_switched_off(monkeypatch):
    capability = [(9, 0)]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability[0])
    monkeypatch.setattr(kernels, "failed", [])
    gpus = [torch.device("cuda", k) for k in range(90, 92)]  # no test asked for these before
    assert kernels.runs_on(gpus[0]) and not kernels.runs_on(torch.device("cpu"))
    capability[0] = (7, 5)
    assert not kernels.runs_on(gpus[1])
    monkeypatch.setenv("COTRAIN_LOSSES_TRITON", "0")
    assert not kernels.runs_on(gpus[0])
    monkeypatch.delenv("COTRAIN_LOSSES_TRITON")
    kernels.failed.append("no compiler")
    assert not kernels.runs_on(gpus[0])


def test_memory_that_is_full_is_no_failure_of_a_kernel(monkeypatch):
    full = Raising(torch.cuda.OutOfMemoryError("full"))
    monkeypatch.setattr(kernels, "failed", [])
    with pytest.raises(torch.cuda.OutOfMemoryError):
        kernels.attempted(lambda: kernels.launch(full, (1,), torch.zeros(1)))
    assert kernels.failed == []


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("term", EACH, ids=lambda term: type(term).__name__)
def test_what_a_step_reads_of_the_steps_before_it_is_no_failure_of_a_kernel(term, monkeypatch):
    monkeypatch.setattr(kernels, "failed", [])
    x, y = rows(5, 3, 0), rows(4, 3, 1)
    x[2, 1] = math.nan
    regularizer = 0.1 * term
    regularizer.flags.every = 3
    with interpreted(), another_device():
        for _ in range(2):
            regularizer(x, y)
        with pytest.raises(ValueError, match="the source features must be finite, got 3 NaN"):
            regularizer(x, y)
        assert regularizer(rows(5, 3, 0), y).isfinite() and kernels.failed == []


@pytest.mark.parametrize("term", EACH, ids=lambda term: type(term).__name__)
def test_launching_waits_for_nothing_and_mixes_no_devices(term):
    z = torch.empty(8, 3, device="meta", requires_grad=True)
    sides = (Rows(z, mass=torch.empty(8, device="meta")) for _ in range(2))
    launched = []
    with interpreted(), pytest.MonkeyPatch.context() as patch, OneDevice():
        patch.setattr(kernels, "launch", lambda kernel, grid, *arguments, **sizes: launched.append(arguments))
        (0.1 * term)(*sides).backward()
    handed = [x for arguments in launched for x in arguments if isinstance(x, torch.Tensor)]
    assert handed and {x.device.type for x in handed} == {"meta"} and z.grad.shape == z.shape


@pytest.mark.parametrize("n", [512, 4096])
@pytest.mark.parametrize("term", EACH, ids=lambda term: type(term).__name__)
def test_no_term_holds_more_than_eight_matrices_of_its_pairs(term, n, monkeypatch):
    monkeypatch.setattr(rounds, "ROUNDS", 3)
    sides = [torch.empty(n, n // 8, device="meta", requires_grad=True) for _ in range(2)]
    with interpreted(), pytest.MonkeyPatch.context() as patch, Held() as held:
        patch.setattr(kernels, "launch", lambda kernel, *arguments, **sizes: None)
        torch.autograd.grad(term(*sides), sides)
    assert held.most <= (8 if n > launched.WIDEST else 16) * 4 * n * n
