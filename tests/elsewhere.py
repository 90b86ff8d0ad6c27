"""CPU tensors taken for those of another device, and a device on which nothing can be read or waited for."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cotrain_losses import guidance
from cotrain_losses._core import checks, device, flags
from cotrain_losses.importance import hooks
from cotrain_losses.mixing import domains
from cotrain_losses.terms import term


@contextmanager
def another_device() -> Iterator[None]:
    """While the block runs, nothing is computed with op by op on the CPU: no value is looked at."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (checks, flags, domains, hooks):
            patch.setattr(module, "eager", lambda x: False)
        yield
    with suppress(ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flags.common.read()  # what bare terms posted is not another test's


@contextmanager
def captured() -> Iterator[None]:
    """While the block runs, the library takes what is launched for a part of a CUDA graph."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (device, flags, guidance, term):
            patch.setattr(module, "capturing", lambda: True)
        yield


class OneDevice(TorchDispatchMode):
    """Refuses operations that mix devices, and copies between devices that `moved` did not make."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        met = {x.device for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor) and _placed(x)}
        if len(met) > 1 and not _within_moved():
            raise RuntimeError(f"{func} mixes the devices {', '.join(sorted(map(str, met)))}")
        return result


def _placed(x: torch.Tensor) -> bool:
    """Whether a tensor is somewhere: a scalar on the CPU goes along with every device."""
    return not (x.ndim == 0 and x.device.type == "cpu")


def _within_moved() -> bool:
    frame: Any = sys._getframe()
    while frame is not None and frame.f_code.co_name != "moved":
        frame = frame.f_back
    return frame is not None


def rows(n: int, d: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    """N(shift, 1) rows (n, d) in float32."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift
