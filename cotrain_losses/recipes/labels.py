"""The label part of a joint transport cost: what a target prediction would cost if it had a source row's label.

cross_entropy   C_ij = - sum_c y_ic log softmax(p_j)_c          squared   C_ij = |y_i - p_j|^2
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .._core.distances import squared_distances
from .._core.rows import Rows


@dataclass(frozen=True)
class LabelCost:
    """A block of `OptimalTransport(cost=...)` that compares source labels with target predictions.

    Args:
        label: the source extra holding labels: (n, ...) numbers, class probabilities or one-hot rows for cross-entropy.
        prediction: the target extra holding predictions (m, ...): logits for cross-entropy.  Where they carry a
            gradient, it reaches what made them.
        weight: in cost units.
        loss: "squared" for actions, "cross_entropy" for classes.
    """

    label: str = "action"
    prediction: str = "prediction"
    weight: float = 1.0
    loss: str = "squared"

    def __post_init__(self) -> None:
        if self.loss not in ("squared", "cross_entropy"):
            raise ValueError(f'loss is "squared" or "cross_entropy", got {self.loss!r}.')

    def __call__(self, source: Rows, target: Rows) -> Tensor:
        """The (n, m) matrix."""
        labels = source.extra(self.label).to(source.features).flatten(1)
        predictions = target.extra(self.prediction).to(target.features).flatten(1)
        if self.loss == "squared":
            return self.weight * squared_distances(labels, predictions)
        return -self.weight * labels @ predictions.log_softmax(1).T
