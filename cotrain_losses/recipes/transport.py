"""Methods that transport one domain's rows onto the other's.

Cost is |x - y|^2 unless a block says otherwise, the reference measure a b'.  Published losses are <P, C> with the
plan held fixed: value="linear".  Its gradient is that of the full objective (envelope theorem).
"""

from __future__ import annotations

from ..method import Method
from ..mixing.pairing import NearestByDTW
from ..terms.transport import Block, OptimalTransport, Sinkhorn
from .labels import LabelCost
from .mixing import Ratio


def ot(*, ratio: Ratio = 0.1, strength: float = 0.1, blur: float = 0.05, tolerance: float = 1e-4) -> Method:
    """Co-training plus a Sinkhorn divergence between the domains' features.  Lei et al. 2026 name the loss
    "OT" without its form or strength; blur 0.05 is geomloss's and EgoBridge's (Punamiya et al. 2025)."""
    return Method(ratio=ratio, regularizer=strength * Sinkhorn(blur=blur, tolerance=tolerance))


def deepjdot(*, ratio: Ratio = 0.5, features: float = 0.001, labels: LabelCost | None = None) -> Method:
    """Exact transport of features and labels together: DeepJDOT (Damodaran et al. 2018), alpha 0.001 and
    label weight 1e-4 as for its digits.  Classes: LabelCost(loss="cross_entropy").  Their released code finds the
    coupling with the squared error and differentiates the cross-entropy; here one cost does both, as in the paper."""
    cost = (Block(weight=features), labels or LabelCost(weight=1e-4))
    return Method(ratio=ratio, regularizer=1.0 * OptimalTransport(reg=0, cost=cost, value="linear"))


def jumbot(
    *, ratio: Ratio = 0.5, features: float = 0.01, labels: LabelCost | None = None, tolerance: float = 1e-4
) -> Method:
    """Unbalanced joint transport over minibatches: JUMBOT (Fatras et al. 2021), settings of its Office-Home
    runs.  Reference 1 1': the unbalanced entropy of the POT versions it was written for (before 0.9.5)."""
    cost = (Block(weight=features), labels or LabelCost(weight=0.5))
    how = {"cost": cost, "reference": "ones", "value": "linear", "tolerance": tolerance}
    return Method(ratio, 1.0 * OptimalTransport(0.01, unbalanced=0.5, **how))  # type: ignore[arg-type]


def uot(*, ratio: Ratio = 0.1, strength: float = 0.1, reference: str = "product", tolerance: float = 1e-4) -> Method:
    """Unbalanced transport of features and detached states: Cheng et al. 2025, JUMBOT with the label cost replaced by
    a state distance (extras "state", end-effector positions say).  reference="product" or "ones" solves a coupling;
    "diagonal" takes row i of the source for row i of the target (`pairing.PairedSampler`), a closed form.  Cost and
    entropy weights are those of public reproductions, ratio and strength too."""
    cost = (Block(weight=0.01), Block("state", weight=0.05, detach=True))
    how = {"cost": cost, "reference": reference, "value": "linear", "tolerance": tolerance}
    return Method(ratio, strength * OptimalTransport(0.1, unbalanced=0.05, **how))  # type: ignore[arg-type]


def egobridge(
    *, ratio: Ratio = 0.5, strength: float = 0.7, pairing: NearestByDTW | None = None, tolerance: float = 1e-4
) -> Method:
    """Entropic transport that is cheaper between rows whose actions are nearest by DTW: Punamiya et al. 2025, with the
    discount 0.5, soft-DTW smoothing 0.1, cost |x - y|^2 / 2, blur 0.05 and strength 0.7 of their released settings."""
    pairing = pairing or NearestByDTW("action", discount=0.5, gamma=0.1)
    how = {"cost": Block(weight=0.5), "pairing": pairing, "value": "linear", "tolerance": tolerance}
    return Method(ratio, strength * OptimalTransport(0.05**2, **how))  # type: ignore[arg-type]
