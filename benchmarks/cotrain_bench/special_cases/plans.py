"""Plans between uniform masses by other libraries, and a soft-DTW written as a loop."""

from __future__ import annotations

import math
import warnings

import numpy as np
import ot  # type: ignore[import-untyped]
import torch
from torch import Tensor


def entropic_value(cost: Tensor, eps: float) -> Tensor:
    """<P, C> + eps KL(P | a b') at POT's plan, which is held fixed."""
    plan = balanced_plan(cost, eps)
    return (plan * cost).sum() + eps * (plan * torch.log(plan.clamp_min(1e-300) * cost.numel())).sum()


def balanced_plan(cost: Tensor, eps: float) -> Tensor:
    """POT's entropic plan between uniform masses."""
    a, b = (np.full(n, 1 / n) for n in cost.shape)
    return torch.from_numpy(ot.sinkhorn(a, b, cost.detach().numpy(), eps, numItermax=20_000, stopThr=1e-9))


def unbalanced_plan(cost: Tensor, reg: float, tau: float, entropy: str, reference: Tensor | None = None) -> Tensor:
    """POT's plan between uniform masses."""
    a, b = (np.full(n, 1 / n) for n in cost.shape)
    settings = {"reg_type": entropy, "c": None if reference is None else reference.numpy(), "numItermax": 100_000}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "If reg_type = entropy")  # said whenever that entropy is asked for
        plan = ot.unbalanced.sinkhorn_knopp_unbalanced(a, b, cost.detach().numpy(), reg, tau, stopThr=1e-14, **settings)
    return torch.from_numpy(plan)


def exact_plan(cost: Tensor) -> Tensor:
    """POT's optimal plan between uniform masses."""
    a, b = (np.full(n, 1 / n) for n in cost.shape)
    return torch.from_numpy(ot.emd(a, b, cost.detach().numpy()))


def soft_dtw(x: Tensor, y: Tensor, gamma: float = 0.1) -> float:
    """r_ij = |x_i - y_j|^2 - gamma log sum exp(-{r_i-1,j-1, r_i-1,j, r_i,j-1} / gamma)."""
    r = np.full((len(x) + 1, len(y) + 1), np.inf)
    r[0, 0] = 0.0
    for i in range(len(x)):
        for j in range(len(y)):
            before = np.array([r[i, j], r[i, j + 1], r[i + 1, j]])
            least = before.min()
            soft = least - gamma * math.log(np.exp(-(before - least) / gamma).sum())
            r[i + 1, j + 1] = float((x[i] - y[j]).square().sum()) + soft
    return float(r[-1, -1])
