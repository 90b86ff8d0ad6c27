"""The Sinkhorn divergence against its definition and geomloss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain_losses import OptimalTransport, Rows, Sinkhorn
from cotrain_losses.terms.transport import Block, online
from tests.drawn import features, seeds, sizes


@settings(max_examples=4)
@given(seeds, sizes, sizes, st.sampled_from([None, 3.0]))
def test_the_divergence_agrees_with_geomloss(seed, n, m, reach):
    import geomloss

    x, y = (side.requires_grad_() for side in features(seed, n, m, 3))
    ours = Sinkhorn(2.0, reach=reach, tolerance=1e-11)(x, y)
    theirs = geomloss.SamplesLoss("sinkhorn", p=2, blur=2.0, reach=reach, scaling=0.95)(x, y)
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-4)  # geomloss stops after a fixed annealing
    if reach is None:  # unbalanced gradients are compared with finite differences, above
        found, expected = (torch.autograd.grad(value, (x, y)) for value in (ours, theirs))
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize("reach, within", [(None, 0.03), (6.0, 0.05)])
def test_what_is_left_to_geomloss_is_the_same_divergence_at_its_accuracy(reach, within):
    x, y = (side.requires_grad_() for side in features(0, 70, 50, 3))
    a, b = torch.rand(70).double(), torch.full((50,), 0.02).double()
    sides = Rows(x, mass=a), Rows(y)
    ours = Sinkhorn(1.0, reach=reach)(*sides)
    theirs = online.online(x, y, a / a.sum(), b, blur=1.0, reach=reach, backend="tensorized")
    torch.testing.assert_close(theirs, ours, rtol=0.01, atol=0)
    found, expected = (torch.cat(torch.autograd.grad(value, (x, y))) for value in (theirs, ours))
    assert (found - expected).norm() < within * expected.norm()


def test_a_large_problem_is_streamed_solved_or_refused_by_what_is_there(monkeypatch):
    x, y = features(0, 40, 30, 2)
    expected = Sinkhorn(0.5)(x, y)
    assert online.memory(x.device) > 2**28 and online.memory(torch.device("meta")) is None
    monkeypatch.setattr(online, "LARGE", 1000)
    monkeypatch.setattr(online, "find_spec", lambda name: None)
    assert Sinkhorn(0.5)(x, y) == expected  # the memory is there
    monkeypatch.setattr(online, "memory", lambda device: 32 * 40 * 40)
    assert not online.streamed(40, 30, device=torch.device("cpu"), grouped=False)
    monkeypatch.setattr(online, "memory", lambda device: 32 * 40 * 40 - 1)
    with pytest.raises(ValueError, match=r"got 40 source and 30 target rows.*\npip install pykeops, or sub-sample"):
        Sinkhorn(0.5)(x, y)
    assert Sinkhorn(0.5)(x[:31], y).isfinite()
    here = {"device": x.device, "grouped": False}
    monkeypatch.setattr(online, "find_spec", lambda name: True)
    assert online.streamed(40, 30, **here) and not online.streamed(31, 31, **here)
    with pytest.raises(ValueError, match=r"\nSub-sample the rows"):  # KeOps knows no groups
        online.streamed(40, 30, device=x.device, grouped=True)


@settings(max_examples=10)
@given(seeds, sizes, sizes, st.sampled_from([None, 1.5]))
def test_the_divergence_is_its_definition_zero_at_equality_and_positive_elsewhere(seed, n, m, reach):
    x, y = (side.requires_grad_() for side in features(seed, n, m, 3))
    term = Sinkhorn(0.6, reach=reach, tolerance=1e-12)
    price = None if reach is None else reach**2
    transport = OptimalTransport(0.36, unbalanced=price, cost=Block(weight=0.5), tolerance=1e-12)
    expected = transport(x, y) - 0.5 * transport(x, x) - 0.5 * transport(y, y)
    torch.testing.assert_close(term(x, y), expected, rtol=1e-8, atol=1e-9)
    found = torch.autograd.grad(term(x, y), (x, y))
    torch.testing.assert_close(found, torch.autograd.grad(expected, (x, y)), rtol=1e-6, atol=1e-8)
    assert expected > 0 and abs(term(x, x.detach())) < 1e-9
    assert torch.autograd.grad(term(x, x.detach()), x)[0].norm() < 1e-6
