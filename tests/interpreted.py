"""Triton's kernels on CPU tensors, by Triton's interpreter, which conftest.py switches on where there is no GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cotrain_losses import Rows, Term
from cotrain_losses._core import flags, kernels
from cotrain_losses.terms import Pair


@contextmanager
def interpreted() -> Iterator[list[str]]:
    """While the block runs every device has kernels; gives the names of those that were launched."""
    launched: list[str] = []
    launch: Callable[..., None] = kernels.launch

    def noted(kernel: object, *arguments: object, **sizes: object) -> None:
        launched.append(kernel.__name__)  # type: ignore[attr-defined]
        launch(kernel, *arguments, **sizes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "runs_on", lambda device: not torch.compiler.is_compiling())
        patch.setattr(kernels, "launch", noted)
        yield launched


def valued(term: Term, source: Rows, target: Rows, *, eager: bool = True) -> tuple[Tensor, Tensor]:
    """A term's value and its gradients at both sides, one under the other."""
    x, y = (rows.features.detach().requires_grad_() for rows in (source, target))
    sides = (replace(rows, features=z) for z, rows in ((x, source), (y, target)))
    value = term(*sides) if eager else term.evaluate(Pair(*sides, eager=False, flags=flags.Flags()))
    return value.detach(), torch.cat(torch.autograd.grad(value, (x, y)))
