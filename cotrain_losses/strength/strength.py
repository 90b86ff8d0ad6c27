"""The one slot for a weight: a number, a function of the optimizer step, or a weight that is measured.

    0.1 * term          warmup(-1.0, 1000) * term          relative(0.1) * term

A measured weight watches a training step from inside, and what it does next depends on what it saw: `balance` has
those that are.  All three kinds may be negated, scaled by and multiplied with one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor, nn

from .schedules import Schedule

if TYPE_CHECKING:
    from .._core.rows import Rows
    from ..terms.term import Regularizer, Term


class MeasuredWeight(nn.Module):
    """A weight that depends on what training does.  It belongs to one term; its state is saved like any module's.

    Subclasses say what the weight is now (`forward`) and override what they listen to; the rest does nothing.
    """

    gathered = False
    """whether the rows are those of all ranks."""

    @property
    def due(self) -> bool:
        """Whether the next step is one at which the target's held-out loss is wanted."""
        return False

    def forward(self, step: int | None = None) -> float:
        """The weight at an optimizer step."""
        raise TypeError(f"{type(self).__name__} is a weight without a rule: define forward(self, step) in it.")

    def readings(self) -> dict[str, float]:
        """What the weight now goes by, for a log."""
        return {}

    def begin(self, source: Rows, target: Rows, step: int | None) -> None:
        """A training step's rows, before the term sees them and before the weight is read."""

    def read(self, source: Rows, target: Rows) -> tuple[Rows, Rows]:
        """The rows as the term is to see them."""
        return source, target

    def hear_policy(self, gradient: Tensor) -> None:
        """The gradient of the policy's loss at the seam."""

    def hear_term(self, gradient: Tensor) -> None:
        """The gradient of the term, unweighted, at one side's features."""

    def hear_scale(self, gradient: Tensor) -> None:
        """What the backward pass started from: a loss scale, one over the number of accumulated parts."""

    def hear_target_loss(self, value: float) -> None:
        """The policy's loss on target episodes that are held out."""

    def release(self) -> None:
        """There will be no more such losses: those episodes are trained on from now."""

    def __mul__(self, factor: Weight | Term | Regularizer) -> Any:
        return product(self, factor) if is_weight(factor) else NotImplemented

    def __rmul__(self, factor: Weight) -> Any:
        return product(factor, self) if is_weight(factor) else NotImplemented

    def __neg__(self) -> MeasuredWeight:
        return MeasuredProduct(-1.0, self)


Weight: TypeAlias = "float | Schedule | MeasuredWeight"


def leaves(weight: Weight) -> list[MeasuredWeight]:
    """The measured weights that a weight is made of."""
    if not isinstance(weight, MeasuredWeight):
        return []
    found = [part for part in weight.modules() if isinstance(part, MeasuredWeight)]
    return [part for part in found if not isinstance(part, MeasuredProduct)]


def is_weight(x: object) -> bool:
    """A number, a schedule or a measured weight, rather than a term."""
    return isinstance(x, (int, float, MeasuredWeight)) or (callable(x) and not isinstance(x, nn.Module))


def checked_weight(weight: Weight) -> Weight:
    """A finite number as a float; what can be called as it is."""
    if callable(weight):
        return weight
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not abs(weight) < float("inf"):
        raise TypeError(
            f"a weight is a finite number or a function of the optimizer step, got {weight!r}. "
            "Write 0.1 * term, or schedules.warmup(-1.0, steps) * term."
        )
    return float(weight)


def weight_at(weight: Weight, step: int | None, name: str) -> float:
    """The number that a weight is at a step.

    Raises:
        ValueError: when it depends on the step and no step was given.
    """
    if isinstance(weight, MeasuredWeight):
        return float(weight(step))
    if not callable(weight):
        return weight
    if step is None:
        raise ValueError(
            f"the weight of {name} is a schedule and depends on the optimizer step, got step=None. "
            "Pass it at the call: regularizer(source, target, step=step) or cotrain(batch, domain=..., step=step)."
        )
    return float(weight(step))


def product(left: Weight, right: Weight) -> Weight:
    """The product of two weights."""
    if isinstance(left, MeasuredWeight) or isinstance(right, MeasuredWeight):
        if 1.0 in (left, right):
            return right if left == 1.0 else left
        return MeasuredProduct(left, right)
    if callable(left) or callable(right):
        return _Product(left, right)
    return left * right


@dataclass(frozen=True)
class _Product:
    """The product of two weights, at least one of them a schedule."""

    left: Weight
    right: Weight

    def __call__(self, step: int) -> float:
        return weight_at(self.left, step, "a product") * weight_at(self.right, step, "a product")


class MeasuredProduct(MeasuredWeight):
    """The product of two weights, at least one of them measured."""

    def __init__(self, left: Weight, right: Weight) -> None:
        super().__init__()
        self.left, self.right = checked_weight(left), checked_weight(right)

    def forward(self, step: int | None = None) -> float:
        return weight_at(self.left, step, "a product") * weight_at(self.right, step, "a product")

    def __repr__(self) -> str:
        return f"{self.left} * {self.right}"
