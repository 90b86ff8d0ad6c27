"""The algebra: flat sums, signed weights, what each side of a term receives."""

from __future__ import annotations

import copy
import math
import pickle
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cotrain_losses import Regularizer, Rows, Term
from cotrain_losses.strength.schedules import constant, linear, warmup
from tests.drawn import any_size, features, seeds, sizes, widths
from tests.training import Gap

weights = st.floats(-2.0, 2.0).filter(lambda w: w == 0.0 or abs(w) > 1e-3)


class Critic(Term):
    """A linear head that tells the sides apart."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, 1).double()

    def compare(self, pair) -> Tensor:
        source, target = pair.source, pair.target
        return self.head(source.features).mean() - self.head(target.features).square().mean()


def gradients(value: Tensor, *inputs: Tensor) -> list[Tensor]:
    if not value.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    found = torch.autograd.grad(value, inputs, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]


def live(*sides: Tensor) -> list[Tensor]:
    return [side.clone().requires_grad_() for side in sides]


@given(seeds, sizes, sizes, widths, weights)
def test_the_weight_scales_the_value_and_what_reaches_the_features_but_not_the_terms_own_head(seed, n, m, d, weight):
    source, target = live(*features(seed, n, m, d))
    term = Critic(d)
    raw, weighted = term(source, target), (weight * term)(source, target)
    torch.testing.assert_close(weighted, weight * raw, rtol=1e-12, atol=1e-12)
    of_raw = gradients(raw, source, target, *term.parameters())
    of_weighted = gradients(weighted, source, target, *term.parameters())
    for plain, scaled in zip(of_raw[:2], of_weighted[:2], strict=True):
        torch.testing.assert_close(scaled, weight * plain, rtol=1e-12, atol=1e-12)
    for plain, unit in zip(of_raw[2:], of_weighted[2:], strict=True):
        torch.testing.assert_close(unit, plain, rtol=0, atol=0)


@given(seeds, sizes, sizes, widths, weights)
def test_without_parameters_the_algebra_is_plain_multiplication(seed, n, m, d, weight):
    source, target = live(*features(seed, n, m, d))
    ours, plain = (weight * Gap())(source, target), weight * Gap()(source, target)
    torch.testing.assert_close(ours, plain)
    for g, expected in zip(gradients(ours, source, target), gradients(plain, source, target), strict=True):
        torch.testing.assert_close(g, expected)


@given(seeds, any_size, any_size, widths)
def test_too_few_rows_give_an_exact_zero_on_the_graph_own_parameters_included(seed, n, m, d):
    source, target = live(*features(seed, n, m, d))
    term = Critic(d)
    term.min_samples = 6
    value = (0.5 * term)(source, target)
    assert value.item() == 0.0
    value.backward()
    for x in (source, target, *term.parameters()):
        assert x.grad is not None and not x.grad.any()


def test_a_weight_of_zero_watches_nothing_reaches_the_encoder_and_the_head_learns() -> None:
    source, target = live(*features(0, 3, 2, 4))
    term = Critic(4)
    value = (0.0 * term)(source, target)
    assert value.item() == 0.0
    value.backward()
    assert source.grad is None and target.grad is None
    torch.testing.assert_close(term.head.weight.grad, gradients(term(source, target), term.head.weight)[0])


@given(st.lists(weights, min_size=1, max_size=5), weights)
def test_sums_signs_and_factors_stay_one_flat_list(given_weights, factor):
    terms = [Gap() for _ in given_weights]
    built = factor * -sum(w * term for w, term in zip(given_weights, terms, strict=True))
    assert [term for _, _, term in built.parts()] == terms
    torch.testing.assert_close([w for _, w, _ in built.parts()], [-factor * w for w in given_weights])
    assert not any(isinstance(m, Regularizer) for m in built.terms.modules())


def test_differences_of_terms_and_regularizers_subtract() -> None:
    a, b = Gap(), Critic(2)
    assert [w for _, w, _ in (a - b).parts()] == [1.0, -1.0]
    assert [w for _, w, _ in (0.5 * a - (b + 2 * a)).parts()] == [0.5, -1.0, -2.0]
    assert [w for _, w, _ in (-a).parts()] == [-1.0]


def test_terms_of_one_class_get_names_of_their_own() -> None:
    assert list((Gap() + Critic(2) + Gap()).strengths()) == ["gap", "critic", "gap_2"]


def test_the_evaluation_names_raw_values_weights_rows_and_skipped_terms() -> None:
    source, target = features(0, 3, 1, 4)
    needy = Critic(4)
    needy.min_samples = 2
    found = (0.25 * Gap() - needy).evaluate(source, target)
    assert found.strengths == {"gap": 0.25, "critic": -1.0} and (found.n, found.m) == (3, 1)
    assert found.skipped == ("critic",) and found.raw["critic"].item() == 0.0
    torch.testing.assert_close(found.raw["gap"], Gap()(source, target))
    torch.testing.assert_close(found.value, 0.25 * Gap()(source, target))


def test_a_scheduled_weight_reads_the_step_and_never_counts() -> None:
    source, target = features(0, 3, 2, 4)
    regularizer = 2.0 * (linear(0.0, 1.0, 10) * Gap())
    for step in (7, 2, 7):
        torch.testing.assert_close(regularizer(source, target, step=step), 2 * step / 10 * Gap()(source, target))


def test_a_scheduled_weight_without_a_step_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"strength of gap is a schedule.*got step=None.*step=step"):
        (constant(0.1) * Gap())(*features(0, 3, 2, 4))


@given(st.integers(0, 2000), st.floats(-2, 2), st.integers(1, 1000))
def test_schedules_are_their_formulas(step, peak, steps):
    p = min(step / steps, 1.0)
    assert warmup(peak, steps)(step) == pytest.approx(peak * (2 / (1 + math.exp(-10.0 * p)) - 1))
    assert linear(1.0, peak, steps)(step) == pytest.approx(1 + (peak - 1) * p)
    assert constant(peak)(step) == peak


def test_a_schedule_needs_a_length() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        warmup(1.0, 0)


def test_one_warning_when_a_term_is_skipped_in_over_half_of_a_hundred_batches() -> None:
    source, target = features(0, 3, 2, 4)
    regularizer = 1.0 * Gap()
    with pytest.warns(
        UserWarning, match=r"gap compares at least 1 source rows.*60 of the last 100.*share=0\.5"
    ) as caught:
        for k in range(200):
            regularizer(source, target[: 2 * (k % 100 >= 60)])
    assert len(caught) == 1


@pytest.mark.parametrize(("skips", "warns"), [(50, 0), (51, 1)])
def test_the_warning_comes_with_the_hundredth_batch_and_for_more_than_half_of_them(skips, warns) -> None:
    source, target = features(0, 3, 2, 4)
    regularizer = 1.0 * Gap()
    for k in range(99):
        regularizer(source, target[: 2 * (k >= skips)])  # warnings are errors here
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        regularizer(source, target)
    assert len(caught) == warns


def test_no_warning_for_half_of_the_batches_nor_in_evaluation() -> None:
    source, target = features(0, 3, 2, 4)
    regularizer = 1.0 * Gap()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for k in range(100):
            regularizer(source, target[: 2 * (k % 2)])
        regularizer.eval()
        for _ in range(200):
            regularizer(source, target[:0])
    assert caught == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_and_autocast_switched_off(dtype, device) -> None:
    source, target = (x.to(dtype) for x in features(0, 3, 2, 4))
    with torch.autocast(device.type if device.type == "cuda" else "cpu", torch.bfloat16):
        value = (0.5 * Gap())(source, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, 0.5 * Gap()(source.float(), target.float()))


def test_the_algebra_compiles_without_a_graph_break(compiled) -> None:
    source, target = live(*(x.float() for x in features(0, 3, 2, 4)))
    term = Critic(4)
    term.head.float()
    regularizer = -0.5 * term + 0.1 * Gap()
    whole = torch.compile(regularizer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(whole(source, target), regularizer(source, target))
    ours = gradients(whole(source, target), source, term.head.weight)
    torch.testing.assert_close(ours, gradients(regularizer(source, target), source, term.head.weight))


def test_a_regularizer_copies_and_pickles_with_its_schedules() -> None:
    source, target = features(0, 3, 2, 4)
    regularizer = warmup(-1.0, 10) * Critic(4) + 0.1 * Gap()
    for other in (copy.deepcopy(regularizer), pickle.loads(pickle.dumps(regularizer))):
        torch.testing.assert_close(other(source, target, step=5), regularizer(source, target, step=5))


def test_rows_are_indexed_whole() -> None:
    rows = Rows(torch.arange(8.0).reshape(4, 2), {"action": torch.arange(4)}, group=torch.tensor([0, 0, 1, 1]))
    chosen = rows[torch.tensor([3, 0])]
    assert chosen.features.tolist() == [[6, 7], [0, 1]] and chosen.extras["action"].tolist() == [3, 0]
    assert chosen.group.tolist() == [1, 0] and len(chosen) == 2


@pytest.mark.parametrize(
    ("source", "target", "error", "said"),
    [
        (
            torch.zeros(3, 2, 4),
            torch.zeros(2, 4),
            ValueError,
            r"shape \(samples, width\), got source \(3, 2, 4\).*rearrange",
        ),
        (torch.zeros(3, 4), torch.zeros(2, 5), ValueError, r"one width, got source \(3, 4\) and target \(2, 5\)"),
        (torch.zeros(3, 4).long(), torch.zeros(2, 4), TypeError, r"floating-point.*\(3, 4\) int64"),
        (
            torch.tensor([[1.0], [float("nan")]], device="cpu"),
            torch.zeros(2, 1, device="cpu"),
            ValueError,
            r"source features must be finite.*row 1",
        ),
        (
            torch.zeros(2, 1, device="cpu"),
            torch.tensor([[float("inf")]], device="cpu"),
            ValueError,
            r"target features must be finite, got 1 NaN",
        ),
        ([1.0], torch.zeros(2, 1), TypeError, "tensors or Rows, got list"),
    ],
)
def test_bad_sides_are_refused_in_one_voice(source, target, error, said) -> None:
    with pytest.raises(error, match=f"(?s){said}"):
        Gap()(source, target)


def test_rows_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one entry per row, got extras\['action'\] of shape \(2,\)"):
        Rows(torch.zeros(3, 4), {"action": torch.zeros(2)})


@pytest.mark.parametrize("weight", [float("nan"), True, "0.1"])
def test_a_weight_that_is_no_number_is_refused(weight) -> None:
    with pytest.raises(TypeError, match="finite number or a function of the optimizer step"):
        weight * Gap()
