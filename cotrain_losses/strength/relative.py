"""A strength that means the same everywhere: a cap on a term's gradient as a share of the policy's.

    lambda = min(raw, fraction <|g_policy|> / <|g_term|>)

    g_policy = d l_policy / dz,   g_term = dR / dz        both at the seam, over all rows of a batch
    <.>                                                   running averages, corrected for their bias

The term is evaluated on standardised features, so its size does not depend on the scale of z; the strength is a *cap*:
a term whose gradient has become small is not amplified.  With raw = inf it is normalised instead: lambda g_term then
has the length fraction <|g_policy|> at every step, the balance of Défossez et al., "High Fidelity Neural Audio
Compression", TMLR 2023, equation 5, up to the common factor R / (sum of strengths) <|g_policy|> that theirs puts on
everything.  Kin: VQGAN's adaptive strength (Esser et al., CVPR 2021, eq. 7: the same ratio at the last layer, without
averages), GradNorm (Chen et al., ICML 2018: ratios learned from the rates at which tasks train).

Nothing is added to the backward pass but the norms of gradients that flow anyway.  The policy's gradient is known when
the backward pass has reached the seam, so a step's strength rests on the steps before it; in the first one it is zero.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from .._core.device import Later, accurate, moved
from .._core.ranks import ranks, summed
from .._core.rows import Rows
from .averages import Average
from .standardise import Standardised
from .strength import MeasuredStrength


class Relative(MeasuredStrength):
    """A strength capped at a share of the policy's gradient: `relative(0.1) * MMD()`.

    Args:
        fraction: the most that the term may send to the encoder, in lengths of the policy's own gradient at the seam.
            `-relative(0.1) * DomainClassifier(width)` opposes: the cap keeps the sign.
        raw: the strength where the cap does not bind.  `math.inf` normalises instead: the term then always acts at
            `fraction`, also where it has converged and its gradient is noise.
        decay: of the running averages, per optimizer step.
        standardise: evaluate the term on features in units of their running spread (both domains together).

    Pass the optimizer step to `CoTrain` (or the regularizer): parts of an accumulated batch then share one strength.
    Loss scales cancel, steps whose gradients are not finite are left out, evaluations change nothing, and all ranks
    use the same strength (two small all-reduces a step).  On a GPU a step's strength rests on the steps before the last
    one, so that the host need not wait for that one's gradients.  Where a seam pools (`pool`, `mask`) the term's
    gradient is taken after pooling, the policy's before.

    >>> -0.5 * relative(0.1)
    -0.5 * relative(0.1, raw=1)
    """

    patience = 100

    def __init__(self, fraction: float, *, raw: float = 1.0, decay: float = 0.99, standardise: bool = True) -> None:
        super().__init__()
        if isinstance(fraction, bool) or not 0.0 <= fraction < math.inf:
            raise ValueError(
                f"fraction is a share of the policy's gradient and at least 0, got {fraction!r}. "
                "To oppose a term, negate the strength: -relative(0.1) * DomainClassifier(width)."
            )
        if not raw > 0.0:
            raise ValueError(f"raw is the strength's own upper bound and above 0, got {raw!r}. math.inf leaves it out.")
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay of a running average lies in [0, 1), got {decay!r}. 0.99 averages 100 steps.")
        self.fraction, self.raw, self.decay, self.standardise = float(fraction), float(raw), float(decay), standardise
        self._policy, self._term = Average[float](decay), Average[float](decay)
        self._rows = Standardised(decay) if standardise else None
        self._grads: dict[str, list[Tensor]] = {}
        self._step, self._unmeasured, self._later = -1, 0, Later()

    def forward(self, step: int | None = None) -> float:
        """The strength now; zero until a step was measured."""
        policy, term = self._policy.value, self._term.value
        if policy is None or term is None:
            return 0.0
        return min(self.raw, self.fraction * policy / term)

    @property
    def lengths(self) -> tuple[float | None, float | None]:
        """The running lengths of the policy's and of the term's gradient at the seam."""
        return self._policy.value, self._term.value

    def readings(self) -> dict[str, float]:
        """`lengths`, once a step was measured."""
        found = zip(("policy_gradient", "term_gradient"), self.lengths, strict=True)
        return {name: length for name, length in found if length is not None}

    def on_rows(self, source: Rows, target: Rows, step: int | None) -> None:
        """Take in what the last optimizer step was like, and this batch's moments."""
        if step is None or step != self._step:
            self._settle(source.features)
            self._step = -1 if step is None else step
        if self._rows is not None:
            self._rows.observe(source, target, self.gathered)

    def transform(self, source: Rows, target: Rows) -> tuple[Rows, Rows]:
        """The rows standardised."""
        return (source, target) if self._rows is None else self._rows(source, target)

    def on_policy_grad(self, gradient: Tensor) -> None:
        """Its length."""
        self._note("policy", gradient)

    def on_term_grad(self, gradient: Tensor) -> None:
        """Its length."""
        self._note("term", gradient)

    def on_loss_scale(self, gradient: Tensor) -> None:
        """What both lengths are divided by."""
        self._note("scale", gradient)

    def _note(self, what: str, gradient: Tensor) -> None:
        wide = torch.promote_types(gradient.dtype, torch.float32)
        self._grads.setdefault(what, []).append(torch.linalg.vector_norm(gradient, dtype=wide))

    def _squares(self, like: Tensor) -> Tensor:
        """(3,) the sums of what was measured of policy, term and scale since the last optimizer step, squared."""
        sums, wide = [], accurate(like)
        for what in ("policy", "term", "scale"):
            lengths = [moved(length, like.device) for length in self._grads.get(what, [])]  # some may be a checkpoint's
            none = like.new_zeros((), dtype=wide)
            sums.append(torch.stack(lengths).to(wide).square().sum() if lengths else none)
        return torch.stack(sums)

    def _settle(self, like: Tensor) -> None:
        """The lengths of the last optimizer step: over its accumulated parts as over one batch."""
        if not self._grads and ranks() == 1:
            return
        squares = self._later.exchanged(summed(self._squares(like)))
        self._grads = {}
        if squares is not None:
            self._take(*squares)

    def _take(self, policy: float, term: float, scale: float) -> None:
        term = term * ranks() if self.gathered else term  # what every rank computes alike counts once for each
        if not (scale > 0.0 and math.isfinite(policy + term + scale)):  # a GradScaler skips such a step too
            return
        self._policy.add(math.sqrt(policy / scale))
        if term > 0.0:  # else it had too few rows to compare
            self._term.add(math.sqrt(term / scale))
        self._check_measured(policy)

    def _check_measured(self, policy: float) -> None:
        self._unmeasured = 0 if policy > 0.0 else self._unmeasured + 1
        if self._unmeasured == self.patience:
            warnings.warn(
                f"a relative strength is a share of the policy's gradient at the seam, got none in "
                f"{self._unmeasured} steps, so the strength is zero. "
                "Without CoTrain pass z through regularizer.seam(z) on its way to the head.",
                stacklevel=2,
            )

    def get_extra_state(self) -> dict[str, Any]:
        """The running averages, what was measured since they were last brought up to date, and the step."""
        return {
            "policy": self._policy.state(),
            "term": self._term.state(),
            "rows": None if self._rows is None else self._rows.state(),
            "grads": {what: list(lengths) for what, lengths in self._grads.items()},
            "step": self._step,
            "later": self._later.state(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self._policy.load(state["policy"])
        self._term.load(state["term"])
        if self._rows is not None and state["rows"] is not None:
            self._rows.load(state["rows"])
        self._grads = {what: list(lengths) for what, lengths in state["grads"].items()}
        self._step = state["step"]
        self._later.load(state.get("later"))  # an older checkpoint has none

    def __repr__(self) -> str:
        return f"relative({self.fraction:g}, raw={self.raw:g})"


relative = Relative
"""the name in expressions: `relative(0.1) * MMD()`"""
