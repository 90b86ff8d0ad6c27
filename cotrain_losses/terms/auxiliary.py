"""Auxiliary prediction: features have to tell what is known of both domains, with or without actions.

    R = E_source |g(z) - y|^2 + E_target |g(z) - y|^2          |.|^2: the mean over the entries of y

y is an extra that means the same in both domains (where the hand will be, in the robot's frame).  g is the term's own
head.  y needs no action, so a target's frames without actions count too.

Auxiliary tasks: Jaderberg et al., "Reinforcement Learning with Unsupervised Auxiliary Tasks", ICLR 2017.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NoReturn

import torch
from torch import Tensor, nn

from .._core.checks import whole
from .._core.rows import Rows
from .pair import Pair
from .term import Term


class AuxiliaryRegression(Term):
    """R = E_source |g(z) - y|^2 + E_target |g(z) - y|^2: squared errors of a head that predicts an extra.

    Args:
        width: of the features.
        extra: name of the extra y (n, ...) that is predicted; no gradient goes into it.
        outputs: its flattened width.
        hidden: widths of the hidden layers, each followed by SiLU.

    Shape:
        source (n, width), target (m, width), n and m free -> scalar, in the extra's units squared.  Cost O((n + m) P)
        for P parameters.  Steps that `Rows.valid` (n, h) marks as padding are left out of an (n, h, ...) extra.

    A positive strength asks the encoder to keep y in both domains.  The head learns at unit rate.

    Raises:
        ValueError: an extra that is missing, has another width, or other steps than `valid`; features of another width.
        TypeError: an extra that holds no floating numbers.

    >>> path = {"path": torch.randn(24, 8, 3)}, {"path": torch.randn(8, 8, 3)}
    >>> term = AuxiliaryRegression(width=16, extra="path", outputs=24)
    >>> sides = (Rows(torch.randn(len(y["path"]), 16), y) for y in path)
    >>> term(*sides).shape
    torch.Size([])
    """

    def __init__(self, width: int, extra: str, outputs: int, *, hidden: tuple[int, ...] = (128,)) -> None:
        super().__init__()
        self.width, self.extra, self.outputs = whole("width", width, 1), extra, whole("outputs", outputs, 1)
        sizes = [self.width, *(whole("hidden", each, 1) for each in hidden)]
        layers = [each for a, b in pairwise(sizes) for each in (nn.Linear(a, b), nn.SiLU())]
        self.head = nn.Sequential(*layers, nn.Linear(sizes[-1], self.outputs))

    def compare(self, pair: Pair) -> Tensor:
        """The sum of both domains' mean squared errors."""
        source, target = (
            (mass * self.errors(rows)).sum()
            for rows, mass in zip((pair.source, pair.target), pair.masses(), strict=True)
        )
        return source + target

    def errors(self, rows: Rows) -> Tensor:
        """(n,) the mean squared error of each row."""
        if rows.features.shape[1] != self.width:
            raise ValueError(
                f"{type(self).__name__}(width=...) is the width of the features it reads, got width {self.width} for "
                f"features of width {rows.features.shape[1]}.\nBuild it with that."
            )
        predicted = self.head(rows.features.to(next(self.head.parameters()).dtype))
        wanted, real = self.wanted(rows).to(predicted), self._real(rows)
        if real is None:
            return (predicted - wanted).square().mean(1)  # type: ignore[no-any-return]
        error = torch.where(real, predicted - wanted, 0.0).square().sum(1)
        return error / real.sum(1).clamp_min(1)

    def wanted(self, rows: Rows) -> Tensor:
        """(n, outputs) what the head is to predict."""
        value = rows.extra(self.extra).detach()
        if not value.is_floating_point():
            raise TypeError(
                f"{type(self).__name__} predicts numbers, got {str(value.dtype).removeprefix('torch.')} in the extra "
                f"{self.extra!r}. Pass it as floats; a class is predicted by a classifier."
            )
        if (flat := value.flatten(1)).shape[1] != self.outputs:
            raise ValueError(
                f"outputs is the flattened width of the extra {self.extra!r}, got outputs={self.outputs} for "
                f"{tuple(value.shape)}.\nPass outputs={flat.shape[1]}."
            )
        return flat

    def _real(self, rows: Rows) -> Tensor | None:
        """(n, outputs) which of them are no padding; None where all are."""
        shape = rows.extra(self.extra).shape
        if rows.valid is None or len(shape) < 3:
            return None
        if (steps := rows.valid.shape[1]) != shape[1]:
            raise ValueError(
                f"valid marks the steps of the extra {self.extra!r}, got {steps} of them for {tuple(shape)}.\nPass as "
                "many, or flatten an extra that has no steps."
            )
        return rows.valid.bool().repeat_interleave(self.outputs // steps, dim=1)

    def _not_finite(self, flag: float) -> NoReturn:
        raise ValueError(
            f"{type(self).__name__} predicts finite numbers, got some in the extra {self.extra!r} that are not, or "
            "features too large for their type.\nMark the steps that are not known by valid, or leave their rows out."
        )

    def extra_repr(self) -> str:
        return f"width={self.width}, extra={self.extra!r}, outputs={self.outputs}"
