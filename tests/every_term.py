"""Every term, and its value and gradients."""

from __future__ import annotations

import pytest
import torch

from cotrain_losses import MMD, DomainAdversary, DomainClassifier, OptimalTransport, Regularizer, Rows, Sinkhorn, Term
from cotrain_losses.terms.mmd import CORAL, EnergyDistance

PLAIN = {
    "MMD": MMD(),
    "MMD of given bandwidth": MMD(1.5),
    "MMD biased": MMD(estimator="biased"),
    "energy distance": EnergyDistance(),
    "CORAL": CORAL(mean=True),
    "Sinkhorn": Sinkhorn(0.3, tolerance=1e-11),
    "Sinkhorn with reach": Sinkhorn(0.3, reach=2.0, tolerance=1e-11),
    "exact transport": OptimalTransport(0.0),
    "exact unbalanced transport": OptimalTransport(0.0, unbalanced=2.0),
    "entropic transport": OptimalTransport(0.2, tolerance=1e-11),
    "entropic transport, ones": OptimalTransport(0.2, unbalanced=2.0, reference="ones", tolerance=1e-11),
    "unbalanced transport": OptimalTransport(0.2, unbalanced=(1.0, 3.0), tolerance=1e-11),
}
torch.manual_seed(0)
LEARNED = {"classifier": DomainClassifier(3).double(), "adversary": DomainAdversary(3).double()}
TERMS = PLAIN | LEARNED
every = pytest.mark.parametrize("name", TERMS)


def value_and_gradients(term: Term | Regularizer, *sides: Rows) -> tuple[torch.Tensor, list[torch.Tensor]]:
    live = [side.features.detach().requires_grad_() for side in sides]
    value = term(*(Rows(x, s.extras, s.mass, s.group, s.valid) for x, s in zip(live, sides, strict=True)))
    return value.detach(), list(torch.autograd.grad(value, live))


def assert_same(found, expected, tolerance=1e-8):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
