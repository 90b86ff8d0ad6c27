"""A whole entropic transport problem in one Triton program, its convergence included.

    S = softmax_j((g_j - C_ij) / e + log beta_j),   r = a exp(-f / rho_a),   P = r S     f best for g: no row is off
    c = P' 1,   w = b exp(-g / rho_b)                                    columns, and what they have to be
    g <- g + e rho_b / (rho_b + e) log(w / c)                            one iteration of Sinkhorn's
    [diag((c + w e / rho_b) (1 + damping)) - S' diag(r rho_a / (rho_a + e)) S] dg = e (w - c)      one step of Newton's

Both take turns.  Newton's system is solved by conjugate gradients; its step is the first of four lengths that raises
the dual enough (Armijo).  e starts at a quarter of the largest difference of costs and is halved where the columns are
off by less than ROUGH.  Costs and potentials are float64; only their difference is rounded, to float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_passes import (
    AHEAD,
    BANNED,
    HELD,
    LOGS,
    NEVER,
    STEP,
    SWEPT,
    TINY,
    columns,
    finished,
    masses,
    newton_step,
    passed,
    started,
    tile,
    wanted,
    worth,
)

ROUGH = tl.constexpr(0.03)
ARMIJO = tl.constexpr(0.25)
FAR = tl.constexpr(48.0)  # the second length tried, in units of e
DAMPING, LEAST, MOST = tl.constexpr(1e-3), tl.constexpr(1e-6), tl.constexpr(1e6)
LITTLE = tl.constexpr(1e-30)  # where less than all is carried, the tolerance is on as much less, down to this
SYMMETRIC = tl.constexpr(64)  # iterations from rows to themselves, at most


@triton.jit(do_not_specialize=["n", "m", "at_a", "at_b", "to", "mirror", "stride", "limit"])
def solve(C, S, MASS, POT, V, PARTS, STAT, n, m, at_a, at_b, to, mirror, stride, eps, per_a, per_b, tolerance, limit,
          ONES: tl.constexpr, LINEAR: tl.constexpr, POOLED: tl.constexpr, PASSES: tl.constexpr,
          ROWS: tl.constexpr, M: tl.constexpr):  # fmt: skip
    """Program 0 solves between the sides, 1 and 2 each side with itself; STAT (k, 5) tells how it went.

    The masses of the n rows are at MASS + at_a, of the m columns at MASS + at_b, the costs at C + to; S + to becomes
    the plan and, POOLED, S + mirror its transpose.  Within a side the plan gets a minus, its value counts minus a half.
    """
    p = tl.program_id(0)
    one = tl.max(tl.full([M], 1.0, tl.float64))  # numbers come as float32
    eps, tolerance, per_a, per_b = eps * one, tolerance * one, per_a * one, per_b * one
    V += p * 10 * M
    STAT += p * 5
    if p == 0:
        value, linear, error, carried, rounds = _across(
            C + to, S + to, S + mirror, V, POT + at_a, POT + at_b, MASS + at_a, MASS + at_b, n, m, stride,
            eps, per_a, per_b, tolerance, limit, ONES, POOLED, PASSES, ROWS, M)  # fmt: skip
        if LINEAR:
            tl.store(PARTS, linear)
        else:
            tl.store(PARTS, value)
    else:
        first, count = tl.where(p == 1, at_a, at_b), tl.where(p == 1, n, m)
        to = first * stride + first
        value, linear, error, carried, rounds = _within(
            C + to, S + to, V, MASS + first, count, stride, eps, per_a, tolerance, ROWS, M)  # fmt: skip
        tl.store(PARTS + p, -0.5 * value)
    tl.store(STAT, value)
    tl.store(STAT + 1, linear)
    tl.store(STAT + 2, error)
    tl.store(STAT + 3, carried)
    tl.store(STAT + 4, rounds * one)


@triton.jit
def _across(C, S, T, V, F, G, A, B, n, m, stride, eps, per_a, per_b, tolerance, limit,
            ONES: tl.constexpr, MIRROR: tl.constexpr, PASSES: tl.constexpr,
            ROWS: tl.constexpr, M: tl.constexpr):  # fmt: skip
    """The plan between two sides -> its objective, <P, C>, marginal error, mass carried, rounds."""
    j = tl.arange(0, M)
    a, first, stop = masses(A, n, M)
    b, _, _ = masses(B, m, M)
    logs, reference = tl.log(tl.maximum(b, TINY)), 0 * eps + 1
    if ONES:
        logs, reference = 0 * b, tl.sum((a > 0).to(tl.float64)) * tl.sum((b > 0).to(tl.float64))
    e = _begun(C, V, G, A, b, logs, m, first, stop, stride, eps, ROWS, M)
    value, error, carried, slope = 0 * e, 0 * e, 0 * e, 0 * e
    damping, length, big = 0 * e + DAMPING, 0 * e + 1, 0 * e + 1
    tries, passes, rounds = 0, 0, 0
    busy = (stop > first) & (tl.sum(b) > 0)
    reference = tl.where(busy, reference, 0.0)
    while busy:
        tl.debug_barrier()
        step = tl.where(tries > 0, length * tl.load(V + STEP * M + j), tl.load(V + SWEPT * M + j))
        ahead = tl.load(G + j, mask=j < m, other=0.0) + step
        tl.debug_barrier()
        tl.store(V + AHEAD * M + j, ahead)
        tl.debug_barrier()
        c, value1, carried1 = passed(C, S, V, F, A, n, first, stop, stride, e, per_a, ONES, ROWS, M)
        b, _, _ = masses(B, m, M)
        w = wanted(b, ahead, per_b)
        value1 += tl.sum(worth(b, ahead, per_b))
        passes += 1
        busy = (value1 == value1) & (passes < PASSES)
        found = (tries == 0) | (value1 >= value + ARMIJO * length * slope - 1e-7 * e - 1e-13 * tl.abs(value))
        lower, newton = e < 0, e < 0
        if found | (busy == 0):
            value, carried, error = value1, carried1, tl.sum(tl.abs(w - c))
            busy = busy & (error < BANNED)  # of rows that are not finite it is NaN
            busy = busy & ((e > eps) | (error > tolerance * tl.minimum(tl.maximum(carried, LITTLE), 1.0)))
            lower = (e > eps) & (error < ROUGH)
            newton = (tries == 0) & (lower == 0)
            if tries > 0:
                damping = tl.where(length > 0.9, damping / 4, tl.where(length > 0.3, damping, damping * 4))
            swept = e / (1.0 + e * per_b) * tl.log(tl.maximum(w, TINY) / tl.maximum(c, TINY))
            tl.store(G + j, ahead, mask=j < m)
            tl.store(V + SWEPT * M + j, tl.where((b > 0) & (rounds < limit), swept, 0.0))
        elif tries == 4:
            damping = damping * 4
        if busy:
            if newton:
                damping = tl.minimum(tl.maximum(damping, LEAST), MOST)
                big, slope, count = _stepped(S, V, first, stop, stride, b, w, c, e, per_b, damping, error, ROWS, M)
                length = 0 * e + 1
                passes += count
                tries = 1
            elif (found == 0) & (tries < 4):
                length = tl.minimum(length / 4, FAR / big)
                tries += 1
            else:
                tries = 0
                rounds += 1
                if lower:
                    e = tl.maximum(e / 2, eps)
                    damping = 0 * e + DAMPING
    linear = finished(C, S, T, V, A, (0 * b + 1).to(tl.float32), 1.0, first, stop, stride, b > 0, MIRROR, ROWS, M)
    return value + eps * reference, linear, error, carried, rounds


@triton.jit
def _begun(C, V, G, A, b, logs, m, first, stop, stride, eps, ROWS: tl.constexpr, M: tl.constexpr):
    """The vectors that the first pass reads -> e."""
    j = tl.arange(0, M)
    g, e = started(C, A, first, stop, stride, b > 0, ROWS, M)
    tl.store(V + LOGS * M + j, tl.where(b > 0, logs, 2 * NEVER))
    tl.store(V + SWEPT * M + j, 0 * b)
    tl.store(V + STEP * M + j, 0 * b)
    tl.store(G + j, g, mask=j < m)
    return tl.maximum(e, eps)


@triton.jit
def _stepped(S, V, first, stop, stride, b, w, c, e, per_b, damping, error, ROWS: tl.constexpr, M: tl.constexpr):
    """A step of Newton's, into V -> its largest entry in units of e, the dual's slope along it, the passes it took."""
    off = tl.where(b > 0, w - c, 0.0)
    diagonal = tl.where(b > 0, (c + w * e * per_b) * (1.0 + damping), 1.0)
    accuracy = tl.minimum(0.1, error).to(tl.float32)
    ahead, count = newton_step(
        S, V, first, stop, stride, b > 0, off.to(tl.float32), diagonal.to(tl.float32), accuracy, ROWS, M
    )
    tl.store(V + STEP * M + tl.arange(0, M), e * ahead)
    return tl.maximum(tl.max(tl.abs(ahead)), TINY), e * tl.sum(off * ahead), count


@triton.jit
def _within(C, S, V, A, n, stride, eps, per_rho, tolerance, ROWS: tl.constexpr, M: tl.constexpr):
    """The plan from rows to themselves -> its objective, <P, C>, marginal error, mass carried, rounds.

    u <- sqrt(u a / (K u)^t), t = rho / (rho + eps), which halves the error each time.
    """
    j = tl.arange(0, M)
    a, first, stop = masses(A, n, M)
    present = a > 0
    for start in range(first, stop, ROWS):
        i = start + tl.arange(0, ROWS)
        cost, both = tile(C, A, i, j, stop, present, stride)
        tl.store(S + i[:, None] * stride + j[None, :], tl.exp((-cost / eps).to(tl.float32)), mask=both)
    u, value, error, carried = a, 0 * eps, 0 * eps, 0 * eps
    rounds = 0
    busy = stop > first
    while busy:
        tl.debug_barrier()
        tl.store(V + HELD * M + j, u)
        reached = tl.maximum(columns(S, V, first, stop, stride, present, ROWS, M), TINY)
        f = tl.where(present, eps * tl.log(tl.maximum(u, TINY) / tl.maximum(a, TINY)), 0.0)
        carried = tl.sum(u * reached)
        value = 2 * tl.sum(worth(a, f, per_rho)) + eps * (1.0 - carried)
        error = tl.sum(tl.abs(u * reached - wanted(a, f, per_rho)))
        rounds += 1
        busy = ((rounds < 3) | (error > tolerance / 8)) & (rounds < SYMMETRIC)
        if busy:
            power = tl.exp(tl.log(reached) / (1.0 + eps * per_rho))
            u = tl.where(present, tl.where(rounds == 1, a / tl.sqrt(reached), tl.sqrt(u * a / power)), 0.0)
    linear = finished(C, S, S, V, A, u.to(tl.float32), -1.0, first, stop, stride, present, False, ROWS, M)
    return value, linear, error, carried, rounds
