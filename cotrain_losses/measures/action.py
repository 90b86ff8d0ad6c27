"""The action side: what alignment of features is for.

    gradient cosine   cos(g_S, g_T)      g_k the gradient of domain k's validation loss
    action gap        sqrt( E |a_t - a_s|^2 / E |a_t - a_t'|^2 )      s, t' the neighbours of t in features
    contribution      g_T(z) = sum_{i in T} g_i,   g = softmax_i( ln w_k(i) - |z - z_i|^2 / (2 h^2) ),
                      w_T = w / N, w_S = (1 - w) / M

Features may be aligned and yet ask for different actions: then the policy averages them, or becomes bimodal.  The
gap is about 1 where near features of both domains ask for the same action, and larger where they do not.  The
contribution is the target's mass in the closed-form optimal co-trained policy (Lei et al. 2026) at a noise level high
enough that actions do not decide; h is the median distance of target features to their nearest of other episodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from .._core.device import gpus, reseed
from .._core.distances import squared_distances
from .sides import Side, subsample


class DomainLosses(NamedTuple):
    """A policy's validation loss on each domain, and the cosine between the two domains' mean gradients.

    >>> norms = {"source_norm": 1.0, "target_norm": 1.2}
    >>> DomainLosses(0.2, 0.01, 0.5, 0.02, cosine=-0.1, own_cosine=0.9, **norms).target
    0.5
    """

    source: float
    source_standard_error: float
    target: float
    target_standard_error: float
    cosine: float
    own_cosine: float
    """between the gradients of the target's even and odd batches: what noise alone leaves of 1."""
    source_norm: float
    target_norm: float


class ActionGap(NamedTuple):
    """What neighbours in features ask for: root mean squared differences of actions, over the target's deviations.

    >>> ActionGap(across=1.2, within=0.4, chance=1.4, gap=3.0, feature_distance=1.1).gap
    3.0
    """

    across: float
    """to the nearest source features."""
    within: float
    """to the nearest target features of other episodes."""
    chance: float
    """to random target samples."""
    gap: float
    """across / within."""
    feature_distance: float
    """how much farther the source neighbours are, as a ratio: a gap at a ratio far above 1 says little."""


Loss: TypeAlias = Callable[[Any], Tensor]
Batches: TypeAlias = Iterable[Any]


def domain_losses(
    loss: Loss, source: Batches, target: Batches, *, parameters: Iterable[nn.Parameter], seed: int = 0
) -> DomainLosses:
    """Losses and gradients of a policy on validation batches of each domain.

    Args:
        loss: function of a batch giving a scalar, such as `policy.compute_loss`, in the mode to be examined.
        source, target: at least two batches each; batch i of both sees the same draws of noise and diffusion time.
        parameters: with respect to which gradients are taken, such as the encoder's.

    The policy's gradients and the global random state stay as they were.  Mean gradients are noisy, which takes the
    cosine towards 0: read it against `own_cosine`.

    >>> head = nn.Linear(2, 1)
    >>> loss = lambda x: (head(x) - x.sum(1, keepdim=True)).square().mean()
    >>> batches = [torch.ones(4, 2), 2 * torch.ones(4, 2)]
    >>> found = domain_losses(loss, batches, batches, parameters=head.parameters())
    >>> round(found.cosine, 6)
    1.0
    """
    wanted = [p for p in parameters if p.requires_grad]
    if not wanted:
        raise ValueError("gradients are taken with respect to trainable parameters, got none that requires one.")
    losses, halves = zip(*(_gradients(loss, side, wanted, seed) for side in (source, target)), strict=True)
    g_source, g_target = (sum(half) / 2 for half in halves)
    values = [(float(x.mean()), float(x.std() / math.sqrt(len(x)))) for x in losses]
    norms = (float(g.norm()) for g in (g_source, g_target))
    return DomainLosses(*values[0], *values[1], _cosine(g_source, g_target), _cosine(*halves[1]), *norms)


def action_gap(
    source: Any,
    target: Any,
    source_actions: Any,
    target_actions: Any,
    *,
    target_groups: Any = None,
    neighbours: int = 5,
    rows: int = 2048,
    seed: int = 0,
) -> ActionGap:
    """Do near features ask for different actions?

    Args:
        source, target: features (n, d) and (m, d); their actions are (n, ...) and (m, ...), chunks are flattened.
        target_groups: (m,) the episode of each target row; neighbours of the same episode do not count.
        neighbours: nearest rows that are averaged over.
        rows: at most this many, and as many of one domain as of the other: both have the same chance of a near row.

    Time O(rows^2 d).

    >>> generator = torch.Generator().manual_seed(0)
    >>> z = torch.randn(200, 1, generator=generator)
    >>> agree = action_gap(z, z, z, z)
    >>> differ = action_gap(z, z, z, z + 2.0)  # near features, other actions
    >>> agree.gap < 1.5 < differ.gap
    True
    """
    s, t = Side.of("source", source), Side.of("target", target, target_groups)
    a_s, a_t = Side.of("source actions", source_actions).features, Side.of("target actions", target_actions).features
    _check_actions(s, t, a_s, a_t, neighbours)
    generator = torch.Generator().manual_seed(seed)
    size = min(rows, len(s), len(t))
    keep_s, keep_t = (torch.randperm(len(x), generator=generator)[:size] for x in (s, t))
    s, t, a_s, a_t = s[keep_s], t[keep_t], a_s[keep_s], a_t[keep_t]
    scale = a_t.std(0)
    scale = torch.where(scale > 1e-9, scale, torch.cat([a_s, a_t]).std(0).clamp_min(1e-9)) * math.sqrt(a_t.shape[1])
    a_s, a_t = a_s / scale, a_t / scale
    own = squared_distances(t.features, t.features).masked_fill(t.groups[:, None] == t.groups, torch.inf)
    if int(own.isfinite().sum(1).min()) < neighbours:
        raise ValueError(f"the gap compares with {neighbours} target rows of other episodes; some rows have fewer.")
    near_s = squared_distances(t.features, s.features).topk(neighbours, largest=False)
    near_t = own.topk(neighbours, largest=False)
    across, within = (_differences(a_t, a, near.indices) for a, near in ((a_s, near_s), (a_t, near_t)))
    chance = math.sqrt(2 * float(a_t.var(0).sum()))
    far = math.sqrt(float(near_s.values.mean()) / max(float(near_t.values.mean()), 1e-300))
    return ActionGap(across, within, chance, across / within if within else (1.0 if across == 0 else math.inf), far)


def neighbour_contribution(
    source: Any,
    target: Any,
    *,
    ratio: float,
    bandwidth: float | None = None,
    target_groups: Any = None,
    rows: int = 4096,
    seed: int = 0,
) -> float:
    """The target's share in what an optimal co-trained policy answers at target observations.

    Args:
        source, target: features (M, d) and (N, d).
        ratio, bandwidth: w, the share of target samples in training; h, in the units of the features.
        target_groups: (N,) episodes; a row's own episode is left out, as for an observation never seen.

    Near 1 the source is ignored there (disjoint); near `ratio` it is taken at face value (overlapping).

    >>> generator = torch.Generator().manual_seed(0)
    >>> source = torch.randn(200, 2, generator=generator)
    >>> target = torch.randn(50, 2, generator=generator)
    >>> far = target + 50.0
    >>> round(neighbour_contribution(source, far, ratio=0.1, bandwidth=1.0), 3)
    1.0
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio is the share of target samples and lies in [0, 1], got {ratio}.")
    s, t = Side.of("source", source), Side.of("target", target, target_groups)
    generator = torch.Generator().manual_seed(seed)
    s, t = subsample(s, rows, generator), subsample(t, rows, generator)
    own = squared_distances(t.features, t.features).masked_fill(t.groups[:, None] == t.groups, torch.inf)
    seen = own.isfinite().any(1)
    if not seen.any():
        raise ValueError("a contribution is that of other episodes, got target rows of one episode only.")
    nearest = float(own[seen].min(1).values.median())
    h2 = nearest if bandwidth is None else bandwidth**2
    if not h2 > 0:
        raise ValueError(f"bandwidth is a distance between features and must be > 0, got {math.sqrt(max(h2, 0.0))}.")
    others = own[seen].isfinite().sum(1).double()
    of_target = torch.logsumexp(-own[seen] / (2 * h2), 1) - others.log()
    of_source = torch.logsumexp(-squared_distances(t.features[seen], s.features) / (2 * h2), 1) - math.log(len(s))
    odds = torch.tensor(ratio, dtype=torch.float64).log() + of_target
    return float(torch.sigmoid(odds - torch.tensor(1 - ratio, dtype=torch.float64).log() - of_source).mean())


def _gradients(loss: Loss, batches: Batches, parameters: list[nn.Parameter], seed: int) -> tuple[Tensor, list[Tensor]]:
    """Losses (b,), and the mean gradients of even and of odd batches."""
    values, sums = [], [torch.zeros(1)] * 2
    devices = gpus(parameters)
    with torch.random.fork_rng(devices), torch.enable_grad():
        for i, batch in enumerate(batches):
            reseed(seed + i, devices)
            value = loss(batch)
            gradients = torch.autograd.grad(value, parameters, allow_unused=True)
            filled = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
            sums[i % 2] = sums[i % 2] + torch.cat([g.flatten().double().cpu() for g in filled])
            values.append(float(value.detach()))
    if (n := len(values)) < 2:
        raise ValueError(f"losses come with a standard error, which takes two batches of each domain, got {n}.")
    return torch.tensor(values), [sums[0] / ((n + 1) // 2), sums[1] / (n // 2)]


def _check_actions(s: Side, t: Side, a_s: Tensor, a_t: Tensor, neighbours: int) -> None:
    if len(a_s) != len(s) or len(a_t) != len(t) or a_s.shape[1] != a_t.shape[1]:
        raise ValueError(
            "every row of features has an action of one size in both domains, got actions "
            f"{tuple(a_s.shape)} and {tuple(a_t.shape)} beside {len(s)} source and {len(t)} target rows."
        )
    if min(len(s), len(t)) <= neighbours:
        raise ValueError(
            f"the gap looks at {neighbours} neighbours, got {len(s)} source and {len(t)} target rows. "
            f"Collect more, or pass neighbours={max(min(len(s), len(t)) - 1, 1)}."
        )


def _differences(actions: Tensor, of_neighbours: Tensor, index: Tensor) -> float:
    return math.sqrt(float((actions[:, None] - of_neighbours[index]).square().sum(2).mean()))


def _cosine(x: Tensor, y: Tensor) -> float:
    return float(x @ y) / lengths if (lengths := float(x.norm() * y.norm())) > 0 else 0.0
