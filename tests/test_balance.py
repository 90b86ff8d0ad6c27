"""Measured weights: what a term may say, as a share of what the policy says."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from drawn import features, seeds, sizes, widths
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cotrain_losses import MMD, CoTrain, DomainClassifier, DomainGuidance, Method, Regularizer, Rows, Seam, Term
from cotrain_losses.policy.divergence import Divergence
from cotrain_losses.strength import balanced, relative
from cotrain_losses.strength.probe import Seen, held_out_accuracy
from cotrain_losses.strength.schedules import linear, warmup
from tests.processes import in_processes
from tests.toy import Policy, batch

SEAM = Seam(head="head", condition="condition", time="time", width=4)
HALF = torch.arange(6) % 2 == 0


class Slope(Term):
    """<a, source> + <b, target>: the gradients are a and b, whatever the features."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        super().__init__()
        self.a, self.b = a, b

    def compare(self, pair) -> Tensor:
        source, target = pair.source, pair.target
        return (self.a * source.features).sum() + (self.b * target.features).sum()


class Gap(Term):
    """|mean source - mean target|^2."""

    def compare(self, pair) -> Tensor:
        source, target = pair.source, pair.target
        return (source.features.mean(0) - target.features.mean(0)).square().sum()


def stepped(regularizer: Regularizer, z: Tensor, pull: Tensor, n: int, step: int, scale: float = 1.0) -> Tensor:
    """One training step of a policy whose gradient at z is `pull`; what z receives."""
    z = z.detach().requires_grad_()
    policy = (pull * regularizer.seam(z)).sum()
    (scale * (policy + regularizer(z[:n], z[n:], step=step))).backward()
    assert z.grad is not None
    return z.grad / scale


def slopes(seed: int, n: int, m: int, d: int, steps: int) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """The policy's and the term's gradients (n + m, d) of some steps, and features."""
    policy, term = zip(*(features(seed + k, n + m, n + m, d) for k in range(steps)), strict=True)
    return list(policy), list(term), features(seed - 1, n + m, 1, d)[0]


def average(values: list[float], decay: float) -> float:
    """Kingma & Ba 2015, written out."""
    weights = [decay ** (len(values) - 1 - k) for k in range(len(values))]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


@given(seeds, sizes, sizes, widths, st.floats(0.01, 2.0), st.floats(0.05, 3.0), st.floats(0.0, 0.95))
def test_the_weight_is_the_cap_or_raw_whichever_is_smaller(seed, n, m, d, fraction, raw, decay):
    policy, term, z = slopes(seed % 10**6 + 1, n, m, d, 4)
    slope = Slope(term[0][:n], term[0][n:])
    regularizer = relative(fraction, raw=raw, decay=decay, standardise=False) * slope
    for k in range(4):
        slope.a, slope.b = term[k][:n], term[k][n:]
        weight = 0.0
        if k:
            lengths = [average([float(g[j].norm()) for j in range(k)], decay) for g in (policy, term)]
            weight = min(raw, fraction * lengths[0] / lengths[1])
        received = stepped(regularizer, z, policy[k], n, step=k)
        assert regularizer.strengths(k)["slope"] == pytest.approx(weight, rel=1e-9)
        torch.testing.assert_close(received, policy[k] + weight * term[k], rtol=1e-9, atol=1e-12)


@given(seeds, sizes, sizes, widths, st.floats(0.01, 2.0))
def test_a_negated_cap_opposes_with_the_same_length(seed, n, m, d, fraction):
    policy, term, z = slopes(seed % 10**6 + 1, n, m, d, 1)
    follow, oppose = (w * Slope(term[0][:n], term[0][n:]) for w in _both(fraction))
    for regularizer in (follow, oppose):
        stepped(regularizer, z, policy[0], n, step=0)
    received = [stepped(r, z, policy[0], n, step=1) - policy[0] for r in (follow, oppose)]
    torch.testing.assert_close(received[1], -received[0])
    torch.testing.assert_close(received[0].norm(), fraction * policy[0].norm(), rtol=1e-9, atol=0)


def _both(fraction: float) -> tuple[Any, Any]:
    how = {"raw": math.inf, "standardise": False}
    return relative(fraction, **how), -relative(fraction, **how)


class Balancer:
    """Défossez et al. 2023, equation 5, as written: sum_i R w_i / sum(w) g_i / <|g_i|>."""

    def __init__(self, weights: dict[str, float], total: float, decay: float) -> None:
        self.weights, self.total, self.decay = weights, total, decay
        self.seen: dict[str, list[float]] = {name: [] for name in weights}

    def see(self, gradients: dict[str, Tensor]) -> None:
        for name, g in gradients.items():
            self.seen[name].append(float(g.norm()))

    def __call__(self, gradients: dict[str, Tensor]) -> Tensor:
        share = {name: self.total * w / sum(self.weights.values()) for name, w in self.weights.items()}
        parts = [share[name] * g / average(self.seen[name], self.decay) for name, g in gradients.items()]
        return torch.stack(parts).sum(0)


@given(seeds, sizes, sizes, widths, st.floats(0.05, 2.0), st.floats(0.5, 4.0), st.booleans())
def test_normalised_it_is_encodecs_balancer_up_to_one_factor(seed, n, m, d, fraction, total, constant):
    decay = 0.8
    policy, term, z = slopes(seed % 10**6 + 1, n, m, d, 5)
    if constant:  # their averages hold the step they are used in, ours end one step before
        policy, term = [policy[0]] * 5, [term[0]] * 5
    slope = Slope(term[0][:n], term[0][n:])
    regularizer = relative(fraction, raw=math.inf, decay=decay, standardise=False) * slope
    balancer = Balancer({"policy": 1.0, "term": fraction}, total, decay)
    for k in range(5):
        slope.a, slope.b = term[k][:n], term[k][n:]
        received = stepped(regularizer, z, policy[k], n, step=k)
        gradients = {"policy": policy[k], "term": term[k]}
        if constant:
            balancer.see(gradients)
        if k:
            factor = total / (1 + fraction) / average([float(g.norm()) for g in policy[:k]], decay)
            torch.testing.assert_close(factor * received, balancer(gradients), rtol=1e-9, atol=1e-12)
        if not constant:
            balancer.see(gradients)


@given(seeds, st.integers(1, 4), st.lists(st.floats(1e-3, 1e6), min_size=3, max_size=3))
def test_loss_scales_change_nothing(seed, n, scales):
    policy, term, z = slopes(seed % 10**6 + 1, n, 2, 3, 3)
    plain, scaled = (relative(0.3, standardise=False) * Slope(term[0][:n], term[0][n:]) for _ in range(2))
    for k, scale in enumerate(scales):
        ours, theirs = stepped(scaled, z, policy[k], n, k, scale), stepped(plain, z, policy[k], n, k)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_step_whose_gradient_is_not_finite_is_left_out() -> None:
    policy, term, z = slopes(0, 3, 2, 4, 1)
    regularizer = relative(0.3, standardise=False) * Slope(term[0][:3], term[0][3:])
    stepped(regularizer, z, policy[0], 3, 0)
    expected = stepped(regularizer, z, policy[0], 3, 1)
    stepped(regularizer, z, policy[0] * math.inf, 3, 2)
    stepped(regularizer, z, policy[0] * math.nan, 3, 3)
    torch.testing.assert_close(stepped(regularizer, z, policy[0], 3, 4), expected)


@given(seeds, st.sampled_from([2, 3, 6]))
def test_parts_of_an_accumulated_batch_share_the_whole_batchs_weight(seed, parts):
    policy, term, z = slopes(seed % 10**6 + 1, 6, 6, 3, 3)
    slope = Slope(term[0][:6], term[0][6:])
    whole, split = (relative(0.3, standardise=False) * slope for _ in range(2))
    for k in range(3):
        slope.a, slope.b = term[k][:6], term[k][6:]
        stepped(whole, z, policy[k], 6, k)
        weights = set()
        for rows in torch.arange(6).chunk(parts):
            both = torch.cat([rows, 6 + rows])
            slope.a, slope.b = parts * term[k][rows], parts * term[k][6 + rows]  # a mean over fewer rows
            stepped(split, z[both], parts * policy[k][both], len(rows), k, 1 / parts)
            weights.add(split.strengths(k)["slope"])
        assert len(weights) == 1 and weights.pop() == pytest.approx(whole.strengths(k)["slope"], rel=1e-9)


def test_a_step_with_too_few_rows_says_nothing_about_the_terms_length() -> None:
    policy, term, z = slopes(0, 3, 2, 4, 1)
    slope = Slope(term[0][:3], term[0][3:])
    regularizer = relative(0.3, standardise=False) * slope
    for step in range(3):
        stepped(regularizer, z, policy[0], 3, step)
    expected = regularizer.strengths()
    slope.min_samples = 3
    torch.testing.assert_close(stepped(regularizer, z, policy[0], 3, 3), policy[0])
    slope.min_samples = 1
    stepped(regularizer, z, policy[0], 3, 4)
    assert regularizer.strengths() == pytest.approx(expected, rel=1e-12)


def test_evaluations_move_nothing() -> None:
    policy, term, z = slopes(0, 3, 2, 4, 2)
    plain, watched = (relative(0.3) * Slope(term[0][:3], term[0][3:]) for _ in range(2))
    for k in range(2):
        stepped(plain, z, policy[k], 3, k)
        stepped(watched, z, policy[k], 3, k)
        with torch.no_grad():
            watched(7 * z[:3], z[3:] - 1, step=k)
        watched.eval()
        watched((7 * z[:3]).requires_grad_(), z[3:] - 1, step=k + 1).backward()
        watched.train()
    torch.testing.assert_close(stepped(plain, z, policy[0], 3, 2), stepped(watched, z, policy[0], 3, 2), rtol=0, atol=0)


@given(seeds, sizes, sizes, st.floats(1e-3, 1e3), st.floats(-50, 50))
def test_standardised_terms_are_blind_to_the_scale_and_place_of_the_features(seed, n, m, scale, shift):
    z = torch.cat(features(seed, n, m, 3, shift=1.0))
    pull = torch.cat(features(seed + 1, n, m, 3))
    values, lengths = [], []
    for factor, place in ((1.0, 0.0), (scale, shift)):
        regularizer = relative(0.2, raw=math.inf) * Gap()
        moved = factor * z + place
        stepped(regularizer, moved, pull / factor, n, 0)  # the same policy reads features in other units
        received = stepped(regularizer, moved, pull / factor, n, 1) - pull / factor
        values.append(regularizer(moved[:n], moved[n:]) / regularizer.strengths()["gap"])
        lengths.append(factor * received)
    torch.testing.assert_close(values[1], values[0], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(lengths[1], lengths[0], rtol=1e-6, atol=1e-9)


def test_a_coordinate_that_hardly_varies_is_not_blown_up_and_constant_features_stay_finite() -> None:
    source, target = features(0, 40, 40, 3, shift=0.0)
    tiny = torch.tensor([1.0, 1.0, 1e-9], dtype=torch.float64)
    regularizer = relative(1.0) * Gap()
    regularizer(source * tiny, target * tiny, step=0)
    seen, _ = next(iter(regularizer.measured_strengths())).transform(Rows(source * tiny), Rows(target * tiny))
    assert seen.features[:, 2].abs().max() < 1e-6 and 0.5 < seen.features[:, 0].std() < 1.5
    same = torch.ones(4, 3, dtype=torch.float64)
    assert (relative(1.0) * Gap())(same, same, step=0).item() == 0.0


def test_the_encoder_receives_the_derivative_of_policy_plus_weighted_standardised_term() -> None:
    cotrain = joined(Method(regularizer=relative(0.4) * Gap()))
    cotrain.policy.per_sample = lambda b: noiseless(cotrain.policy, b)
    for step in range(2):
        cotrain.zero_grad()
        losses = cotrain(batch(), domain=HALF, step=step)
        losses.total.backward()
    (weight,), (listener,) = losses.strengths.values(), cotrain.regularizer.measured_strengths()
    assert weight > 0.0

    def loss() -> Tensor:
        z = cotrain.policy.encoder(batch()["observation"])
        read = listener.transform(Rows(z[~HALF]), Rows(z[HALF]))
        return noiseless(cotrain.policy, batch()).mean() + weight * Gap()(*read)

    for p in cotrain.policy.parameters():
        place = p.detach().abs().argmax()
        with torch.no_grad():
            ends = []
            for h in (1e-6, -1e-6):
                p.view(-1)[place] += h
                ends.append(loss())
                p.view(-1)[place] -= h
        assert float(p.grad.view(-1)[place]) == pytest.approx(float(ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-9)


def noiseless(policy: Any, b: dict[str, Tensor]) -> Tensor:
    time = torch.full((len(b["action"]),), 0.5, dtype=torch.float64)
    return (policy.head(b["action"], time, condition=policy.encoder(b["observation"])) - b["action"]).square().mean(1)


def joined(method: Method, seam: Seam = SEAM, policy: nn.Module | None = None, **how: Any) -> CoTrain:
    torch.manual_seed(0)
    cotrain = CoTrain(policy or Policy(), method, seam=seam, **how)
    cotrain.double()
    return cotrain


def measured_method() -> Method:
    torch.manual_seed(1)
    terms = relative(0.3) * MMD() - relative(0.2) * DomainClassifier(4, hidden=(5,))
    return Method(regularizer=terms, guidance=DomainGuidance(drop=0.5))


def run(
    cotrain: CoTrain, optimizer: torch.optim.Optimizer, steps: range, draw: Callable[[int], dict[str, Tensor]] = batch
) -> list[tuple[float, ...]]:
    found = []
    for step in steps:
        torch.manual_seed(step)
        losses = cotrain(draw(step), domain=HALF, step=step)
        losses.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append((float(losses.total.detach()), *losses.strengths.values()))
    return found


def optimizer_of(cotrain: CoTrain) -> torch.optim.Optimizer:
    return torch.optim.AdamW(cotrain.parameters(), lr=1e-2)


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped() -> None:
    through = joined(measured_method())
    expected = run(through, optimizer_of(through), range(6))
    assert all(weight != 0.0 for row in expected[1:] for weight in row[1:])
    first = joined(measured_method())
    optimizer = optimizer_of(first)
    run(first, optimizer, range(3))
    saved = io.BytesIO()
    torch.save({"cotrain": first.state_dict(), "optimizer": optimizer.state_dict()}, saved)
    saved.seek(0)
    later, state = joined(measured_method()), torch.load(saved)
    resumed = optimizer_of(later)
    later.load_state_dict(state["cotrain"])
    resumed.load_state_dict(state["optimizer"])
    assert run(later, resumed, range(3, 6)) == expected[3:]


def test_copies_pickles_and_fresh_methods_have_averages_of_their_own() -> None:
    cotrain = joined(measured_method())
    run(cotrain, optimizer_of(cotrain), range(2))
    losses = cotrain(batch(), domain=HALF, step=2)  # a graph is alive
    copies = [copy.deepcopy(cotrain), pickle.loads(pickle.dumps(cotrain))]
    losses.total.backward()
    copies.append(joined(cotrain.method.fresh()))
    weights = cotrain.regularizer.strengths()
    assert all(other.regularizer.strengths() == weights for other in copies)
    run(cotrain, optimizer_of(cotrain), range(3, 5))
    assert cotrain.regularizer.strengths() != weights
    assert all(other.regularizer.strengths() == weights for other in copies)


def test_a_check_leaves_no_trace() -> None:
    plain, checked = joined(measured_method()), joined(measured_method())
    expected = run(plain, optimizer_of(plain), range(4))
    optimizer = optimizer_of(checked)
    found = run(checked, optimizer, range(2))
    checked.check(batch(9), domain=HALF, step=77)
    assert found + run(checked, optimizer, range(2, 4)) == expected


@pytest.mark.parametrize("output", ["tensor", "dict"])
def test_features_read_from_a_modules_output_are_measured_like_a_condition(output: str) -> None:
    found = []
    for seam in (SEAM, Seam(feature="encoder", head="head", condition="condition", width=4)):
        policy = Policy()
        if seam.feature and output == "dict":
            policy.encoder = InADict(policy.encoder)
            policy.per_sample = lambda b, p=policy: noiseless_from(p.head, p.encoder(b["observation"])["z"], b)
        else:
            policy.per_sample = lambda b, p=policy: noiseless_from(p.head, p.encoder(b["observation"]), b)
        policy.load_state_dict({k: 0.3 * torch.ones_like(v) for k, v in policy.state_dict().items()})
        cotrain = joined(Method(regularizer=relative(0.3) * Gap()), seam, policy)
        found.append(run(cotrain, torch.optim.SGD(cotrain.parameters(), lr=0.1), range(3)))
    assert found[0] == found[1] and found[0][-1][1] > 0.0


class InADict(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"z": self.inner(x)}


def noiseless_from(head: nn.Module, z: Tensor, b: dict[str, Tensor]) -> Tensor:
    time = torch.full((len(z),), 0.5, dtype=torch.float64)
    return (head(b["action"], time, condition=z) - b["action"]).square().mean(1)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_head_run_again_by_activation_checkpointing_is_heard_once(reentrant: bool) -> None:
    found = []
    for again in (False, True):
        policy = Policy()

        def loss(b: dict[str, Tensor], p: Any = policy, again: bool = again) -> Tensor:
            z = p.encoder(b["observation"])
            head = lambda z: noiseless_from(p.head, z, b)
            return checkpoint(head, z, use_reentrant=reentrant) if again else head(z)

        policy.per_sample = loss
        policy.load_state_dict({k: 0.3 * torch.ones_like(v) for k, v in policy.state_dict().items()})
        cotrain = joined(Method(regularizer=relative(0.3) * Gap()), policy=policy)
        found.append(run(cotrain, torch.optim.SGD(cotrain.parameters(), lr=0.1), range(3)))
    assert _close(*found)


def _close(a: list[tuple[float, ...]], b: list[tuple[float, ...]]) -> bool:
    torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=1e-9, atol=1e-12)
    return a[-1][1] > 0.0


def test_sample_weights_count_in_the_policys_length() -> None:
    weights = []
    for factor in (1.0, 3.0):
        cotrain = joined(Method(regularizer=relative(0.1, raw=math.inf) * Gap()))
        for step in range(2):
            torch.manual_seed(step)
            losses = cotrain(batch(), domain=HALF, step=step, weight=torch.full((6,), factor))
            losses.total.backward()
        weights.append(losses.strengths["gap"])
    assert weights[1] == pytest.approx(3 * weights[0], rel=1e-6)


def test_half_precision_and_a_gradient_scaler_give_the_same_weights() -> None:
    plain, scaled = joined(measured_method()), joined(measured_method())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    optimizers = [torch.optim.SGD(c.parameters(), lr=0.1) for c in (plain, scaled)]
    for step in range(5):
        weights = []
        for cotrain, optimizer in zip((plain, scaled), optimizers, strict=True):
            torch.manual_seed(step)
            losses = cotrain(batch(step), domain=HALF, step=step)
            weights.append(list(losses.strengths.values()))
            (scaler.scale(losses.total) if cotrain is scaled else losses.total).backward()
            scaler.step(optimizer) if cotrain is scaled else optimizer.step()
            optimizer.zero_grad()
        scaler.update()
        assert weights[1] == pytest.approx(weights[0], rel=1e-9)
    narrow = joined(measured_method()).float()
    for step in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            losses = narrow({k: x.float() for k, x in batch().items()}, domain=HALF, step=step)
        losses.total.backward()
    assert all(0.0 < abs(weight) < math.inf for weight in losses.strengths.values())


class Called(Policy):
    def forward(self, b: dict[str, Tensor]) -> Tensor:
        return noiseless(self, b).mean()


def _linear_method() -> Method:
    torch.manual_seed(1)
    return Method(regularizer=relative(0.3, raw=math.inf) * MMD(1.0) - relative(0.3) * DomainClassifier(4, hidden=(5,)))


def _steps(cotrain: CoTrain, model: Any, rows: slice) -> list[float]:
    optimizer = torch.optim.SGD(cotrain.parameters(), lr=0.1)
    for step in range(4):
        part = {name: x[rows] for name, x in batch(step, 12).items()}
        losses = model(part, domain=(torch.arange(12) % 2 == 0)[rows], step=step)
        losses.total.backward()
        optimizer.step()
        optimizer.zero_grad()
    return [*losses.strengths.values()]


def _parallel_weights(rank: int) -> dict[Any, Any]:
    """{gather: (weights, parameters)} and the controller's reading."""
    found: dict[Any, Any] = {}
    for gather in (True, False):
        method = _linear_method() if gather else Method(regularizer=relative(0.3, raw=math.inf) * MeanSlope())
        cotrain = joined(method, policy=_called(), loss="__call__", gather=gather)
        weights = _steps(cotrain, nn.parallel.DistributedDataParallel(cotrain), slice(6 * rank, 6 * rank + 6))
        found[gather] = weights, {name: p.detach() for name, p in cotrain.named_parameters()}
    measured = balanced(1.0, every=1, ramp=4, rows=32)
    measured.on_target_loss([1.0, 3.0][rank])
    source, target = clouds(rank, 64, [9.0, 0.0][rank])
    (measured * Gap())(source.requires_grad_(), target, step=0)
    return found | {"reading": tuple(measured.reading)}


class MeanSlope(Term):
    """A term whose mean over ranks is the term of all rows."""

    def compare(self, pair) -> Tensor:
        source, target = pair.source, pair.target
        return source.features.mean() - target.features.square().mean()


def _called() -> Policy:
    torch.manual_seed(3)
    return Called()


def test_two_processes_have_the_weights_and_the_parameters_of_one(tmp_path: Any) -> None:
    found = in_processes(_parallel_weights, tmp_path)
    for gather in (True, False):
        method = _linear_method() if gather else Method(regularizer=relative(0.3, raw=math.inf) * MeanSlope())
        one = joined(method, policy=_called(), loss="__call__")
        weights = _steps(one, one, slice(0, 12))
        expected = {name: p.detach() for name, p in one.named_parameters()}
        for of_rank in found:
            theirs, parameters = of_rank[gather]
            assert theirs == pytest.approx(weights, rel=1e-9) and all(weights)
            torch.testing.assert_close(parameters, expected, rtol=1e-9, atol=1e-12)
    each = [read(*(side[-32:] for side in clouds(rank, 64, shift))) for rank, shift in enumerate((9.0, 0.0))]
    readings = [of_rank["reading"] for of_rank in found]
    assert readings[0] == readings[1] and readings[0][1:3] == pytest.approx((sum(each) / 2, 2.0), rel=1e-6)


def test_measured_weights_are_negated_scaled_and_multiplied_like_any_other() -> None:
    policy, term, z = slopes(0, 3, 2, 4, 1)
    built = -(2.0 * (linear(0.0, 1.0, 4) * relative(0.3, standardise=False) * Slope(term[0][:3], term[0][3:])))
    stepped(built, z, policy[0], 3, 0)
    stepped(built, z, policy[0], 3, 1)
    alone = min(1.0, 0.3 * float(policy[0].norm() / term[0].norm()))
    assert [built.strengths(step)["slope"] for step in (0, 2, 4)] == pytest.approx([0.0, -alone, -2 * alone])
    summed = 0.1 * Gap() + relative(0.1) * Gap() - relative(0.2) * warmup(1.0, 3) * Gap()
    assert len(summed.parts()) == 3 and len(summed.measured_strengths()) == 2
    assert "relative(0.1, raw=1)" in repr(summed)


def test_a_measured_weight_measures_one_term() -> None:
    weight = relative(0.1)
    with pytest.raises(ValueError, match=r"measures one term, got one that scales several"):
        weight * (Gap() + 2 * MMD())
    with pytest.raises(ValueError, match=r"measures one term"):
        weight * Gap() + weight * MMD()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"fraction": -0.1}, "negate the strength"),
        ({"fraction": 0.1, "raw": 0.0}, "above 0, got 0.0"),
        ({"fraction": 0.1, "decay": 1.0}, r"lies in \[0, 1\), got 1.0"),
    ],
)
def test_settings_out_of_range_are_errors(how: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        relative(**how)


def test_a_policy_that_is_not_heard_is_warned_about_once() -> None:
    regularizer = relative(0.1) * Gap()
    regularizer.measured_strengths()[0].patience = 3
    z = torch.cat(features(0, 3, 2, 4)).requires_grad_()
    with pytest.warns(UserWarning, match=r"got none in 3 steps.*regularizer\.seam\(z\)"):
        for step in range(5):
            regularizer(z[:3], z[3:], step=step).backward()
    assert regularizer.strengths() == {"gap": 0.0}


def test_frozen_features_are_an_error_from_the_first_step() -> None:
    cotrain = joined(Method(regularizer=relative(0.1) * Gap()))
    cotrain.policy.encoder.requires_grad_(False)
    with pytest.raises(ValueError, match="gap asks something of the features"):
        cotrain(batch(), domain=HALF, step=0)


def test_methods_without_measured_weights_save_what_they_always_saved() -> None:
    assert not [key for key in joined(Method(regularizer=0.1 * MMD())).state_dict() if "extra" in key]
    assert [key for key in joined(Method(regularizer=relative(0.1) * MMD())).state_dict() if "extra" in key]


def clouds(seed: int, n: int, shift: float, d: int = 4) -> tuple[Tensor, Tensor]:
    """Two unit Gaussians `shift` apart along one axis, turned at random."""
    generator = torch.Generator().manual_seed(seed)
    turn, _ = torch.linalg.qr(torch.randn(d, d, generator=generator))
    source, target = torch.randn(2, n, d, generator=generator)
    target[:, 0] += shift
    return 3 * source @ turn - 7, 3 * target @ turn - 7


def read(source: Tensor, target: Tensor, episodes: Tensor | None = None) -> float:
    return held_out_accuracy(Seen(source, episodes), Seen(target, episodes))


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0, 4.0])
def test_the_probe_reads_two_gaussians_nearly_as_well_as_can_be(shift: float) -> None:
    best = 0.5 * (1 + math.erf(shift / 2 / math.sqrt(2)))
    found = [read(*clouds(seed, 256, shift)) for seed in range(10)]
    error = math.sqrt(best * (1 - best) / (10 * 512)) + 1e-3
    mean = sum(found) / len(found)
    assert best - 0.03 - 4 * error < mean < best + 4 * error


def test_the_probe_sees_what_no_plane_divides() -> None:
    angle = torch.rand(200, generator=torch.Generator().manual_seed(0)) * 2 * math.pi
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    assert read(ring, 3 * ring) > 0.98


def test_frames_of_an_episode_are_never_in_both_halves() -> None:
    generator = torch.Generator().manual_seed(0)
    names = torch.arange(16).repeat_interleave(16)[torch.randperm(256, generator=generator)]
    sides = []
    for _ in range(2):  # each episode a place of its own; the places of both domains come from one distribution
        places = 5 * torch.randn(16, 8, generator=generator)
        sides.append(places[names] + 0.01 * torch.randn(256, 8, generator=generator))
    assert read(*sides) > 0.99
    assert read(*sides, episodes=names) < 0.8


def test_constant_features_are_read_at_chance() -> None:
    assert read(torch.ones(20, 3), torch.ones(30, 3)) == 0.5


def held(weight: Any, apart: float, losses: list[float | None], **how: Any) -> list[float]:
    """The weights of a balanced term over readings of clouds `apart`, a report before each."""
    measured = balanced(weight, **{"every": 1, "ramp": 4, "rows": 64, **how})
    regularizer, found = measured * Gap(), []
    for step, loss in enumerate(losses):
        if loss is not None:
            measured.on_target_loss(loss)
        source, target = clouds(step, 64, apart)
        regularizer(source.requires_grad_(), target, step=step)
        found.append(regularizer.strengths(step)["gap"])
    return found


def test_the_weight_rises_while_the_domain_is_easy_to_read_and_stops_at_the_whole() -> None:
    assert held(-0.8, 9.0, [1.0] * 6) == pytest.approx([-0.2, -0.4, -0.6, -0.8, -0.8, -0.8])
    assert held(0.8, 9.0, [1.0] * 6, discernibility=1.0) == [0.0] * 6  # at the set point it stays


def test_it_falls_when_the_domain_is_hard_to_read() -> None:
    measured = balanced(1.0, every=1, ramp=4, rows=32)
    regularizer, found = measured * Gap(), []
    for step in range(10):
        measured.on_target_loss(1.0)
        source, target = clouds(step, 64, 9.0 if step < 4 else 0.0)
        regularizer(source.requires_grad_(), target, step=step)
        found.append(regularizer.strengths()["gap"])
    assert found == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.0])


def test_it_moves_slower_near_the_wanted_discernibility() -> None:
    measured = balanced(1.0, discernibility=0.84, every=1, ramp=1, rows=4096)
    source, target = clouds(0, 512, 2.0)
    accuracy = read(source, target)
    assert abs(accuracy - 0.84) < 0.05
    measured.on_target_loss(0.0)
    (measured * Gap())(source.requires_grad_(), target, step=0)
    assert measured.reading.factor == pytest.approx(max(0.0, (accuracy - 0.84) / 0.05))
    assert measured.reading.discernibility == pytest.approx(accuracy)


def test_it_does_not_rise_before_the_targets_loss_is_known() -> None:
    assert held(1.0, 9.0, [None, None, 1.0, 1.0]) == pytest.approx([0.0, 0.0, 0.25, 0.5])


@pytest.mark.parametrize("worse", [1.5, math.nan, math.inf])
def test_a_target_loss_past_its_best_brakes_whatever_the_probe_reads(worse: float) -> None:
    losses = [1.0, 1.0, 1.0, 1.0, worse, worse]
    found = held(1.0, 9.0, losses)
    assert found == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.5, 0.0])


def test_a_target_loss_within_tolerance_does_not_brake_below_zero_either() -> None:
    assert held(1.0, 9.0, [-2.0, -1.9, -1.85])[-1] == 0.75
    assert held(1.0, 9.0, [-2.0, -2.0, -1.0, -1.0])[-1] < 0.5


def test_a_set_point_that_never_binds_is_said_once_either_way() -> None:
    with pytest.warns(UserWarning, match=r"discernibility 0\.9 does not bind: the whole strength is on") as caught:
        held(1.0, 9.0, [1.0] * 50)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="without the term, so its strength stays zero") as caught:
        held(1.0, 0.0, [1.0] * 50)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=r"got no report in 20 readings.*hold_out\(batch\)"):
        held(1.0, 9.0, [None] * 25)


def test_when_held_out_episodes_are_trained_on_the_weight_stays_or_falls_by_the_probe_alone() -> None:
    measured = balanced(1.0, every=1, ramp=4, rows=64)
    regularizer, found = measured * Gap(), []
    for step, apart in enumerate([9.0, 9.0, 9.0, 9.0, 0.0, 0.0]):
        measured.on_target_loss(1.0 if step < 2 else 50.0)  # past its best, and no longer asked for
        if step == 2:
            measured.release()
        source, target = clouds(step, 64, apart)
        regularizer(source.requires_grad_(), target, step=step)
        found.append(measured.reading.factor)
    assert found[:4] == [0.25, 0.5, 0.5, 0.5] and found[5] < found[4] < 0.5
    resumed = balanced(1.0, every=1, ramp=4, rows=64)
    resumed.load_state_dict(measured.state_dict())
    for step in range(6, 9):
        resumed.on_target_loss(0.1)  # a new best
        source, target = clouds(step, 64, 9.0)
        (resumed * Gap())(source.requires_grad_(), target, step=step)
    assert resumed.reading.factor == measured.reading.factor and resumed.reading.braked


def test_a_steps_losses_hold_what_each_weight_went_by() -> None:
    cotrain = joined(balanced_method())
    cotrain.hold_out(batch(99, 4))
    assert joined(Method())(batch(), domain=HALF, step=0).readings == {}
    optimizer, watch = optimizer_of(cotrain), cotrain.watch(every=1)
    for step in range(8):
        found = cotrain(shifted(step), domain=HALF, step=step)
        found.total.backward()
        optimizer.step()
        optimizer.zero_grad()
    inner, outer = sorted(cotrain.regularizer.measured_strengths(), key=lambda part: type(part).__name__, reverse=True)
    assert outer.reading.discernibility is not None and outer.reading.target_loss is not None
    of_outer = {name: float(value) for name, value in outer.reading._asdict().items()}
    of_inner = dict(zip(("policy_gradient", "term_gradient"), inner.lengths, strict=True))
    assert {name: value for name, value in watch.values.items() if name.startswith("reading/")} == {
        f"reading/{name}": value for name, value in found.readings.items()
    }
    assert found.readings == {f"domain_classifier/{name}": value for name, value in (of_outer | of_inner).items()}


def test_a_silence_after_release_is_not_complained_of(recwarn) -> None:
    cotrain = joined(balanced_method())
    cotrain.hold_out(batch(99, 4))
    controlled(cotrain, optimizer_of(cotrain), range(6))
    cotrain.release_held_out()
    controlled(cotrain, optimizer_of(cotrain), range(6, 100))
    assert not [w for w in recwarn if "got no report" in str(w.message)]
    joined(Method()).release_held_out()


def test_parts_of_an_accumulated_batch_are_one_step_of_the_controller() -> None:
    measured = balanced(1.0, every=2, ramp=4, rows=64)
    regularizer, (source, target) = measured * Gap(), clouds(0, 64, 9.0)
    factors = []
    for step in range(6):
        measured.on_target_loss(1.0)
        for part in (slice(0, 32), slice(32, 64)):
            regularizer(source[part].requires_grad_(), target[part], step=step)
        factors.append(measured.reading.factor)
    assert factors == [0.0, 0.5, 0.5, 1.0, 1.0, 1.0]


def balanced_method(weight: Any = None) -> Method:
    torch.manual_seed(1)
    weight = balanced(-relative(0.3) if weight is None else weight, 0.6, every=3, ramp=6, rows=40)
    return Method(regularizer=weight * DomainClassifier(4, hidden=(5,)), guidance=DomainGuidance(drop=0.5))


def shifted(step: int) -> dict[str, Tensor]:
    b = batch(step)
    return {**b, "observation": b["observation"] + 9.0 * HALF[:, None]}


def controlled(cotrain: CoTrain, optimizer: torch.optim.Optimizer, steps: range) -> list[tuple[float, ...]]:
    return run(cotrain, optimizer, steps, shifted)


def test_a_balanced_cap_is_resumed_exactly_with_a_batch_held_out() -> None:
    through, first, later = (joined(balanced_method()) for _ in range(3))
    for cotrain in (through, first, later):
        cotrain.hold_out(batch(99, 4))
    expected = controlled(through, optimizer_of(through), range(16))
    assert expected[0][1] == 0.0 and expected[-1][1] < 0.0
    optimizer = optimizer_of(first)
    controlled(first, optimizer, range(10))
    saved = io.BytesIO()
    torch.save({"cotrain": first.state_dict(), "optimizer": optimizer.state_dict()}, saved)
    saved.seek(0)
    state, resumed = torch.load(saved), optimizer_of(later)
    later.load_state_dict(state["cotrain"])
    resumed.load_state_dict(state["optimizer"])
    assert controlled(later, resumed, range(10, 16)) == expected[10:]
    assert controlled(copy.deepcopy(later), resumed, range(16, 17)) == controlled(later, resumed, range(16, 17))


def test_a_held_out_batch_disturbs_neither_random_numbers_nor_modes_and_has_the_same_noise_each_time() -> None:
    told: list[float] = []
    plain, watched = joined(balanced_method(0.0)), joined(balanced_method(0.0))
    watched.hold_out(batch(99, 4))
    for cotrain in (plain, watched):
        cotrain.policy.encoder[1].eval()
    watched.regularizer.measured_strengths()[0].on_target_loss = told.append
    sgd = [torch.optim.SGD(c.parameters(), lr=0.0) for c in (plain, watched)]
    assert controlled(plain, sgd[0], range(8)) == controlled(watched, sgd[1], range(8))
    assert len(told) == 2 and told[0] == told[1] and watched.policy.training
    assert not watched.policy.encoder[1].training


def test_a_target_loss_is_reported_to_every_balanced_weight() -> None:
    cotrain = joined(Method(regularizer=balanced(1.0) * Gap() + 0.1 * MMD() + -balanced(0.5) * Gap()))
    cotrain.report_target_loss(0.25)
    each = [strength.get_extra_state() for strength in cotrain.regularizer.measured_strengths()]
    assert [state["reported"] for state in each] == [[0.25], [0.25]]
    joined(Method()).report_target_loss(1.0)


def test_a_held_out_batch_of_unequal_tensors_needs_labels() -> None:
    cotrain = joined(balanced_method())
    with pytest.raises(ValueError, match=r"tensors of \[2, 4\] rows.*domain="):
        cotrain.hold_out({**batch(0, 4), "other": torch.zeros(2)})


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"discernibility": 0.5}, "above chance 0.5"),
        ({"every": 20, "ramp": 10}, "1 <= every <= ramp"),
        ({"rows": 8}, "rows >= 32"),
        ({"tolerance": -1.0}, "tolerance >= 0"),
    ],
)
def test_controllers_out_of_range_are_errors(how: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        balanced(1.0, **how)


def settled(weight: Any, steps: int = 3000) -> float:
    """Where a policy that wants the target 0.1 from the source ends, under a term that wants it at the source.

    loss (place - 0.1)^2 / 2 and noise of standard deviation 1 in its gradient; term place^2.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(steps, generator=generator, dtype=torch.float64).tolist()
    regularizer, place, late = weight * Gap(), 0.1, []
    for step in range(steps):
        z = torch.tensor([[0.0], [place]], dtype=torch.float64, requires_grad=True)
        heard = regularizer.seam(z)[1, 0]
        (0.5 * (heard - 0.1) ** 2 + noise[step] * heard + regularizer(z[:1], z[1:], step=step)).backward()
        place -= 0.002 * float(z.grad[1, 0])
        late.append(place)
    return sum(late[-1000:]) / 1000


def test_normalised_a_converged_term_goes_on_into_overlap_and_capped_it_stops_at_its_raw_balance() -> None:
    how = {"standardise": False}
    capped, normalised = (settled(relative(1.0, raw=raw, **how)) for raw in (0.05, math.inf))
    wanted, error = 0.1 / (1 + 2 * 0.05), 0.03  # place - 0.1 + 2 raw place = 0
    assert abs(capped - wanted) < error
    assert abs(normalised) < 0.02 < wanted - error


def test_numbers_that_run_away_are_said_once_each_and_usual_ones_never() -> None:
    watch = Divergence()
    for step in range(20):
        watch.look(
            {"policy": 2.0 * 0.8**step, "norm/source": 1.0 + step, "norm/target": 3.0, "ratio": 10.0**step}, step
        )
    assert watch.diverged == {}
    with pytest.warns(UserWarning, match=r"training diverges: norm/target is 16 at step 20, 3 before") as caught:
        for step in (20, 21):
            watch.look({"policy": 0.01, "norm/target": 16.0}, step)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="policy is nan at step 22"):
        watch.look({"policy": math.nan}, 22)
    assert watch.diverged == {"norm/target": 20, "policy": 22}


def test_a_watch_tells_when_an_adversary_pushes_the_features_out() -> None:
    cotrain = joined(Method(regularizer=-300.0 * DomainClassifier(4, hidden=(5,))))
    watch, optimizer = cotrain.watch(every=1), torch.optim.SGD(cotrain.parameters(), lr=0.02)
    with pytest.warns(UserWarning, match="training diverges"):
        run(cotrain, optimizer, range(40))
    assert watch.divergence.diverged
