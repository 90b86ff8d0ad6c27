"""Maximum mean discrepancy against its definition, closed forms and laws."""

from __future__ import annotations

import math

import torch
from drawn import features, seeds, sizes, widths
from hypothesis import given
from hypothesis import strategies as st

from cotrain_losses import MMD


def mmd_by_loops(x, y, b):
    """Gretton et al. 2012, eq. 3, as written."""
    k = lambda u, v: math.exp(-float(((u - v) ** 2).sum()) / (2 * b**2))
    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(u, v) for u in x for v in y) / (n * m)


@given(seeds, sizes, sizes, widths, st.floats(0.3, 3.0))
def test_matches_the_definition(seed, n, m, d, bandwidth):
    x, y = features(seed, n, m, d)
    expected = torch.tensor(mmd_by_loops(x, y, bandwidth), dtype=x.dtype)
    torch.testing.assert_close(MMD(bandwidth, scales=(1.0,))(x, y), expected, rtol=1e-9, atol=1e-12)
