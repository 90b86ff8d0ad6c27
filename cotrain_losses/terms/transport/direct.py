"""Transport with a rule of its own, in constant shape: from rows to themselves, and from row i to row i.

rows to themselves    u <- sqrt(u a / (K u)^t),  t = rho / (rho + eps), which halves the error each time
row i to row i        a closed form
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .problem import INF
from .rounds import Plan
from .settings import Settings


def symmetric(cost: Tensor, a: Tensor, settings: Settings, same: Tensor | None) -> Plan:
    """The plan from rows to themselves, in as many averaged iterations as the tolerance takes; the cost becomes it."""
    rho, eps, tiny = settings.rho[0], settings.eps, torch.finfo(cost.dtype).tiny
    kernel = cost.div_(-eps).exp_()
    kernel = kernel if same is None else kernel.mul_(same)
    power = 1.0 if rho == INF else rho / (rho + eps)
    u = a / (kernel @ a).clamp_min(tiny).sqrt()
    count = 4 + max(0, math.ceil(-math.log2(settings.tolerance)))
    for _ in range(count):
        u = (u * a / (kernel @ u).clamp_min(tiny) ** power).sqrt()
    rows = u * (kernel @ u)
    f = torch.where(a > 0, eps * torch.log(u.clamp_min(tiny) / a.clamp_min(tiny)), 0.0)
    error = (rows - (a if rho == INF else a * torch.exp(-f / rho))).abs().sum()
    held = (a * f).sum() if rho == INF else -rho * (a * torch.expm1(-f / rho)).sum()
    value = 2 * held + eps * (a.sum().square() - rows.sum())
    return Plan(kernel.mul_(u[:, None]).mul_(u), f, f, value, error, error.new_full((), count))


def diagonal(cost: Tensor, a: Tensor, b: Tensor, settings: Settings) -> Plan:
    """Row i to row i or nowhere, in closed form; `cost` holds the n costs.

    With R = diag(r), r = sqrt(a b), the plan is diag(p), log p = (eps log r + rho_a log a + rho_b log b - C)
    / (eps + rho_a + rho_b); balanced, p = a, which b has to equal.
    """
    eps, (rho_a, rho_b) = settings.eps, settings.rho
    r = (a * b).sqrt()
    if rho_a < INF and rho_b < INF:
        logs = [torch.log(x.clamp_min(1e-30)) for x in (r, a, b)]
        log_p = (eps * logs[0] + rho_a * logs[1] + rho_b * logs[2] - cost) / (eps + rho_a + rho_b)
        p = torch.where(r > 0, torch.exp(log_p), 0.0)
    else:
        p = a if rho_a == INF else b
    parts = ((eps, r), *((rho, held) for rho, held in ((rho_a, a), (rho_b, b)) if rho < INF))
    value = (p * cost).sum() + torch.stack([weight * _kl(p, held) for weight, held in parts]).sum()
    error = (p - a).abs().sum() * (rho_a == INF) + (p - b).abs().sum() * (rho_b == INF)
    nothing = torch.zeros_like(p)
    return Plan(torch.diag(p), nothing, nothing, value, error, nothing.sum())


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return (torch.where(p > 0, p * torch.log(p.clamp_min(1e-38) / q.clamp_min(1e-38)), 0.0) - p + q).sum()
