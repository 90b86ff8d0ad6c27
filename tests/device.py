"""The device that the quick tier runs on: `pytest --device cuda`, or `elsewhere`, a stand-in that any machine has.

Tensors that tests make, and modules of torch.nn, are made on the CPU and moved: the same numbers on every device.  What
the library makes stays where the library put it, so a tensor that it left on the CPU is found.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

MAKERS = (
    *(torch.tensor, torch.as_tensor, torch.from_numpy, torch.zeros, torch.ones, torch.empty, torch.full, torch.eye),
    *(torch.arange, torch.linspace, torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal),
)
OF_TESTS = ("tests.", "test_", "torch.nn.")


class Placed(TorchFunctionMode):
    """What a test makes without naming a device is moved to this one."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func not in MAKERS or kwargs.get("device") is not None or not _asked_by_a_test():
            return func(*args, **kwargs)
        wanted = kwargs.pop("requires_grad", False)
        made = func(*args, **kwargs).to(self.device)
        return made.requires_grad_() if wanted else made


def _asked_by_a_test() -> bool:
    return str(sys._getframe(2).f_globals.get("__name__", "")).startswith(OF_TESTS)


def place(name: str) -> torch.device:
    """Let tests run on a device from here on.

    Raises:
        ValueError: a device that is not there.
    """
    if name == "elsewhere":
        from tests.standin import registered

        device = registered()
    else:
        device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device cuda needs a GPU that torch can use, got torch {torch.__version__} without one.")
    if device.type != "cpu":
        Placed(device).__enter__()
    return device
