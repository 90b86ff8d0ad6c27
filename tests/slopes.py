"""A term whose gradients are given, and a step of a policy whose gradient is too."""

from __future__ import annotations

from torch import Tensor

from cotrain_losses import Regularizer, Term
from tests.drawn import features


class Slope(Term):
    """<a, source> + <b, target>: the gradients are a and b, whatever the features."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        super().__init__()
        self.a, self.b = a, b

    def compare(self, pair) -> Tensor:
        source, target = pair.source, pair.target
        return (self.a * source.features).sum() + (self.b * target.features).sum()


def stepped(regularizer: Regularizer, z: Tensor, pull: Tensor, n: int, step: int, scale: float = 1.0) -> Tensor:
    """One training step of a policy whose gradient at z is `pull`; what z receives."""
    z = z.detach().requires_grad_()
    policy = (pull * regularizer.seam(z)).sum()
    (scale * (policy + regularizer(z[:n], z[n:], step=step))).backward()
    assert z.grad is not None
    return z.grad / scale


def slopes(seed: int, n: int, m: int, d: int, steps: int) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """The policy's and the term's gradients (n + m, d) of some steps, and features."""
    policy, term = zip(*(features(seed + k, n + m, n + m, d) for k in range(steps)), strict=True)
    return list(policy), list(term), features(seed - 1, n + m, 1, d)[0]
