"""Domain discriminators: values, who receives which gradient, and what conditional heads read."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cotrain_losses import DomainAdversary, DomainClassifier, Rows
from tests.drawn import features, seeds, sizes

weights = st.floats(0.01, 2.0)


def classifier(kind=DomainClassifier, width=3, **options):
    torch.manual_seed(1)
    return kind(width, hidden=(8,), **options).double()


def live(*sides):
    return [side.clone().requires_grad_() for side in sides]


def grads(value, inputs):
    return torch.autograd.grad(value, list(inputs), retain_graph=True)


@given(seeds, sizes, sizes)
def test_the_value_is_the_balanced_cross_entropy_whatever_the_counts(seed, n, m):
    x, y = features(seed, n, m, 3)
    term = classifier()
    logit = lambda row: term.head(row[None]).item()
    of_source = sum(-math.log(1 / (1 + math.exp(logit(row)))) for row in x.unbind()) / n
    of_target = sum(-math.log(1 / (1 + math.exp(-logit(row)))) for row in y.unbind()) / m
    with torch.no_grad():
        torch.testing.assert_close(term(x, y).item(), 0.5 * (of_source + of_target), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(term(torch.cat([x] * 7), y), term(x, y))


@given(seeds, sizes, sizes, weights)
def test_a_negative_weight_is_gradient_reversal(seed, n, m, weight):
    class Reverse(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.view_as(x)

        @staticmethod
        def backward(ctx, gradient):
            return -weight * gradient

    term = classifier()
    x, y = live(*features(seed, n, m, 3))
    ours = grads((-weight * term)(x, y), (x, y, *term.parameters()))
    theirs = grads(term(Reverse.apply(x), Reverse.apply(y)), (x, y, *term.parameters()))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


@given(seeds, sizes, sizes, weights)
def test_the_adversary_gives_the_encoder_inverted_labels_and_its_head_the_true_ones(seed, n, m, weight):
    term = classifier(DomainAdversary)
    x, y = live(*features(seed, n, m, 3))
    logits = term.head(x)[:, 0], term.head(y)[:, 0]
    truth = 0.5 * (F.softplus(logits[0]).mean() + F.softplus(-logits[1]).mean())
    inverted = 0.5 * (F.softplus(-logits[0]).mean() + F.softplus(logits[1]).mean())
    value = (weight * term)(x, y)
    torch.testing.assert_close(value, weight * inverted)
    at_features, at_head = grads(value, (x, y)), grads(value, term.parameters())
    torch.testing.assert_close(at_features, tuple(weight * g for g in grads(inverted, (x, y))), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(at_head, grads(truth, term.parameters()), rtol=1e-12, atol=1e-15)


def test_the_adversary_and_the_classifier_train_one_head_alike():
    x, y = live(*features(0, 5, 4, 3))
    heads = [classifier(kind) for kind in (DomainClassifier, DomainAdversary)]
    found = [grads((0.3 * head)(x, y), head.parameters()) for head in heads]
    torch.testing.assert_close(found[0], found[1])


def test_the_best_classifier_of_two_gaussians_reaches_log_2_minus_their_divergence():
    """N(0, 1) and N(t, 1): D*(z) = t z - t^2 / 2, and BCE* = E softplus(D*) by quadrature."""
    t = 2.0
    z = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2) / (2 * math.pi) ** 0.5
    best = torch.trapezoid(density * F.softplus(t * z - t**2 / 2), z)  # both halves are equal by symmetry
    term = classifier(width=1)
    term.head = nn.Sequential(nn.Linear(1, 1)).double()
    with torch.no_grad():
        term.head[0].weight.fill_(t)
        term.head[0].bias.fill_(-(t**2) / 2)
    x, y = features(0, 20_000, 20_000, 1, shift=t)
    with torch.no_grad():
        assert abs(term(x, y) - best) < 4 * 1.5 / 40_000**0.5
        assert term(x, x) > math.log(2)


def test_a_head_of_zero_says_log_2():
    term = classifier()
    nn.init.zeros_(term.head[-1].weight)
    nn.init.zeros_(term.head[-1].bias)
    assert term(*features(0, 3, 5, 3)).item() == pytest.approx(math.log(2), abs=1e-12)


@pytest.mark.parametrize("combine", ["concatenate", "multilinear"])
@pytest.mark.parametrize("kind", [DomainClassifier, DomainAdversary])
def test_a_conditional_head_reads_the_extras_but_sends_them_nothing(combine, kind):
    term = classifier(kind, conditional={"action": 4}, combine=combine)
    x, y, u, v = live(*features(0, 6, 5, 3), *features(1, 6, 5, 4))
    sides = lambda u: (Rows(x, {"action": u.reshape(6, 2, 2)}), Rows(y, {"action": v.reshape(5, 2, 2)}))
    value = term(*sides(u))
    assert value != term(*sides(u + 1))
    found = torch.autograd.grad(value, (x, y, u, v), allow_unused=True)
    assert found[0].any() and found[1].any() and found[2] is None and found[3] is None


def test_the_multilinear_map_is_the_outer_product_with_one_and_random_where_that_is_wide():
    small = classifier(conditional={"action": 2}, combine="multilinear")
    row = Rows(torch.tensor([[1.0, 2.0, 3.0]]).double(), {"action": torch.tensor([[5.0, 7.0]]).double()})
    assert small.join(row).tolist() == [[1, 5, 7, 2, 10, 14, 3, 15, 21]]
    wide = DomainClassifier(512, conditional={"action": 64}, combine="multilinear")
    assert wide.join.width == 4096
    assert {"join.left", "join.right"} <= set(wide.state_dict())
    again = DomainClassifier(512, conditional={"action": 64}, combine="multilinear")
    again.load_state_dict(wide.state_dict())
    x = Rows(torch.randn(2, 512), {"action": torch.randn(2, 64)})
    assert torch.equal(wide.logits(x), again.logits(x))


def test_random_projections_keep_inner_products_on_average():
    torch.manual_seed(0)
    term = DomainClassifier(80, conditional={"a": 79}, combine="multilinear")
    x, a = torch.randn(2, 80), torch.randn(2, 79)
    left, right = term.join(Rows(x, {"a": a}))
    extended = torch.cat([torch.ones(2, 1), a], 1)
    exact = (x[0] @ x[0]) * (extended[0] @ extended[0])
    assert abs((left @ left) / exact - 1) < 0.3
    assert abs((left @ right) / exact - (x[0] @ x[1]) * (extended[0] @ extended[1]) / exact) < 0.3


def test_what_is_in_the_padding_does_not_matter():
    term = classifier(conditional={"action": 6})
    x, y = live(*features(0, 4, 3, 3))
    chunks, valid = torch.randn(4, 3, 2).double(), torch.tensor([[1, 1, 0]] * 4).bool()
    other = chunks.where(valid[..., None], 1e6)
    target = Rows(y, {"action": torch.randn(3, 3, 2).double()}, valid=torch.ones(3, 3).bool())
    values = [term(Rows(x, {"action": c}, valid=valid), target) for c in (chunks, other)]
    assert values[0] == values[1]
    assert all(torch.equal(a, b) for a, b in zip(*(grads(v, (x, y)) for v in values), strict=True))


@settings(max_examples=5)
@given(seeds, sizes, sizes)
def test_the_penalty_smooths_the_head_and_leaves_value_and_encoder_alone(seed, n, m):
    plain, smooth = classifier(), classifier(penalty=3.0)
    x, y = live(*features(seed, n, m, 3))
    assert plain(x, y) == smooth(x, y)
    torch.testing.assert_close(grads(plain(x, y), (x, y)), grads(smooth(x, y), (x, y)))
    slopes = [torch.autograd.grad(smooth.head(s).sum(), s, create_graph=True)[0] for s in (x, y)]
    roughness = 3.0 * 0.25 * sum(s.square().sum(1).mean() for s in slopes)
    for with_it, without, own in zip(
        grads(smooth(x, y), smooth.parameters()),
        grads(plain(x, y), plain.parameters()),
        torch.autograd.grad(roughness, list(smooth.parameters()), allow_unused=True),
        strict=True,
    ):
        torch.testing.assert_close(with_it - without, torch.zeros_like(without) if own is None else own)


def test_layer_norm_hides_no_difference_of_scale():
    term = classifier(width=4)
    x, _ = features(0, 200, 1, 4)
    heads = torch.optim.Adam(term.parameters(), 2e-2)
    for _ in range(150):
        loss = term(x, 3 * x)
        heads.zero_grad()
        loss.backward()
        heads.step()
    assert loss < 0.55


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: classifier(combine="sum"), 'combine is "concatenate" or "multilinear"'),
        (lambda: classifier(penalty=-1.0), "must be >= 0, got -1"),
        (lambda: classifier(conditional={"a": 2})(*features(0, 2, 2, 3)), r"reads rows.extras\['a'\]"),
        (
            lambda: classifier(conditional={"a": 2}).logits(Rows(torch.zeros(1, 3), {"a": torch.zeros(1, 5)})),
            "Pass conditional={'a': 5}",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
