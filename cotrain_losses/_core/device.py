"""Where a step runs: op by op on the CPU, where numpy's solvers may look at values, or elsewhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def eager(x: Tensor) -> bool:
    """Whether `x` is computed with op by op on the CPU, outside torch.func."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    try:
        x.data_ptr()
    except RuntimeError:  # torch.func follows it: it has no memory of its own
        return False
    return True


def transformed(x: Tensor) -> bool:
    """Whether torch.func follows `x`."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling() and not eager(x)


def autocasts(device: torch.device) -> bool:
    """Whether autocast is on for a device; the meta device has none."""
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


def as_array(x: Tensor | None) -> Any:
    """The same memory as numpy's array; None stays None."""
    return None if x is None else (x.detach() if x.requires_grad else x).numpy()
