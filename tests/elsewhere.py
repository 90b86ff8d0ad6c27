"""CPU tensors taken for those of another device: terms look at no value and take their constant-shape path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from cotrain_losses._core import checks, flags

PLACES = (checks, flags)


@contextmanager
def another_device() -> Iterator[None]:
    """While the block runs, nothing is computed with op by op on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        for module in PLACES:
            patch.setattr(module, "eager", lambda x: False)
        yield


def rows(n: int, d: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    """N(shift, 1) rows (n, d) in float32."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift
