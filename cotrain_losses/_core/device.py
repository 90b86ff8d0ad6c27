"""Where a step runs: op by op on the CPU, where numpy's solvers may look at values, or elsewhere.

Elsewhere nothing waits: `moved` is the one function that takes tensors to another device, `Pending` looks at a flag
once its copy has arrived, and `Later` at numbers of the step before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


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


def capturing() -> bool:
    """Whether what is launched now goes into a CUDA graph."""
    if torch.compiler.is_compiling():  # torch 2.4 compiles neither question
        return False
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()  # type: ignore[no-untyped-call]


def moved(x: Tensor, device: torch.device) -> Tensor:
    """x on another device, from pinned memory, so that the host does not wait; itself where it is there.

    Raises:
        ValueError: while a CUDA graph is captured, whose replays would read memory of the CPU that is gone.
    """
    if x.device == device:
        return x
    if x.device.type == "cpu" and capturing():
        raise ValueError(
            f"a captured step reads nothing from the CPU, got {tuple(x.shape)} numbers there that belong on {device}.\n"
            "Put the batch, its labels, weights and indices on the device before the capture."
        )
    if x.device.type == "cpu" and device.type == "cuda" and not torch.compiler.is_dynamo_compiling():
        x = x.pin_memory()
    return x.to(device, non_blocking=device.type != "cpu")


def follow(module: nn.Module, device: torch.device) -> None:
    """Move a module where the policy was moved after it was attached; its parameters stay the same objects."""
    first = next(module.parameters(), None)
    if first is not None and first.device != device:
        module.to(device)


def drawn_on(*modules: nn.Module) -> list[torch.device]:
    """The CUDA devices of modules, whose random numbers their forward passes take."""
    return gpus(p for module in modules for p in module.parameters())


def gpus(tensors: Iterable[Tensor]) -> list[torch.device]:
    """The CUDA devices of tensors, each once."""
    return [device for device in dict.fromkeys(x.device for x in tensors) if device.type == "cuda"]


def reseed(number: int, devices: Iterable[torch.device]) -> None:
    """Seed the random numbers of the CPU and of these GPUs; torch.manual_seed seeds every GPU of the process."""
    if not torch.cuda.is_available():
        torch.manual_seed(number)
        return
    torch.default_generator.manual_seed(number)
    for device in devices:
        torch.cuda.default_generators[device.index].manual_seed(number)


WITHOUT_DOUBLES = ("mps",)
"""devices that have no float64"""


def accurate(x: Tensor) -> torch.dtype:
    """The type for differences of large numbers: float64 where the device has it, else float32.

    Products of float64 are never rounded to TF32, whatever torch.backends allows.
    """
    return torch.float32 if x.device.type in WITHOUT_DOUBLES else torch.float64


class Pending:
    """Whether a flag on a device is known to be set; asking does not wait for the device.

    On CUDA a copy of the flag is under way to pinned memory, and is looked at once it has arrived.  While a graph is
    captured, and on devices without such copies, nothing is ever known.
    """

    def __init__(self) -> None:
        self._copy: Tensor | None = None
        self._arrived: torch.cuda.Event | None = None

    def known(self, flag: Tensor) -> bool:
        """Whether the flag, or an earlier one, is known to be set."""
        if flag.device.type == "cpu":
            return bool(flag)
        if flag.device.type != "cuda" or capturing():
            return False
        if self._arrived is not None and self._copy is not None:
            if not self._arrived.query():  # type: ignore[no-untyped-call]
                return False
            if self._copy:
                return True
        self._copy, self._arrived = _copied(flag)
        return False


class Later:
    """Numbers of a device, read a call later: the host waits for nothing that it has not launched a call ago."""

    def __init__(self) -> None:
        self._copy: Tensor | None = None
        self._arrived: torch.cuda.Event | None = None

    def exchanged(self, numbers: Tensor) -> list[float] | None:
        """The numbers of the call before, None in the first one and in a capture; on the CPU these themselves."""
        if numbers.device.type == "cpu":
            return numbers.tolist()
        if numbers.device.type == "meta" or capturing():
            return None
        before = self.state()
        self._copy, self._arrived = _copied(numbers)
        return before

    def state(self) -> list[float] | None:
        """The numbers that are not read yet, for a checkpoint."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return None if self._copy is None else self._copy.tolist()

    def load(self, state: list[float] | None) -> None:
        """What was saved."""
        self._copy, self._arrived = None if state is None else torch.tensor(state, dtype=torch.float64), None


def _copied(x: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """A copy on the CPU, and on CUDA what tells that it has arrived."""
    if x.device.type != "cuda":
        return x.to("cpu"), None
    copy = torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()
    return copy, arrived
