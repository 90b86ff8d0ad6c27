"""Labels, ratios, sizes and shares that the tests of mixing draw."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

ratios = st.sampled_from([0.0, 0.016, 0.1, 1 / 3, 0.5, 0.9, 1.0]) | st.floats(0, 1)
batch_sizes = st.integers(1, 17)
three = st.lists(st.integers(1, 9), min_size=3, max_size=3).map(lambda parts: [p / sum(parts) for p in parts])


def mask(n_target: int, n_source: int, seed: int = 0) -> torch.Tensor:
    """A shuffled mask: target frames lie anywhere in the dataset."""
    order = torch.randperm(n_target + n_source, generator=torch.Generator().manual_seed(seed))
    return (torch.arange(n_target + n_source) < n_target)[order]


def target_counts(batches: list[list[int]], is_target: torch.Tensor) -> list[int]:
    return [int(is_target[batch].sum()) for batch in batches]
