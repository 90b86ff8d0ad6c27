"""What a call launches on a GPU, counted without one: operations that compute, and kernels of Triton's.

    python -m tests.tools.launches    each loss, forward and backward, and what each method adds to a step

An operation counts once, though some launch several kernels (a sort, the gradient of LayerNorm).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from cotrain_bench.gpu.machine import Machine
from cotrain_bench.gpu.policies import methods, small
from cotrain_bench.gpu.speed import WANTED, job_of
from cotrain_bench.gpu.steps import stepper
from torch.utils._python_dispatch import TorchDispatchMode

from cotrain_losses._core import kernels

NOTHING = ("empty", "new_empty", "empty_like", "detach", "promote_types", "_unsafe_view", "split_with_sizes")
"""operations that launch nothing and are no views"""


class Launches(TorchDispatchMode):
    """While it is on, counts the operations of torch that compute something, and Triton's kernels, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operation.name().partition("::")[2].partition(".")[0]
        if not (operation.is_view or name in NOTHING):
            self.found[name] += 1
        return operation(*args, **(kwargs or {}))


@contextmanager
def launches(repeats: int = 2) -> Iterator[Callable[[Callable[[], Any]], Counter[str]]]:
    """Gives a function that counts a call's launches on tensors of the meta device, where kernels are not run."""

    def count(call: Callable[[], Any]) -> Counter[str]:
        for _ in range(repeats):  # constants are made once
            call()
        with Launches() as counted:
            launched.clear()
            call()
        return counted.found + Counter(launched)

    launched: list[str] = []
    there = mock.patch.object(kernels, "runs_on", lambda device: True)
    noted = mock.patch.object(kernels, "launch", lambda kernel, *_, **__: launched.append(kernel.fn.__name__))
    with there, noted:
        yield count


def counted() -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Launches of each loss, forward and backward, by the rows' type; what each method adds to a step."""
    on, subject = Machine("cpu"), small("meta", True)
    with launches() as count:
        meta, types = Machine("meta"), (torch.float32, torch.bfloat16)
        losses = {
            str(dtype).removeprefix("torch."): {loss: count(job_of(meta, loss, 64, dtype)).total() for loss in WANTED}
            for dtype in types
        }
        bare = count(stepper(on, subject, None, False)).total()
        made = {name: stepper(on, subject, make, False, "meta") for name, make in methods(subject.width).items()}
        return losses, {name: count(step).total() - bare for name, step in made.items()}


def main() -> None:
    torch.manual_seed(0)
    losses, steps = counted()
    print(f"| loss, forward and backward | {' | '.join(losses)} |\n|---|---|---|")
    rows = ((loss, *(each[loss] for each in losses.values())) for loss in WANTED)
    print("\n".join(f"| {' | '.join(map(str, row))} |" for row in rows))
    print("\n| a step with | launches more than without |\n|---|---|")
    print("\n".join(f"| {name} | {number} |" for name, number in steps.items()))


if __name__ == "__main__":
    main()
