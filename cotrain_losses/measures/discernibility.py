"""Discernibility: how well the domain can be read from features it was not fitted on.

    accuracy         (P(source | source) + P(target | target)) / 2 as classified, held out; chance is 1/2
    proxy A-distance 2 (1 - 2 (1 - accuracy)), in [0, 2] (Ben-David et al. 2007)

A probe is a small network trained on the frozen features: 2 layers (one hidden, the domain classifier of Lei et al.
2026 and Wei et al. 2025) or 1 (linear).  Every episode is held out once in each of several cross-validations: never
a frame of it in training, in early stopping and in testing at once.  Classes are drawn evenly while training.

Features are standardised per coordinate on the training rows, a coordinate by no less than a tenth of the median
standard deviation: what is far below that counts as unreadable.  Accuracy is blind to order, shifts, overall scale.

The interval is Korn & Graubard's (1998) for clustered proportions: Clopper-Pearson at the effective sample size
p (1 - p) / v, with v the variance between episodes and the degrees of freedom that leaves; at v = 0 every episode
counts once.  Under identical distributions it holds 1/2 in at least about 95 of 100 cases.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .sides import Side, joined, normalised, numbered, subsample

CHECK_EVERY, PATIENCE, MOST_STEPS = 20, 4, 400


@dataclass(frozen=True)
class ProbeReading:
    """How well a probe reads the domain: a 95 % interval, which rests on the episodes of both domains together.

    >>> more = {"auc": 0.95, "proxy_a_distance": 1.6, "episodes": 40}
    >>> reading = ProbeReading(0.9, interval=(0.8, 0.96), **more)
    >>> reading.interval[0] > 0.75  # above half way between chance and certainty
    True
    """

    accuracy: float
    interval: tuple[float, float]
    auc: float
    proxy_a_distance: float
    episodes: int

    def as_dict(self) -> dict[str, object]:
        """Plain numbers."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def probe_accuracy(
    source: Side,
    target: Side,
    *,
    hidden: int | None = 64,
    folds: int = 5,
    seeds: int = 2,
    rows: int = 2048,
    batch: int = 128,
    seed: int = 0,
) -> ProbeReading:
    """Held-out accuracy of a probe with a hidden layer of this width; `hidden=None` is the linear one.

    Args:
        folds: parts of a cross-validation, fewer where a domain has fewer episodes; under three raise ValueError.
        seeds: cross-validations with splits and initial weights of their own.
        rows, batch: at most `rows` of each domain are used, `batch` in a training step, half of each domain.

    All folds of all seeds train at once as one batched network: O(folds seeds steps batch d hidden).
    """
    generator = torch.Generator().manual_seed(seed)
    source, target = (subsample(side, rows, generator) for side in (source, target))
    # held out as a whole: episodes, or the rows where there are fewer than three
    sides = [s if s.episodes >= 3 else replace(s, groups=torch.arange(len(s))) for s in (source, target)]
    counts = [side.episodes for side in sides]
    if (folds := min(folds, *counts)) < 3:
        raise ValueError(
            f"a held-out probe needs 3 rows or episodes a domain, one each to train, to stop and to test on, got "
            f"{counts[0]} in source and {counts[1]} in target. Collect more."
        )
    x, domain, units = joined(*sides)
    held = torch.stack([_folds(sides, folds, generator) for _ in range(seeds)])[:, None]
    fold = torch.arange(folds)[:, None]
    tests, stops = ((held == (fold + k) % folds).flatten(0, 1) for k in (0, 1))
    logits = _trained(x, domain, ~(tests | stops), stops, hidden, batch, generator)
    return _probe_reading(logits, domain, tests, units)


def _probe_reading(logits: Tensor, domain: Tensor, tests: Tensor, units: Tensor) -> ProbeReading:

    right = 0.5 * (1 + torch.sign(logits) * (2 * domain - 1)).double()
    per_row = (right * tests).sum(0) / tests.sum(0)
    accuracy, variance, episodes = _clustered(per_row, domain, units)
    aucs = [_auc(score[test], domain[test] == 1) for score, test in zip(logits, tests, strict=True)]
    interval = clustered_interval(accuracy, variance, clusters=episodes, rows=len(domain))
    return ProbeReading(accuracy, interval, sum(aucs) / len(aucs), max(2 * (2 * accuracy - 1), 0.0), episodes)


def _auc(scores: Tensor, positive: Tensor) -> float:
    """P(score of a positive > score of a negative), ties by half: Mann and Whitney's U over all pairs."""
    above, below = scores[positive], scores[~positive].sort().values
    ranks = torch.searchsorted(below, above) + torch.searchsorted(below, above, right=True)
    return float(ranks.double().mean()) / (2 * len(below))


def clustered_interval(share: float, variance: float, *, clusters: int, rows: int) -> tuple[float, float]:
    """95 % interval of a share with a variance estimated from clusters: Korn & Graubard 1998."""
    from scipy.special import betaincinv, stdtrit  # type: ignore[import-untyped]  # comes with POT, loads in no time

    inflation = (stdtrit(max(rows - 1, 1), 0.975) / stdtrit(max(clusters - 2, 1), 0.975)) ** 2
    effective = share * (1 - share) / variance if variance > 0 else clusters
    effective = min(max(effective, 1.0) * inflation, rows)
    low = betaincinv(share * effective, (1 - share) * effective + 1, 0.025) if share > 0 else 0.0
    high = betaincinv(share * effective + 1, (1 - share) * effective, 0.975) if share < 1 else 1.0
    return float(low), float(high)


def _clustered(per_row: Tensor, domain: Tensor, units: Tensor) -> tuple[float, float, int]:
    """Balanced accuracy, its variance between episodes, and how many there are."""
    share, variance, count = 0.0, 0.0, 0
    for label in (0, 1):
        rows = per_row[domain == label]
        unit, g = numbered(units[domain == label])
        residual = torch.zeros(g, dtype=rows.dtype).index_add_(0, unit, rows - rows.mean())
        variance += float(residual.square().sum()) * g / max(g - 1, 1) / len(rows) ** 2 / 4
        share, count = share + float(rows.mean()) / 2, count + g
    return share, variance, count


class _Ensemble(nn.Module):
    """Networks side by side, each with parameters of its own: inputs (e, b, d) -> logits (e, b).

    Not scikit-learn's: its MLPClassifier draws no balanced classes and cannot stop early on episodes of our choice.
    """

    def __init__(self, members: int, width: int, hidden: int | None, generator: torch.Generator) -> None:
        super().__init__()
        sizes = [width, 1] if hidden is None else [width, hidden, 1]
        scale = 0.0 if hidden is None else 1.0  # a linear probe has one minimum and starts unbiased, at zero
        begin = [scale * torch.randn(members, i, o, generator=generator) / math.sqrt(i) for i, o in pairwise(sizes)]
        self.weights = nn.ParameterList(begin)
        self.biases = nn.ParameterList([torch.zeros(members, 1, o) for o in sizes[1:]])

    def forward(self, x: Tensor) -> Tensor:
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, F.relu(x) if layer else x, weight)
        return x.squeeze(-1)


def _trained(
    x: Tensor, domain: Tensor, train: Tensor, stop: Tensor, hidden: int | None, batch: int, generator: torch.Generator
) -> Tensor:
    """Logits (e, n) of members trained each on its rows and taken where its stopping rows were fitted best."""
    x, mean, scale = _standardised(x, train)
    net = _Ensemble(len(train), x.shape[1], hidden, generator)
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-2 if hidden is None else 3e-3, weight_decay=1e-2)
    best, logits, stale = torch.full((len(train),), torch.inf), torch.zeros(train.shape), 0
    labels = torch.tensor([0.0, 1.0]).repeat_interleave(batch // 2)
    with torch.enable_grad():
        for step in range(MOST_STEPS + 1):
            if step % CHECK_EVERY == 0:
                with torch.no_grad():
                    now = torch.cat([net((part - mean) / scale) for part in torch.split(x, 512)], 1)
                loss = _balanced_loss(now, domain, stop)
                better = loss < best - 1e-3
                best, logits = torch.where(better, loss, best), torch.where(better[:, None], now, logits)
                stale = 0 if better.any() else stale + 1
                if stale == PATIENCE:
                    break
            masks = (train & (domain == k) for k in (0, 1))
            rows = torch.cat([mask.float().multinomial(batch // 2, True, generator=generator) for mask in masks], 1)
            loss = F.binary_cross_entropy_with_logits(net((x[rows] - mean) / scale), labels.expand(len(train), -1))
            optimizer.zero_grad()
            (loss * len(train)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return logits


def _balanced_loss(logits: Tensor, domain: Tensor, rows: Tensor) -> Tensor:
    loss = F.softplus((1 - 2 * domain) * logits)
    sides = [rows & (domain == k) for k in (0, 1)]
    return torch.stack([(loss * side).sum(1) / side.sum(1).clamp_min(1) for side in sides]).mean(0)


def _standardised(x: Tensor, train: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (n, d), and each member's mean and scale (e, 1, d)."""
    x = normalised(x)
    share = train.float() / train.sum(1, keepdim=True)
    mean = share @ x
    deviation = (share @ x.square() - mean.square()).clamp_min(0).sqrt()
    median = torch.stack([(d[d > 1e-6] if (d > 1e-6).any() else d + 1).median() for d in deviation])
    return x, mean[:, None], torch.maximum(deviation, 0.1 * median[:, None])[:, None]


def _folds(sides: list[Side], folds: int, generator: torch.Generator) -> Tensor:
    """(n,) the fold of each row: episodes dealt out in random order, each domain by itself."""
    places = (numbered(side.groups) for side in sides)
    return torch.cat([(torch.randperm(count, generator=generator) % folds)[place] for place, count in places])
