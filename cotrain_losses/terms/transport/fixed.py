"""Transport in a fixed number of steps: the path of CUDA and of torch.compile.

No value is looked at on the way, so nothing waits for the device and nothing breaks the graph: eps is annealed
over LEVELS levels of ROUNDS iterations each, whatever the data.  Accurate while C / eps <= 1e3 or so; `coupling`
tells the marginals' error.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .problem import INF
from .settings import Settings

LEVELS, ROUNDS, LAST = 6, 8, 40
ITERATIONS = LEVELS * ROUNDS + LAST


class Fixed(NamedTuple):
    """A plan u K v with its dual value, potentials and marginal error, all tensors."""

    kernel: Tensor
    u: Tensor
    v: Tensor
    f: Tensor
    g: Tensor
    value: Tensor
    error: Tensor

    @property
    def plan(self) -> Tensor:
        """(n, m) coupling."""
        return self.u[:, None] * self.kernel * self.v


def fixed(cost: Tensor, a: Tensor, b: Tensor, settings: Settings, same: Tensor | None) -> Fixed:
    """Solve for the plan between masses a (n,) and b (m,) at cost (n, m); rows of no mass take no part."""
    if settings.eps == 0:
        raise ValueError(
            "exact transport (reg=0) calls an external solver on the CPU, which torch.compile and CUDA steps cannot "
            "wait for, got a compiled or CUDA call.\nUse a small reg there, such as 0.01."
        )
    alpha, beta = (torch.ones_like(a), torch.ones_like(b)) if settings.ones else (a, b)
    spread = cost.max() if same is None else (cost * same).max()
    if same is not None:
        cost = torch.where(same, cost, spread)
    f = cost.min(1).values
    g = (cost - f[:, None]).min(0).values
    steepness = (spread / (20 * settings.eps)).clamp_min(1.0)
    kernel, u, v, rows, columns = cost, alpha, beta, a, b
    for level in range(LEVELS, -1, -1):
        eps = settings.eps * steepness ** (level / LEVELS)
        kernel = torch.exp((f[:, None] + g - cost) / eps)
        kernel = kernel if same is None else kernel * same
        u, v = alpha, beta
        p, s = _rule(a, alpha, f, settings.rho[0], eps)
        q, t = _rule(b, beta, g, settings.rho[1], eps)
        for _ in range(ROUNDS if level else LAST):
            rows = (kernel @ v).clamp_min(1e-30)
            u = p / rows**s
            columns = (u @ kernel).clamp_min(1e-30)
            v = q / columns**t
            u, v = _shifted(u, v, rows, columns, settings.rho, eps)
        f, g = f + eps * _log(u, alpha), g + eps * _log(v, beta)
    rows = u * (kernel @ v)
    error = (rows - _wanted(f, a, settings.rho[0])).abs().sum()
    held = _held(f, a, settings.rho[0]) + _held(g, b, settings.rho[1])
    return Fixed(kernel, u, v, f, g, held + settings.eps * (alpha.sum() * beta.sum() - rows.sum()), error)


def symmetric(cost: Tensor, a: Tensor, settings: Settings, same: Tensor | None) -> Fixed:
    """The plan from rows to themselves: 20 averaged iterations, each halving the error."""
    rho, eps = settings.rho[0], settings.eps
    kernel = torch.exp(-cost / eps)
    kernel = kernel if same is None else kernel * same
    power = 1.0 if rho == INF else rho / (rho + eps)
    u = a / (kernel @ a).clamp_min(1e-30).sqrt()
    for _ in range(20):
        u = (u * a / (kernel @ u).clamp_min(1e-30) ** power).sqrt()
    rows, f = u * (kernel @ u), eps * _log(u, a)
    error = (rows - _wanted(f, a, rho)).abs().sum()
    value = 2 * _held(f, a, rho) + eps * (a.sum().square() - rows.sum())
    return Fixed(kernel, u, u, f, f, value, error)


def diagonal(cost: Tensor, a: Tensor, b: Tensor, settings: Settings) -> Fixed:
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
    return Fixed(torch.eye(len(p)).to(p), p, torch.ones_like(p), nothing, nothing, value, error)


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return (torch.where(p > 0, p * torch.log(p.clamp_min(1e-38) / q.clamp_min(1e-38)), 0.0) - p + q).sum()


def _rule(a: Tensor, alpha: Tensor, f0: Tensor, rho: float, eps: Tensor) -> tuple[Tensor, Tensor | float]:
    if rho == INF:
        return a, 1.0
    power = rho / (rho + eps)
    return alpha * (a / alpha.clamp_min(1e-30)) ** power * torch.exp(-f0 / (rho + eps)), power


def _shifted(
    u: Tensor, v: Tensor, rows: Tensor, columns: Tensor, rho: tuple[float, float], eps: Tensor
) -> tuple[Tensor, Tensor]:
    if INF in rho:
        return u, v
    ratio = (u @ rows).clamp_min(1e-30) / (v @ columns).clamp_min(1e-30)
    shift = ratio ** (rho[0] * rho[1] / (rho[0] + rho[1]) / eps)
    return u * shift, v / shift


def _log(u: Tensor, alpha: Tensor) -> Tensor:
    return torch.where(alpha > 0, torch.log(u.clamp_min(1e-30) / alpha.clamp_min(1e-30)), 0.0)


def _wanted(f: Tensor, a: Tensor, rho: float) -> Tensor:
    return a if rho == INF else a * torch.exp(-f / rho)


def _held(f: Tensor, a: Tensor, rho: float) -> Tensor:
    return (a * f).sum() if rho == INF else -rho * (a * torch.expm1(-f / rho)).sum()
