"""Sinkhorn."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..term import Rows, Term
from .optimal import OptimalTransport
from .costs import Block


class Sinkhorn(Term):
    """The debiased Sinkhorn divergence of source and target features.

        S(a, b) = OT(a, b) - 1/2 OT(a, a) - 1/2 OT(b, b)      cost |x - y|^2 / 2,   eps = blur^2

    Args:
        blur: the length below which details are not seen, in feature units.
        reach: the length beyond which mass is left behind rather than moved (rho = reach^2); None moves all.
        tolerance, max_iterations: as in `OptimalTransport`.

    Shape:
        source (n, d), target (m, d), n and m free -> scalar, zero exactly when the two sides are equal.
    """

    def __init__(
        self, blur: float = 0.05, *, reach: float | None = None, tolerance: float = 1e-4, max_iterations: int = 1000
    ) -> None:
        super().__init__()
        if not 0 < blur < float("inf"):
            raise ValueError(f"blur is a length in feature units and must be > 0, got {blur}.")
        if reach is not None and not reach > 0:
            raise ValueError(f"reach is a length in feature units and must be > 0, got {reach}. None moves all mass.")
        self.blur, self.reach = blur, reach
        self.transport = OptimalTransport(
            blur**2,
            unbalanced=None if reach is None else reach**2,
            cost=Block(weight=0.5),
            tolerance=tolerance,
            max_iterations=max_iterations,
        )

    def compare(self, source: Rows, target: Rows) -> Tensor:
        cross, own, others = (
            self.transport.compare(*s) for s in ((source, target), (source, source), (target, target))
        )
        return cross - 0.5 * own - 0.5 * others
