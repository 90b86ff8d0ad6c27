"""An auxiliary head: the hand's path in the robot's frame, read off the features of both domains.

    R = sum over both domains of   E |g(z) - (p_1 - p_0, ..., p_h - p_0)|^2          p_k: where the hand is in k steps

It needs no action, so it learns from the target's frames without any; g is the term's own.
"""

from __future__ import annotations

from torch import Tensor

from cotrain_losses import Rows
from cotrain_losses.terms import AuxiliaryRegression


class PathHead(AuxiliaryRegression):
    """Mean squared error of a head that predicts the hand's path from the features, decimetres squared.

    Args:
        width: of the features.
        steps: of the path, the extra "path" (n, steps, 3), which begins now.
    """

    def __init__(self, width: int, steps: int = 8) -> None:
        super().__init__(width, "path", 3 * (steps - 1))

    def wanted(self, rows: Rows) -> Tensor:
        """Where the hand goes from where it is."""
        path = rows.extra("path").to(rows.features)
        return (path[:, 1:] - path[:, :1]).flatten(1)
