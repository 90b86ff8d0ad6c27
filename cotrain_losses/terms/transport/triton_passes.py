"""Passes of one Triton program over a transport problem: tiles of ROWS rows that span all M columns.

    X_ij = (g_j - C_ij) / e + log beta_j,   S_ij = exp(X_ij - top_i),   P = q S,   q = r / sum_j S

Tiles go from the first row of mass to the last.  Vectors lie in V, (10, M) float64: what one pass stores another reads,
by other threads, hence the barriers.
"""

from __future__ import annotations

import triton
import triton.language as tl

NEVER, BANNED, TINY = tl.constexpr(-1e30), tl.constexpr(1e30), tl.constexpr(1e-30)
PRODUCTS = tl.constexpr(30)  # of one step of Newton's
AHEAD, STEP, SWEPT, LOGS, TOP = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2), tl.constexpr(3), tl.constexpr(4)
SUMS, HELD, CURVED, COLUMNS = tl.constexpr(5), tl.constexpr(6), tl.constexpr(7), tl.constexpr(8)


@triton.jit
def wanted(mass, potential, per_rho):
    """The marginal that a potential asks for."""
    return mass * tl.exp(-potential * per_rho)


@triton.jit
def worth(mass, potential, per_rho):
    """What a side adds to the dual: mass rho (1 - exp(-potential / rho)), whose limit is mass potential."""
    x = potential * per_rho
    whole = (1.0 - tl.exp(-x)) / tl.maximum(per_rho, TINY)
    return mass * tl.where(tl.abs(x) < 1e-4, potential * (1.0 - x / 2 + x * x / 6), whole)


@triton.jit
def masses(MASS, n, M: tl.constexpr):
    """(M,) masses that sum to one, and the first row that has one and the last (plus one)."""
    i = tl.arange(0, M)
    mass = tl.load(MASS + i, mask=i < n, other=0.0).to(tl.float64)
    first, stop = tl.min(tl.where(mass > 0, i, M)), tl.max(tl.where(mass > 0, i + 1, 0))
    return mass / tl.maximum(tl.sum(mass), TINY), first, stop


@triton.jit
def tile(C, A, i, j, stop, present, stride):
    """(ROWS, M) costs, BANNED for pairs without mass, and which pairs have it."""
    both = (tl.load(A + i, mask=i < stop, other=0.0) > 0)[:, None] & present[None, :]
    return tl.load(C + i[:, None] * stride + j[None, :], mask=both, other=BANNED).to(tl.float64), both


@triton.jit
def started(C, A, first, stop, stride, present, ROWS: tl.constexpr, M: tl.constexpr):
    """g that is tight in every column, and a quarter of what is left of the costs."""
    j = tl.arange(0, M)
    least = tl.full([ROWS, M], BANNED, tl.float64)
    for start in range(first, stop, ROWS):
        cost, _ = tile(C, A, start + tl.arange(0, ROWS), j, stop, present, stride)
        least = tl.minimum(least, tl.where(cost < BANNED / 2, cost - tl.min(cost, 1)[:, None], BANNED))
    g = tl.min(least, 0)
    g = tl.where(g < BANNED / 2, g, 0.0)
    most = tl.zeros([ROWS, M], tl.float64)
    for start in range(first, stop, ROWS):
        cost, _ = tile(C, A, start + tl.arange(0, ROWS), j, stop, present, stride)
        left = cost - tl.min(cost, 1)[:, None] - g[None, :]
        most = tl.maximum(most, tl.where(cost < BANNED / 2, left, 0.0))
    return g, tl.max(tl.max(most, 1)) / 4


@triton.jit
def passed(C, S, V, F, A, n, first, stop, stride, e, per_rho, ONES: tl.constexpr, ROWS: tl.constexpr, M: tl.constexpr):
    """Everything at the potentials AHEAD -> what the columns hold, the rows' part of the dual, the mass carried."""
    j = tl.arange(0, M)
    logs = tl.load(V + LOGS * M + j)
    present, shift = logs > NEVER, tl.load(V + AHEAD * M + j) / e + logs
    tl.debug_barrier()
    for start in range(first, stop, ROWS):
        i = start + tl.arange(0, ROWS)
        cost, both = tile(C, A, i, j, stop, present, stride)
        exponent = shift[None, :] - cost * (1.0 / e)
        top = tl.max(exponent, 1)
        weight = tl.exp((exponent - top[:, None]).to(tl.float32))
        tl.store(S + i[:, None] * stride + j[None, :], weight, mask=both)
        tl.store(V + TOP * M + i, top, mask=i < stop)
        tl.store(V + SUMS * M + i, tl.sum(weight, 1).to(tl.float64), mask=i < stop)
    tl.debug_barrier()
    own, _, _ = masses(A, n, M)
    top = tl.load(V + TOP * M + j, mask=own > 0, other=2 * NEVER)
    sums = tl.load(V + SUMS * M + j, mask=own > 0, other=1.0)
    logsum = top + tl.log(sums)
    if ONES:
        logsum -= tl.log(tl.maximum(own, TINY))
    share = 1.0 / (1.0 + e * per_rho)
    f = tl.where(top > NEVER, -e * logsum * share, 0.0)
    r = wanted(own, f, per_rho)
    tl.store(F + j, f, mask=j < n)
    tl.store(V + HELD * M + j, r / sums)
    tl.store(V + CURVED * M + j, r * share / (sums * sums))
    carried = tl.sum(r)
    value = tl.sum(worth(own, f, per_rho) + 0.0 * sums) - e * carried  # NaN where a row is not finite: that ends all
    return columns(S, V, first, stop, stride, present, ROWS, M), value, carried


@triton.jit
def columns(S, V, first, stop, stride, present, ROWS: tl.constexpr, M: tl.constexpr):
    """(M,) S' q."""
    j = tl.arange(0, M)
    sums = tl.zeros([ROWS, M], tl.float32)
    tl.debug_barrier()
    for start in range(first, stop, ROWS):
        i = start + tl.arange(0, ROWS)
        held = tl.load(V + HELD * M + i, mask=i < stop, other=0.0).to(tl.float32)
        both = (held > 0)[:, None] & present[None, :]
        sums += held[:, None] * tl.load(S + i[:, None] * stride + j[None, :], mask=both, other=0.0)
    tl.store(V + COLUMNS * M + j, tl.sum(sums, 0).to(tl.float64))
    tl.debug_barrier()
    return tl.load(V + COLUMNS * M + j)


@triton.jit
def newton_step(S, V, first, stop, stride, present, off, diagonal, accuracy, ROWS: tl.constexpr, M: tl.constexpr):
    """Newton's step in units of e by conjugate gradients, and the passes that it took."""
    j = tl.arange(0, M)
    step, rest, inverse = tl.zeros([M], tl.float32), off, 1.0 / diagonal
    p = rest * inverse
    size = tl.sum(rest * p)
    least = accuracy * accuracy * size
    count = 0
    while (count < PRODUCTS) & (size > least):
        sums = tl.zeros([ROWS, M], tl.float32)
        for start in range(first, stop, ROWS):
            i = start + tl.arange(0, ROWS)
            r = tl.load(V + CURVED * M + i, mask=i < stop, other=0.0).to(tl.float32)
            both = (r > 0)[:, None] & present[None, :]
            weight = tl.load(S + i[:, None] * stride + j[None, :], mask=both, other=0.0)
            sums += weight * (r * tl.sum(weight * p[None, :], 1))[:, None]
        q = diagonal * p - tl.sum(sums, 0)
        curve = tl.sum(p * q)
        ahead = tl.where(curve > 1e-12 * size, size / curve, 0.0)
        step += ahead * p
        rest -= ahead * q
        z = rest * inverse
        new = tl.sum(rest * z)
        p = z + (new / size) * p
        size = tl.where(ahead > 0, new, 0.0)
        count += 1
    return tl.where(present, step, 0.0).to(tl.float64), count


@triton.jit
def finished(C, S, T, V, A, u, sign, first, stop, stride, present, MIRROR: tl.constexpr, ROWS: tl.constexpr,
             M: tl.constexpr):  # fmt: skip
    """S becomes sign q S u, the plan, and T its transpose -> <P, C>."""
    j = tl.arange(0, M)
    linear = tl.zeros([ROWS, M], tl.float64)
    tl.debug_barrier()
    for start in range(first, stop, ROWS):
        i = start + tl.arange(0, ROWS)
        cost, both = tile(C, A, i, j, stop, present, stride)
        held = tl.load(V + HELD * M + i, mask=i < stop, other=0.0).to(tl.float32)
        plan = held[:, None] * u[None, :] * tl.load(S + i[:, None] * stride + j[None, :], mask=both, other=0.0)
        linear += tl.where(cost < BANNED / 2, plan * cost, 0.0)
        tl.store(S + i[:, None] * stride + j[None, :], sign * plan, mask=both)
        if MIRROR:
            tl.store(T + j[None, :] * stride + i[:, None], sign * plan, mask=both)
    return tl.sum(tl.sum(linear, 1))
