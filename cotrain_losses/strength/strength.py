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


class MeasuredStrength(nn.Module):
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

    def on_policy_grad(self, gradient: Tensor) -> None:
        """The gradient of the policy's loss at the seam."""

    def on_term_grad(self, gradient: Tensor) -> None:
        """The gradient of the term, unweighted, at one side's features."""

    def on_loss_scale(self, gradient: Tensor) -> None:
        """What the backward pass started from: a loss scale, one over the number of accumulated parts."""

    def on_target_loss(self, value: float) -> None:
        """The policy's loss on target episodes that are held out."""

    def release(self) -> None:
        """There will be no more such losses: those episodes are trained on from now."""

    def __mul__(self, factor: Strength | Term | Regularizer) -> Any:
        return product(self, factor) if is_strength(factor) else NotImplemented

    def __rmul__(self, factor: Strength) -> Any:
        return product(factor, self) if is_strength(factor) else NotImplemented

    def __neg__(self) -> MeasuredStrength:
        return MeasuredProduct(-1.0, self)


Strength: TypeAlias = "float | Schedule | MeasuredStrength"


def leaves(weight: Strength) -> list[MeasuredStrength]:
    """The measured weights that a weight is made of."""
    if not isinstance(weight, MeasuredStrength):
        return []
    found = [part for part in weight.modules() if isinstance(part, MeasuredStrength)]
    return [part for part in found if not isinstance(part, MeasuredProduct)]


def is_strength(x: object) -> bool:
    """A number, a schedule or a measured weight, rather than a term."""
    return isinstance(x, (int, float, MeasuredStrength)) or (callable(x) and not isinstance(x, nn.Module))


def checked_strength(weight: Strength) -> Strength:
    """A finite number as a float; what can be called as it is."""
    if callable(weight):
        return weight
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not abs(weight) < float("inf"):
        raise TypeError(
            f"a weight is a finite number or a function of the optimizer step, got {weight!r}. "
            "Write 0.1 * term, or schedules.warmup(-1.0, steps) * term."
        )
    return float(weight)


def strength_at(weight: Strength, step: int | None, name: str) -> float:
    """The number that a weight is at a step.

    Raises:
        ValueError: when it depends on the step and no step was given.
    """
    if isinstance(weight, MeasuredStrength):
        return float(weight(step))
    if not callable(weight):
        return weight
    if step is None:
        raise ValueError(
            f"the weight of {name} is a schedule and depends on the optimizer step, got step=None. "
            "Pass it at the call: regularizer(source, target, step=step) or cotrain(batch, domain=..., step=step)."
        )
    return float(weight(step))


def product(left: Strength, right: Strength) -> Strength:
    """The product of two weights."""
    if isinstance(left, MeasuredStrength) or isinstance(right, MeasuredStrength):
        if 1.0 in (left, right):
            return right if left == 1.0 else left
        return MeasuredProduct(left, right)
    if callable(left) or callable(right):
        return _Product(left, right)
    return left * right


@dataclass(frozen=True)
class _Product:
    """The product of two weights, at least one of them a schedule."""

    left: Strength
    right: Strength

    def __call__(self, step: int) -> float:
        return strength_at(self.left, step, "a product") * strength_at(self.right, step, "a product")


class MeasuredProduct(MeasuredStrength):
    """The product of two weights, at least one of them measured."""

    def __init__(self, left: Strength, right: Strength) -> None:
        super().__init__()
        self.left, self.right = checked_strength(left), checked_strength(right)

    def forward(self, step: int | None = None) -> float:
        return strength_at(self.left, step, "a product") * strength_at(self.right, step, "a product")

    def __repr__(self) -> str:
        return f"{self.left} * {self.right}"
