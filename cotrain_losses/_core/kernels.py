"""Whether Triton kernels can run where a tensor is, and the one place that launches them.

Triton comes with torch's CUDA builds and is imported where a kernel is first launched.  Without it, on another device,
or where COTRAIN_LOSSES_TRITON=0 is set, everything is computed by torch.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
OLDEST = (8, 0)  # the compute capability from which on the kernels are compiled in the tests
READ = (torch.float32, torch.bfloat16, torch.float16)
failed: list[str] = []
"""what Triton said where it could not run a kernel; then no kernel is tried again"""


def usable(*tensors: Tensor) -> bool:
    """Whether kernels run on these: float32, on a device that has them."""
    return all(x.dtype == torch.float32 for x in tensors) and readable(*tensors)


def readable(*tensors: Tensor) -> bool:
    """Whether kernels run where these are and read them as float32: they are, or half precision of one kind."""
    device, dtype = tensors[0].device, tensors[0].dtype
    return dtype in READ and all(x.dtype == dtype and x.device == device for x in tensors) and runs_on(device)


def runs_on(device: torch.device) -> bool:
    """Whether kernels run on this device: an NVIDIA GPU, with Triton installed, outside torch.compile."""
    if device.type != "cuda" or torch.compiler.is_compiling() or failed:
        return False
    return os.environ.get("COTRAIN_LOSSES_TRITON") != "0" and _found(device)


@lru_cache(maxsize=16)
def _found(device: torch.device) -> bool:
    there = torch.version.hip is None and find_spec("triton") is not None
    return there and torch.cuda.get_device_capability(device) >= OLDEST


class NotLaunched(RuntimeError):
    """What Triton said where it could not compile or launch a kernel."""


def attempted(compute: Callable[[], T]) -> T | None:
    """What `compute` gives; None, for good and said once, where Triton cannot compile or launch a kernel of it here."""
    try:
        return compute()
    except (NotLaunched, ImportError) as error:
        failed.append(str(error))
        warnings.warn(
            f"Triton could not run a kernel here ({str(error)[:200]}): torch computes instead, "
            "more slowly. Install what it names, or set COTRAIN_LOSSES_TRITON=0 to say that this is meant.",
            stacklevel=2,
        )
        return None


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, warps: int = 4, **sizes: Any) -> None:
    """Launch a kernel on the device of its first argument, on the current stream."""
    device = arguments[0].device
    here = device.type != "cuda" or device.index == torch.cuda.current_device()
    with nullcontext() if here else torch.cuda.device(device):
        try:
            kernel[grid](*arguments, num_warps=warps, enable_fp_fusion=True, **sizes)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            raise NotLaunched(f"{type(error).__name__}: {error}") from error


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n and 16, as blocks of a kernel are."""
    return max(16, 1 << max(0, n - 1).bit_length())
