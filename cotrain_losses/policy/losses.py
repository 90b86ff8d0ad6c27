"""What one training step was made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..terms.evaluation import Evaluation


class Losses(NamedTuple):
    """total = policy + regularizer, and what they are made of."""

    total: Tensor
    """policy + regularizer: call backward on it."""
    policy: Tensor
    """the policy's own loss, as it reports it."""
    regularizer: Tensor
    """sum_k lambda_k R_k."""
    raw: dict[str, Tensor]
    """each term's own value, unweighted and detached."""
    strengths: dict[str, float]
    """each term's strength lambda_k at this step."""
    counts: dict[str, int]
    """samples of each domain in the batch."""
    skipped: tuple[str, ...]
    """terms that had too few rows of a domain and were an exact zero."""
    readings: dict[str, float]
    """what measured strengths went by, as `term/reading`: the probe's accuracy, the brake, lengths of gradients."""
    weighted: Tensor | None
    """mean of weight * loss over the samples, where the policy returns a loss per sample."""
    info: Any
    """whatever else the policy's loss entry returned."""
    shares: dict[str, float]
    """each domain's share of the policy's loss by count: of the samples, or of their steps that are not padding."""


class PolicyLoss(NamedTuple):
    """What a policy's loss entry returned: a scalar, a loss per sample if there is one, and the rest."""

    scalar: Tensor
    per_sample: Tensor | None
    info: Any

    @classmethod
    def of(cls, returned: Any, samples: int) -> PolicyLoss:
        """Read a scalar, (b, ...) losses, (loss, info), or a dict or object with `loss`."""
        loss, info = returned, None
        if isinstance(returned, tuple) and returned:
            loss, info = returned[0], returned[1] if len(returned) == 2 else returned[1:]
        elif not isinstance(returned, Tensor):
            loss = returned.get("loss") if isinstance(returned, Mapping) else getattr(returned, "loss", None)
            info = returned
        if not isinstance(loss, Tensor):
            raise TypeError(
                "a loss entry returns a tensor, (loss, info), or a dict or object with `loss`, got "
                f"{type(returned).__name__}. Pass CoTrain(loss=lambda policy, batch: ...) that picks it."
            )
        if loss.ndim == 0:
            return cls(loss, None, info)
        if len(loss) != samples:
            raise ValueError(
                f"a loss entry returns a scalar or one loss per sample, got shape {tuple(loss.shape)} for {samples} "
                "samples. Reduce it first: CoTrain(loss=lambda policy, batch: policy(batch).mean())."
            )
        return cls(loss.mean(), loss, info)


def mean_over_sources(evaluations: list[tuple[str, Evaluation]]) -> Evaluation:
    """The mean over comparisons with each source; its terms are named by source."""
    each = [evaluation for _, evaluation in evaluations]
    return Evaluation(
        value=torch.stack([e.value for e in each]).mean(),
        raw={f"{term}[{name}]": value for name, e in evaluations for term, value in e.raw.items()},
        strengths={f"{term}[{name}]": value for name, e in evaluations for term, value in e.strengths.items()},
        n=sum(e.n for e in each),
        m=each[0].m,
        skipped=tuple(f"{term}[{name}]" for name, e in evaluations for term in e.skipped),
        unmatched=sum(e.unmatched for e in each),
    )
