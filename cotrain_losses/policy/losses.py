"""What one training step was made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._core.device import accurate
from ..terms.evaluation import Evaluation


class Losses(NamedTuple):
    """total = policy + regularizer, and what they are made of.

    >>> from torch import nn
    >>> from cotrain_losses import MMD, CoTrain, Method, Seam
    >>> policy = nn.ModuleDict({"encoder": nn.Linear(3, 4), "head": nn.Linear(4, 2)})
    >>> loss = lambda policy, x: policy.head(policy.encoder(x)).square().mean()
    >>> seam = Seam(feature="encoder", head="head", sampler=False)
    >>> cotrain = CoTrain(policy, Method(regularizer=0.1 * MMD()), seam=seam, loss=loss)
    >>> losses = cotrain(torch.randn(8, 3), domain=torch.arange(8) >= 6)
    >>> bool(losses.total == losses.policy + losses.regularizer), losses.counts
    (True, {'source': 6, 'target': 2})
    """

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
    counts: dict[str, Any]
    """samples of each domain in the batch: numbers, or scalars on the device of the labels."""
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

    def scalars(self, target: str = "target", more: Mapping[str, Tensor] | None = None) -> dict[str, float]:
        """Everything as plain numbers for a logger, under the names that `Watch` lists; one copy from the device.

        `ratio` is the share of target samples in this batch, `more` are tensors to be read along.
        """
        tensors = {"policy": self.policy, "total": self.total}
        tensors |= {f"raw/{name}": value for name, value in self.raw.items()} | dict(more or {})
        where, wide = self.total.device, accurate(self.total)
        numbers = torch.stack([value.detach().to(where, wide) for value in tensors.values()]).tolist()
        values: dict[str, float] = dict(zip(tensors, numbers, strict=True))
        parts = {name: abs(weight * values[f"raw/{name}"]) for name, weight in self.strengths.items()}
        whole = abs(values["policy"]) + sum(parts.values())
        for name, weight in self.strengths.items():
            values |= {f"strength/{name}": weight, f"share/{name}": parts[name] / whole if whole else 0.0}
        values |= {f"reading/{name}": value for name, value in self.readings.items()}
        values["ratio"] = float(shares_of(self.counts).get(target, 0.0))
        return values | {f"loss_share/{name}": float(share) for name, share in self.shares.items()}


class PolicyLoss(NamedTuple):
    """What a policy's loss entry returned: a scalar, a loss per sample if there is one, and the rest."""

    scalar: Tensor
    per_sample: Tensor | None
    info: Any
    named: bool = False
    """whether it stood under its key"""

    @classmethod
    def of(cls, returned: Any, samples: int, key: str = "loss") -> PolicyLoss:
        """Read a scalar, (b, ...) losses, (loss, info), or a dict or object that holds it under `key`."""
        loss, info, named = returned, None, False
        if isinstance(returned, tuple) and returned:
            loss, info = returned[0], returned[1] if len(returned) == 2 else returned[1:]
        elif not isinstance(returned, Tensor):
            loss = returned.get(key) if isinstance(returned, Mapping) else getattr(returned, key, None)
            info, named = returned, True
        if not isinstance(loss, Tensor):
            inside = f" of {', '.join(map(str, returned))}" if isinstance(returned, Mapping) else ""
            raise TypeError(
                f"a loss entry returns a tensor, (loss, info), or a dict or object with `{key}`, got "
                f"{type(returned).__name__}{inside}. Say which it is, CoTrain(loss_key='action_loss'), or pick it: "
                "CoTrain(loss=lambda policy, batch: ...)."
            )
        if loss.ndim == 0:
            return cls(loss, None, info)
        if len(loss) != samples:
            raise ValueError(
                f"a loss entry returns a scalar or one loss per sample, got shape {tuple(loss.shape)} for {samples} "
                "samples. Reduce it first: CoTrain(loss=lambda policy, batch: policy(batch).mean())."
            )
        return cls(loss.mean(), loss, info, named)

    def refuse_predictions(self, policy: Any) -> None:
        """Several numbers a sample are as likely predictions as losses, where only the policy's call is known."""
        if self.per_sample is not None and self.per_sample.ndim > 1 and not self.named:
            raise TypeError(
                "a policy that no adapter knows, without compute_loss, returns its loss when it is called, got "
                f"{tuple(self.per_sample.shape)} numbers of {type(policy).__name__}, which may be its predictions. Say "
                "what the loss is: CoTrain(loss=lambda policy, batch: ...), or that these are it: "
                "CoTrain(loss='forward')."
            )


def shares_of(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Each domain's share of all counts; a scalar on their device where they are on one."""
    total: Any = sum(counts.values())
    total = total.clamp_min(1.0) if isinstance(total, Tensor) else max(total, 1.0)
    return {name: count / total for name, count in counts.items()}


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
