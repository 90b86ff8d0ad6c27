"""What transport plans are judged by: costs and objectives written as sums."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

regs = st.floats(0.05, 3.0)
prices = st.sampled_from([None, 3.0, (2.0, 5.0), (None, 2.0)])


def squares(x, y):
    return torch.stack([torch.stack([(u - v).square().sum() for v in y]) for u in x])


def kl(p, q):
    return float((torch.special.xlogy(p, p / q) - p + q).sum())


def objective(plan, cost, reg, price, reference="product"):
    """<P, C> + reg KL(P | R) + unbalanced [KL(P 1 | a) + KL(P' 1 | b)], as written."""
    n, m = plan.shape
    a, b = plan.new_full((n,), 1 / n), plan.new_full((m,), 1 / m)
    r = a[:, None] * b if reference == "product" else torch.ones_like(plan)
    left = price if isinstance(price, tuple) else (price, price)
    held = [rho * kl(plan.sum(1 - k), mass) for k, (rho, mass) in enumerate(zip(left, (a, b), strict=True)) if rho]
    return float((plan * cost).sum()) + reg * kl(plan, r) + sum(held)
