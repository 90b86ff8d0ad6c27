"""Methods that transport one domain's rows onto the other's.

Cost is |x - y|^2 unless a block says otherwise, the reference measure a b'.  Published losses are <P, C> with the
plan held fixed: value="linear".  Its gradient is that of the full objective (envelope theorem).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .._core.distances import squared_distances
from .._core.rows import Rows
from ..method import Method
from ..mixing.pairing import NearestByDTW
from ..terms.transport import Block, OptimalTransport, Sinkhorn
from .mixing import Ratio


@dataclass(frozen=True)
class LabelCost:
    """A block of `OptimalTransport(cost=...)`: what a target prediction would cost if it had a source row's label.

        cross_entropy   C_ij = - sum_c y_ic log softmax(p_j)_c    squared   C_ij = |y_i - p_j|^2

    Args:
        label: the source extra holding labels: (n, ...) numbers, class probabilities or one-hot rows for cross-entropy.
        prediction: the target extra holding predictions (m, ...): logits for cross-entropy.  Where they carry a
            gradient, it reaches what made them.
        weight: in cost units.
        loss: "squared" for actions, "cross_entropy" for classes.

    >>> LabelCost("action", "prediction", weight=0.01).loss
    'squared'
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


def ot(*, ratio: Ratio = 0.1, strength: float = 0.1, blur: float = 0.05, tolerance: float = 1e-4) -> Method:
    """Co-training plus a Sinkhorn divergence between the domains' features.  Lei et al. 2026 name the loss
    "OT" without its form or strength; blur 0.05 is geomloss's and EgoBridge's (Punamiya et al. 2025).

    >>> ot(blur=0.05).regularizer.strengths()
    {'sinkhorn': 0.1}
    """
    return Method(ratio=ratio, regularizer=strength * Sinkhorn(blur=blur, tolerance=tolerance))


def deepjdot(*, ratio: Ratio = 0.5, features: float = 0.001, labels: LabelCost | None = None) -> Method:
    """Exact transport of features and labels together: DeepJDOT (Damodaran et al. 2018), alpha 0.001 and
    label weight 1e-4 as for its digits.  Classes: LabelCost(loss="cross_entropy").  Their released code finds the
    coupling with the squared error and differentiates the cross-entropy; here one cost does both, as in the paper.

    >>> deepjdot(features=0.1).regularizer.strengths()
    {'optimal_transport': 1.0}
    """
    cost = (Block(weight=features), labels or LabelCost(weight=1e-4))
    return Method(ratio=ratio, regularizer=1.0 * OptimalTransport(reg=0, cost=cost, value="linear"))


def jumbot(
    *, ratio: Ratio = 0.5, features: float = 0.01, labels: LabelCost | None = None, tolerance: float = 1e-4
) -> Method:
    """Unbalanced joint transport over minibatches: JUMBOT (Fatras et al. 2021), settings of its Office-Home
    runs.  Reference 1 1': the unbalanced entropy of the POT versions it was written for (before 0.9.5).

    >>> jumbot().regularizer.strengths()
    {'optimal_transport': 1.0}
    """
    cost = (Block(weight=features), labels or LabelCost(weight=0.5))
    how = {"cost": cost, "reference": "ones", "value": "linear", "tolerance": tolerance}
    return Method(ratio, 1.0 * OptimalTransport(0.01, unbalanced=0.5, **how))  # type: ignore[arg-type]


def uot(*, ratio: Ratio = 0.1, strength: float = 0.1, reference: str = "product", tolerance: float = 1e-4) -> Method:
    """Unbalanced transport of features and detached states: Cheng et al. 2025, JUMBOT with the label cost replaced by
    a state distance (extras "state", end-effector positions say).  reference="product" or "ones" solves a coupling;
    "diagonal" takes row i of the source for row i of the target (`pairing.PairedSampler`), a closed form.  Cost and
    entropy weights are those of public reproductions, ratio and strength too.

    >>> uot(reference="diagonal").regularizer.strengths()
    {'optimal_transport': 0.1}
    """
    cost = (Block(weight=0.01), Block("state", weight=0.05, detach=True))
    how = {"cost": cost, "reference": reference, "value": "linear", "tolerance": tolerance}
    return Method(ratio, strength * OptimalTransport(0.1, unbalanced=0.05, **how))  # type: ignore[arg-type]


def egobridge(
    *, ratio: Ratio = 0.5, strength: float = 0.7, pairing: NearestByDTW | None = None, tolerance: float = 1e-4
) -> Method:
    """Entropic transport that is cheaper between rows whose actions are nearest by DTW: Punamiya et al. 2025, with the
    discount 0.5, soft-DTW smoothing 0.1, cost |x - y|^2 / 2, blur 0.05 and strength 0.7 of their released settings.

    >>> egobridge().regularizer.strengths()
    {'optimal_transport': 0.7}
    """
    pairing = pairing or NearestByDTW("action", discount=0.5, gamma=0.1)
    how = {"cost": Block(weight=0.5), "pairing": pairing, "value": "linear", "tolerance": tolerance}
    return Method(ratio, strength * OptimalTransport(0.05**2, **how))  # type: ignore[arg-type]
