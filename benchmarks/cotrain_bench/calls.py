"""How many Python functions of this library one training step runs.

    python -m cotrain_bench.calls [--rows 16] [--width 8]

A policy of a few layers takes one step, forward and backward, under four methods; calls are counted by sys.setprofile
after a first step, and with them the files they lie in.  Comprehensions and generator expressions are not
counted.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import typer
from torch import Tensor, nn

import cotrain_losses as ctl

ROOT = str(Path(ctl.__file__).parent)

INLINE = ("<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>")


class Head(nn.Module):
    """(b, a), (b, d) -> (b, a)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Linear(width + 2, 2)

    def forward(self, noisy: Tensor, condition: Tensor) -> Tensor:
        predicted: Tensor = self.net(torch.cat([noisy, condition], -1))
        return predicted


class Policy(nn.Module):
    """An encoder, a head, and a loss."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder, self.head = nn.Linear(3, width), Head(width)

    def compute_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Mean squared error of the head's predictions."""
        predicted: Tensor = self.head(batch["action"], condition=self.encoder(batch["observation"]))
        return (predicted - batch["action"]).square().mean()


def methods(width: int) -> dict[str, ctl.Method]:
    """What is counted."""
    return {
        "plain": ctl.Method(),
        "0.1 * MMD": ctl.Method(regularizer=0.1 * ctl.MMD()),
        "adda": ctl.recipes.adda(width),
        "structured": ctl.recipes.structured(width, ratio=0.3),
    }


def main(rows: int = 16, width: int = 8, by: str = "") -> None:
    """Count and print; `--by file` or `--by function` prints where the calls lie, too."""
    if by not in ("", "file", "function"):
        raise typer.BadParameter(f"calls are shown by file or function, got {by!r}.")
    for name, method in methods(width).items():
        calls = calls_of(step_of(method, rows, width))
        files = Counter(file for file, _ in calls.elements())
        print(f"{name:12} {calls.total():4} calls in {len(files):2} files")
        functions = Counter({f"{file} {function}": count for (file, function), count in calls.items()})
        for what, count in {"file": files, "function": functions}.get(by, Counter[str]()).most_common():
            print(f"  {count:4} {what}")


def step_of(method: ctl.Method, rows: int, width: int) -> Callable[[], None]:
    """One training step of a new policy under a method."""
    torch.manual_seed(0)
    cotrain = ctl.CoTrain(Policy(width), method, seam=ctl.Seam(head="head", condition="condition", width=width))
    batch = {"observation": torch.randn(rows, 3), "action": torch.randn(rows, 2)}
    is_target = torch.arange(rows) % 4 == 0
    return lambda: cotrain(batch, domain=is_target, step=0).total.backward()


def calls_of(step: Callable[[], None]) -> Counter[tuple[str, str]]:
    """How often each (file, function) of the library ran in a step that is not the first."""
    frames: dict[Any, None] = {}  # a generator that goes on is the same frame

    def count(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(ROOT) and frame.f_code.co_name not in INLINE:
            frames[frame] = None

    step()
    sys.setprofile(count)
    try:
        step()
    finally:
        sys.setprofile(None)
    codes = [frame.f_code for frame in frames]
    return Counter((code.co_filename.removeprefix(ROOT).lstrip("/"), code.co_name) for code in codes)


if __name__ == "__main__":
    typer.run(main)
