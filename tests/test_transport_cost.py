"""What is transported at which cost: blocks, chunks, padding, pairings, groups."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain_losses import OptimalTransport, Rows, Sinkhorn
from cotrain_losses.terms.transport import Block
from tests.drawn import features, seeds, sizes
from tests.plans import squares


@settings(max_examples=10)
@given(seeds, sizes, sizes, st.sampled_from([0.0, 0.5]))
def test_a_cost_of_blocks_is_the_sum_written_out_and_a_detached_block_sends_nothing(seed, n, m, reg):
    x, y = (side.requires_grad_() for side in features(seed, n, m, 3))
    u, v = (side.requires_grad_() for side in features(seed + 1, n, m, 4))
    sides = Rows(x, {"action": u.reshape(n, 2, 2)}), Rows(y, {"action": v.reshape(m, 2, 2)})
    by_blocks = OptimalTransport(reg, cost=(Block(weight=0.3), Block("action", 2.0, detach=True)), tolerance=1e-11)
    by_hand = lambda s, t: 0.3 * squares(s.features, t.features) + 2.0 * squares(u.detach(), v.detach())
    as_matrix = OptimalTransport(reg, cost=by_hand, tolerance=1e-11)
    values = by_blocks(*sides), as_matrix(*sides)
    torch.testing.assert_close(values[0], values[1], rtol=1e-9, atol=1e-9)
    found, expected = (torch.autograd.grad(v_, (x, y, u, v), allow_unused=True) for v_ in values)
    torch.testing.assert_close(found[:2], expected[:2], rtol=1e-6, atol=1e-8)
    assert all(g is None or not g.any() for g in found[2:])


def test_a_live_extra_is_moved_too():
    (x, y), (u, v) = features(0, 4, 3, 2), features(1, 4, 3, 2)
    u.requires_grad_()
    value = OptimalTransport(0.3, cost=[Block(), Block("action")])(Rows(x, {"action": u}), Rows(y, {"action": v}))
    assert torch.autograd.grad(value, u)[0].abs().min() > 0


@given(seeds, sizes, sizes, st.integers(1, 4))
def test_chunks_are_compared_over_their_common_real_steps(seed, n, m, h):
    x, y = features(seed, n, m, h * 2)
    generator = torch.Generator().manual_seed(seed)
    valid, other = (torch.rand(k, h, generator=generator) < 0.6 for k in (n, m))
    sides = [
        Rows(torch.zeros(len(s), 1).double(), {"a": s.reshape(-1, h, 2)}, valid=k) for s, k in ((x, valid), (y, other))
    ]
    found = Block("a", 0.7)(*sides)
    for i, j in itertools.product(range(n), range(m)):
        common = [t for t in range(h) if valid[i, t] and other[j, t]]
        steps = [float((x[i].reshape(h, 2)[t] - y[j].reshape(h, 2)[t]).square().sum()) for t in common]
        assert abs(float(found[i, j]) - 0.7 * h * sum(steps) / max(len(steps), 1)) < 1e-9
    everything = [Rows(s.features, s.extras, valid=torch.ones_like(s.valid)) for s in sides]
    torch.testing.assert_close(Block("a")(*everything), squares(x, y))


def test_what_is_in_the_padding_changes_neither_value_nor_gradient():
    (x, y), (u, v) = features(0, 4, 3, 2), features(1, 4, 3, 6)
    valid = torch.tensor([[True, True, False]] * 4)
    term = OptimalTransport(0.2, cost=[Block(), Block("action", 0.5)])

    def gradients(filling):
        chunks = u.reshape(4, 3, 2).where(valid[..., None], filling).requires_grad_()
        live = x.clone().requires_grad_()
        value = term(Rows(live, {"action": chunks}, valid=valid), Rows(y, {"action": v.reshape(3, 3, 2)}))
        return value, *torch.autograd.grad(value, (live, chunks))

    for one, other in zip(gradients(torch.tensor(0.0).double()), gradients(torch.tensor(1e9).double()), strict=True):
        assert torch.equal(one, other)
    assert not gradients(torch.tensor(1e9).double())[2][:, 2].any()


def test_a_pairing_discount_draws_its_pairs_together_and_one_changes_nothing():
    x, y = features(2, 6, 5, 2)
    discount = torch.ones(6, 5).double()
    plain = OptimalTransport(0.3, tolerance=1e-10)
    same = OptimalTransport(0.3, pairing=lambda s, t: discount, tolerance=1e-10)
    torch.testing.assert_close(same(x, y), plain(x, y))
    discount[1, 4] = 0.01
    assert same.coupling(x, y).plan[1, 4] > 1.3 * plain.coupling(x, y).plan[1, 4]


@settings(max_examples=8)
@given(seeds, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.sampled_from([0.0, 0.4]))
def test_nothing_crosses_groups_and_each_group_is_transported_by_itself(seed, n0, n1, m0, m1, reg):
    x, y = features(seed, n0 + n1, m0 + m1, 2)
    group_x, group_y = torch.tensor([0] * n0 + [1] * n1), torch.tensor([0] * m0 + [1] * m1)
    term = OptimalTransport(reg, value="linear", tolerance=1e-11)
    sides = Rows(x, group=group_x), Rows(y, group=group_y)
    plan = term.coupling(*sides).plan
    assert not plan[:n0, m0:].any() and not plan[n0:, :m0].any()
    share = (n0 / (n0 + n1) + m0 / (m0 + m1)) / 2
    parts = share * term(x[:n0], y[:m0]) + (1 - share) * term(x[n0:], y[m0:])
    torch.testing.assert_close(term(*sides), parts, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(plan[:n0].sum().item(), share, rtol=1e-7, atol=0)


@pytest.mark.parametrize("reg, price", [(0.0, None), (0.4, None), (0.0, 2.0), (0.4, 2.0)])
def test_a_coupling_of_rows_of_no_mass_is_that_of_the_others_with_nothing_in_their_places(reg, price):
    x, y = features(0, 5, 6, 2)
    a, b = torch.tensor([0, 1, 1, 2, 0]).double(), torch.tensor([1, 0, 1, 0, 1, 1]).double()
    term = OptimalTransport(reg, unbalanced=price, tolerance=1e-10)
    whole, part = term.coupling(Rows(x, mass=a), Rows(y, mass=b)), (a > 0, b > 0)
    kept = term.coupling(Rows(x[part[0]], mass=a[part[0]]), Rows(y[part[1]], mass=b[part[1]]))
    torch.testing.assert_close(whole.plan[part[0]][:, part[1]], kept.plan)
    torch.testing.assert_close([p[k] for p, k in zip(whole.potentials, part, strict=True)], list(kept.potentials))
    assert not whole.plan[a == 0].any() and not whole.plan[:, b == 0].any()
    assert not whole.potentials[0][a == 0].any() and not whole.potentials[1][b == 0].any()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: OptimalTransport(-1.0), "reg is the entropy's weight .* must be >= 0, got -1"),
        (lambda: OptimalTransport(unbalanced=0.0), "must be > 0, got 0"),
        (lambda: OptimalTransport(reference="eye"), 'reference is "product"'),
        (lambda: OptimalTransport(value="dual"), 'value is "objective"'),
        (lambda: OptimalTransport(tolerance=0.0), "tolerance bounds"),
        (lambda: OptimalTransport(cost=Block("action"))(torch.zeros(2, 1), torch.zeros(2, 1)), "extras"),
        (lambda: OptimalTransport(cost=lambda s, t: s.features)(torch.zeros(2, 1), torch.zeros(3, 1)), r"\(2, 3\)"),
        (lambda: OptimalTransport(reference="diagonal")(torch.zeros(2, 1), torch.zeros(3, 1)), "paired sides"),
        (lambda: OptimalTransport().coupling(torch.zeros(0, 1), torch.zeros(3, 1)), "rows that can be compared"),
        (lambda: Block(weight=-1.0), "must be >= 0"),
        (lambda: Sinkhorn(0.0), "blur is a length"),
        (lambda: Sinkhorn(reach=-1.0), "reach is the price|reach is a length"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
