"""Entropic transport in rounds of constant shape: the path of every device but the CPU, and of torch.compile.

    S = softmax_j((g_j - C_ij) / e + log beta_j),   r = a exp(-f / rho_a),   P = r S     f best for g: no row is off
    c = P' 1,   w = b exp(-g / rho_b)                                    columns, and what they have to be
    g <- g + e rho_b / (rho_b + e) log(w / c)                            one iteration of Sinkhorn's
    [diag((c + w e / rho_b) (1 + damping)) - S' diag(r rho_a / (rho_a + e)) S] dg = e (w - c)      one step of Newton's

A round is both.  The length of Newton's step is the best of LENGTHS for the dual D; damping falls where the whole step
is the best and rises where no long one is (Levenberg, Marquardt).  e starts at a quarter of the largest difference of
costs and is halved in each round whose columns are off by less than ROUGH, down to eps.  What has converged
stays as it is (`torch.where`), so rounds more change no bit, no value is looked at, and the host may stop as soon as it
knows.  All in float64 where the device has it: only differences of potentials and costs are taken, which at C / eps =
1e6 leaves ten digits, and products of float64 are never rounded to TF32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..._core.device import Pending
from .problem import INF
from .settings import Settings

ROUNDS = 60  # at most; rows N(0, 1) at C / eps = 3e5 take 20
ROUGH = 0.1
LENGTHS = 4
TOGETHER = 1 << 20  # pairs up to which all lengths are tried at once
LITTLE = 1e-30  # where less than all is carried, the tolerance is on as much less, down to this
FAR = 16.0  # the shortest step tried, in units of e
DAMPING, LEAST, MOST, PACE = 1e-3, 1e-11, 1e6, 4.0
NEVER = -1e30  # the exponent of a pair that is not allowed


class Plan(NamedTuple):
    """A plan with its potentials, dual value and marginal error, all tensors."""

    plan: Tensor
    """(n, m) coupling."""
    f: Tensor
    g: Tensor
    value: Tensor
    error: Tensor
    rounds: Tensor


class _Problem(NamedTuple):
    cost: Tensor
    a: Tensor
    b: Tensor
    alpha: Tensor
    beta: Tensor
    rho: tuple[float, float]
    logs: Tensor
    """(m,) log beta"""
    same: Tensor | None


class _State(NamedTuple):
    g: Tensor
    e: Tensor
    damping: Tensor
    done: Tensor
    rounds: Tensor


def solved(cost: Tensor, a: Tensor, b: Tensor, settings: Settings, same: Tensor | None) -> Plan:
    """The plan between masses a (n,) and b (m,) at cost (n, m); rows of no mass take no part."""
    if settings.turned(len(a), len(b)):
        settings = settings.transposed
        plan = solved(cost.T.contiguous(), b, a, settings, None if same is None else same.T)
        return plan._replace(plan=plan.plan.T, f=plan.g, g=plan.f)
    alpha, beta = ((a > 0).to(a), (b > 0).to(b)) if settings.ones else (a, b)
    logs = torch.where(beta > 0, torch.log(beta.clamp_min(1e-30)), NEVER)
    problem = _Problem(cost, a, b, alpha, beta, settings.rho, logs, same)
    state = _start(problem, settings.eps)
    pending = Pending()
    for count in range(ROUNDS):
        if pending.known(state.done):
            break
        state = _round(problem, state, settings, sweep=count < settings.limit)
    return _finished(problem, state, settings)


def _start(problem: _Problem, eps: float) -> _State:
    """g that is tight in every column, and e at a quarter of what is left of the costs."""
    cost, zero = problem.cost, problem.cost.new_zeros(())
    allowed = (problem.a > 0)[:, None] & (problem.b > 0)
    allowed = allowed if problem.same is None else allowed & problem.same
    held = torch.where(allowed, cost, INF)
    f = _finite(held.amin(1))
    g = _finite(held.sub_(f[:, None]).amin(0))
    left = held.sub_(g).masked_fill_(~allowed, 0.0).amax()
    return _State(g, (left / 4).clamp_min(eps), zero + DAMPING, zero > 0, zero)


def _finite(x: Tensor) -> Tensor:
    return torch.where(x == INF, 0.0, x)


def _round(problem: _Problem, state: _State, settings: Settings, *, sweep: bool) -> _State:
    g, e, damping, done, rounds = state
    f, r, shares = _rows(problem, g, e)
    columns, wanted = _columns(problem, r, shares, g)
    if sweep:
        g = torch.where(done, g, g + _swept(problem, columns, wanted, e))
        f, r, shares = _rows(problem, g, e)
        columns, wanted = _columns(problem, r, shares, g)
    error, last = (wanted - columns).abs().sum(), e <= settings.eps
    done = done | ((error <= settings.tolerance * r.sum().clamp(LITTLE, 1.0)) & last)
    matrix = _curvature(problem, r, shares, columns, wanted, e, damping)
    del shares  # as large as the costs, and overwritten
    factor, failed = torch.linalg.cholesky_ex(matrix)
    del matrix  # solving copies its factor
    ahead, fine = _direction(problem, factor, failed, wanted - columns)
    at, length = _longest(problem, g, e, f, torch.where(fine, ahead, 0.0))
    length = torch.where(fine, length, 0.0)
    damping = torch.where(length > 0.9, damping / PACE, torch.where(length > 0.3, damping, damping * PACE))
    lower = (error < ROUGH) & ~last
    damping = torch.where(lower, DAMPING, damping.clamp(LEAST, MOST))
    e = torch.where(lower, (e / 2).clamp_min(settings.eps), e)
    return _State(torch.where(done, g, at), e, damping, done, rounds + ~done)


def _rows(problem: _Problem, g: Tensor, e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the potentials g make of the rows: f, their masses r, and S."""
    shares, sums, logs = _exponentials(problem, g, e)
    f = _best(problem, logs, e)
    return f, _held(f, problem.a, problem.rho[0]), shares.div_(sums[:, None])


def _exponentials(problem: _Problem, g: Tensor, e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """exp(X - top) (..., n, m) of the exponents X, its rows' sums, and the logarithms of the sums of exp(X)."""
    exponent = (g[..., None, :] - problem.cost).div_(e).add_(problem.logs)
    exponent = exponent if problem.same is None else exponent.masked_fill_(~problem.same, NEVER)
    top = exponent.amax(-1)
    sums = exponent.sub_(top[..., None]).exp_().sum(-1)
    return exponent, sums, top + sums.log()


def _best(problem: _Problem, logs: Tensor, e: Tensor) -> Tensor:
    """f (..., n), the best for g: rho / (rho + e) (e log(a / alpha) - e logsumexp); zero where no pair is allowed."""
    of_mass = torch.log(problem.a.clamp_min(1e-30) / problem.alpha.clamp_min(1e-30))
    return torch.where(logs > NEVER / 2, e * (of_mass - logs) * _share(problem.rho[0], e), 0.0)


def _share(rho: float, e: Tensor) -> Tensor | float:
    return 1.0 if rho == INF else rho / (rho + e)


def _held(f: Tensor, a: Tensor, rho: float) -> Tensor:
    return a if rho == INF else a * torch.exp(-f / rho)


def _columns(problem: _Problem, r: Tensor, shares: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """The columns' masses, and what they have to be."""
    return r @ shares, _held(g, problem.b, problem.rho[1])


def _swept(problem: _Problem, columns: Tensor, wanted: Tensor, e: Tensor) -> Tensor:
    tiny = torch.finfo(e.dtype).tiny
    ratio = wanted.clamp_min(tiny) / columns.clamp_min(tiny)
    return e * _share(problem.rho[1], e) * torch.where(problem.b > 0, torch.log(ratio), 0.0)


def _curvature(
    problem: _Problem, r: Tensor, shares: Tensor, columns: Tensor, wanted: Tensor, e: Tensor, damping: Tensor
) -> Tensor:
    """(m, m) the matrix of Newton's system; S is overwritten."""
    diagonal = columns if problem.rho[1] == INF else columns + wanted * (e / problem.rho[1])
    weighted = shares.mul_((r * _share(problem.rho[0], e)).sqrt()[:, None])
    matrix = (weighted.T @ weighted).neg_()
    matrix.diagonal().add_(torch.where(problem.b > 0, diagonal * (1 + damping), 1.0))
    return matrix


def _direction(problem: _Problem, factor: Tensor, failed: Tensor, off: Tensor) -> tuple[Tensor, Tensor]:
    """Newton's step in units of e, and whether it could be taken."""
    ahead = torch.cholesky_solve(off[:, None], factor)[:, 0]
    fine = (failed == 0) & torch.isfinite(ahead).all()
    if problem.rho == (INF, INF):  # a constant changes nothing
        has = (problem.b > 0).to(ahead)
        ahead = ahead - (ahead @ has) / has.sum().clamp_min(1.0)
    return ahead, fine


def _longest(problem: _Problem, g: Tensor, e: Tensor, f: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
    """The best of LENGTHS steps from the whole one down to FAR; none where each lowers the dual."""
    before = _dual(problem, f, g, e)
    shortest = (FAR / ahead.abs().amax().clamp_min(1e-30)).clamp_max(1.0)
    lengths = shortest ** (torch.arange(LENGTHS, device=g.device, dtype=g.dtype) / (LENGTHS - 1))
    reached = g + (e * lengths)[:, None] * ahead
    parts = reached[None] if problem.cost.numel() <= TOGETHER else reached[:, None]
    values = [_dual(problem, _best(problem, _exponentials(problem, part, e)[2], e), part, e) for part in parts]
    value, place = torch.nan_to_num(torch.cat(values), nan=-INF, neginf=-INF).max(0)
    slack = 500 * torch.finfo(g.dtype).eps * (before.abs() + (problem.a * f).abs().sum())
    length = torch.where(value >= before - slack, lengths.gather(0, place[None])[0], 0.0)
    return torch.where(length > 0, g + (e * length) * ahead, g), length


def _dual(problem: _Problem, f: Tensor, g: Tensor, e: Tensor | float) -> Tensor:
    """(...,) sum of what both sides hold - e (mass of the plan), f being the best for g."""
    (rho_a, rho_b), a, b = problem.rho, problem.a, problem.b
    of_a = (a * f).sum(-1) if rho_a == INF else -rho_a * (a * torch.expm1(-f / rho_a)).sum(-1)
    of_b = (b * g).sum(-1) if rho_b == INF else -rho_b * (b * torch.expm1(-g / rho_b)).sum(-1)
    return of_a + of_b - e * _held(f, a, rho_a).sum(-1)


def _finished(problem: _Problem, state: _State, settings: Settings) -> Plan:
    f, r, shares = _rows(problem, state.g, state.g.new_full((), settings.eps))
    columns, wanted = _columns(problem, r, shares, state.g)
    f, g = torch.where(problem.a > 0, f, 0.0), torch.where(problem.b > 0, state.g, 0.0)
    value = _dual(problem, f, g, settings.eps) + settings.eps * problem.alpha.sum() * problem.beta.sum()
    return Plan(shares.mul_(r[:, None]), f, g, value, (wanted - columns).abs().sum(), state.rounds)
