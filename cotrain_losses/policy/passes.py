"""What acts at the seam while a policy runs: the interface, and the call of the head that it is told of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor


class HeadCall(NamedTuple):
    """One call of the head, as its caller made it."""

    condition: Tensor | None
    time: Tensor | None
    again: Callable[[Tensor], Any]
    """calls the head once more, with another condition."""
    doubled: bool = False
    """whether it was one call for two conditions, whose rows follow one another."""


class Pass:
    """Acts at the seam while a policy runs.  This one changes nothing."""

    replaces_conditions = False
    """whether it adds a token to the head's condition."""
    predicts_twice = False
    """whether it wants a second prediction, under another condition."""
    replaces_predictions = False
    """whether it is given predictions at all."""

    def on_features(self, z: Tensor, read: Tensor | None) -> Tensor:
        """Sees the features read from z, None where autograd recomputes them; gives what the policy goes on with."""
        return z

    def replace_condition(self, condition: Tensor) -> Tensor:
        """Gives the condition the head receives, or what the token is added to."""
        return condition

    def two_conditions(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Gives both conditions, when the head is called once for both."""
        return condition, condition

    def replace_prediction(self, output: Any, call: HeadCall) -> Any:
        """Gives what the head's caller receives."""
        return output
