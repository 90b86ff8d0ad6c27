"""What the tests draw: seeds, sizes that differ, zero and one included, and features from a seed."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

seeds = st.integers(0, 2**31 - 1)
sizes = st.integers(2, 9)
any_size = st.integers(0, 5)
widths = st.integers(1, 6)


def features(seed: int, n: int, m: int, d: int, shift: float = 0.5) -> tuple[Tensor, Tensor]:
    """Source (n, d) and target (m, d), float64, the target moved by `shift` in every coordinate."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda rows: torch.randn(rows, d, generator=generator, dtype=torch.float64)
    return draw(n), draw(m) + shift
