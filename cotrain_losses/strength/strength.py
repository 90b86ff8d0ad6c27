"""The strength lambda of a term: a number, a function of the optimizer step, or measured while training.

    0.1 * term          warmup(-1.0, 1000) * term          relative(0.1) * term

A measured strength sees the rows and the gradients of each training step, and its next value depends on them:
`relative` and `balanced`.  All three kinds may be negated, scaled by and multiplied with one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn

from .._core.rows import Rows
from .schedules import Schedule


class MeasuredStrength(nn.Module):
    """A strength that depends on what training does.  It belongs to one term; its state is saved like any module's.

    Subclasses define its value (`forward`) and override the hooks that they need; the others do nothing.

    >>> from cotrain_losses.strength import relative
    >>> isinstance(relative(0.1), MeasuredStrength)
    True
    """

    gathered = False
    """whether the rows are those of all ranks."""

    @property
    def due(self) -> bool:
        """Whether the next step is one at which the target's held-out loss is wanted."""
        return False

    def forward(self, step: int | None = None) -> float:
        """The strength at an optimizer step."""
        raise TypeError(f"{type(self).__name__} is a strength without a rule: define forward(self, step) in it.")

    def readings(self) -> dict[str, float]:
        """What the strength now goes by, for a log."""
        return {}

    def on_rows(self, source: Rows, target: Rows, step: int | None) -> None:
        """A training step's rows, before the term sees them and before the strength is read."""

    def transform(self, source: Rows, target: Rows) -> tuple[Rows, Rows]:
        """The rows as the term is to see them."""
        return source, target

    def on_policy_grad(self, gradient: Tensor) -> None:
        """The gradient of the policy's loss at the seam."""

    def on_term_grad(self, gradient: Tensor) -> None:
        """The gradient of the term, unscaled, at one side's features."""

    def on_loss_scale(self, gradient: Tensor) -> None:
        """What the backward pass started from: a loss scale, one over the number of accumulated parts."""

    def on_target_loss(self, value: float) -> None:
        """The policy's loss on target episodes that are held out."""

    def release(self) -> None:
        """There will be no more such losses: those episodes are trained on from now."""

    def __mul__(self, factor: Any) -> Any:
        return product(self, factor) if is_strength(factor) else NotImplemented

    def __rmul__(self, factor: Strength) -> Any:
        return product(factor, self) if is_strength(factor) else NotImplemented

    def __neg__(self) -> MeasuredStrength:
        return MeasuredProduct(-1.0, self)


Strength: TypeAlias = "float | Schedule | MeasuredStrength"


def leaves(strength: Strength) -> list[MeasuredStrength]:
    """The measured strengths that make up a strength."""
    if not isinstance(strength, MeasuredStrength):
        return []
    found = [part for part in strength.modules() if isinstance(part, MeasuredStrength)]
    return [part for part in found if not isinstance(part, MeasuredProduct)]


def is_strength(x: object) -> bool:
    """A number, a schedule or a measured strength, rather than a term."""
    return isinstance(x, (int, float, MeasuredStrength)) or (callable(x) and not isinstance(x, nn.Module))


def checked_strength(strength: Strength) -> Strength:
    """A finite number as a float; what can be called as it is."""
    if callable(strength):
        return strength
    if isinstance(strength, bool) or not isinstance(strength, (int, float)) or not abs(strength) < float("inf"):
        raise TypeError(
            f"a strength is a finite number or a function of the optimizer step, got {strength!r}. "
            "Write 0.1 * term, or schedules.warmup(-1.0, steps) * term."
        )
    return float(strength)


def strength_at(strength: Strength, step: int | None, name: str) -> float:
    """The number that a strength is at a step.

    Raises:
        ValueError: when it depends on the step and no step was given.
    """
    if isinstance(strength, MeasuredStrength):
        return float(strength(step))
    if not callable(strength):
        return strength
    if step is None:
        raise ValueError(
            f"the strength of {name} is a schedule and depends on the optimizer step, got step=None. "
            "Pass it at the call: regularizer(source, target, step=step) or cotrain(batch, domain=..., step=step)."
        )
    return float(strength(step))


def product(left: Strength, right: Strength) -> Strength:
    """The product of two strengths."""
    if isinstance(left, MeasuredStrength) or isinstance(right, MeasuredStrength):
        if 1.0 in (left, right):
            return right if left == 1.0 else left
        return MeasuredProduct(left, right)
    if callable(left) or callable(right):
        return _Product(left, right)
    return left * right


@dataclass(frozen=True)
class _Product:
    """The product of two strengths, at least one of them a schedule."""

    left: Strength
    right: Strength

    def __call__(self, step: int) -> float:
        return strength_at(self.left, step, "a product") * strength_at(self.right, step, "a product")


class MeasuredProduct(MeasuredStrength):
    """The product of two strengths, at least one of them measured."""

    def __init__(self, left: Strength, right: Strength) -> None:
        super().__init__()
        self.left, self.right = checked_strength(left), checked_strength(right)

    def forward(self, step: int | None = None) -> float:
        return strength_at(self.left, step, "a product") * strength_at(self.right, step, "a product")

    def __repr__(self) -> str:
        return f"{self.left} * {self.right}"
