"""An auxiliary head: the hand's path in the robot's frame, read off the features of both domains.

    R = sum over both domains of   E |g(z) - (p_1 - p_0, ..., p_h - p_0)|^2          p_k: where the hand is in k steps

It needs no action, so it learns from the target's frames without any; g is the term's own.
"""

from __future__ import annotations

from torch import Tensor, nn

from cotrain_losses import Term
from cotrain_losses.terms.pair import Pair


class PathHead(Term):
    """Mean squared error of a head that predicts the hand's path from the features, decimetres squared.

    Args:
        width: of the features.
        steps: of the path, the extra "path" (n, steps, 3), which begins now.
    """

    def __init__(self, width: int, steps: int = 8) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(width, 128), nn.SiLU(), nn.Linear(128, 3 * (steps - 1)))

    def compare(self, pair: Pair) -> Tensor:
        """The sum of both domains' errors."""
        errors = list[Tensor]()
        for rows, mass in zip((pair.source, pair.target), pair.masses(), strict=True):
            path = rows.extra("path").to(rows.features)
            ahead = (path[:, 1:] - path[:, :1]).flatten(1)
            errors.append((mass * (self.head(rows.features) - ahead).square().mean(1)).sum())
        return sum(errors, start=pair.source.features.new_zeros(()))
