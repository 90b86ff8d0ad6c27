"""Triton kernels between pooled rows z (k, d): the sources first, then the targets, each with its mass.

    distances   C_ij = scale |z_i - z_j|^2                 differences and sums in float64, so nothing cancels
    pull        at_i = sum_j W_ij (z_i - z_j)              the gradient of every term that is a sum over pairs

Tiles without rows of mass are left out: what they hold is not defined.
"""

from __future__ import annotations

import triton
import triton.language as tl

LARGEST = tl.constexpr(3.4028235e38)


@triton.jit(do_not_specialize=["n", "k", "d"])  # sizes change from step to step
def distances(Z, MASS, C, BAD, ZERO, n, k, d, scale, WITHIN: tl.constexpr, CLEAR: tl.constexpr, TILE: tl.constexpr,
              STEP: tl.constexpr):  # fmt: skip
    """C (k, k); the upper tiles are computed and mirrored.  WITHIN: whether pairs of one side are wanted.

    BAD (k,) counts each row's values that are not finite, whatever its mass; ZERO (CLEAR,) is set to zero.
    """
    top, left = tl.program_id(0) * TILE, tl.program_id(1) * TILE
    i, j = top + tl.arange(0, TILE), left + tl.arange(0, TILE)
    if top == left:
        bad = tl.zeros([TILE, STEP], tl.float32)
        for start in range(0, d, STEP):
            at = start + tl.arange(0, STEP)
            x = tl.load(Z + i[:, None] * d + at[None, :], mask=(i < k)[:, None] & (at < d)[None, :], other=0.0)
            bad += tl.where(tl.abs(x.to(tl.float32)) <= LARGEST, 0.0, 1.0)
        tl.store(BAD + i, tl.sum(bad, 1), mask=i < k)
    if (CLEAR > 0) & (top + left == 0):
        for start in range(0, CLEAR, 1024):
            at = start + tl.arange(0, 1024)
            tl.store(ZERO + at, tl.zeros([1024], tl.int32), mask=at < CLEAR)
    across = (top < n) & (left + TILE > n)
    held = tl.max(tl.load(MASS + i, mask=i < k, other=0.0)) * tl.max(tl.load(MASS + j, mask=j < k, other=0.0))
    if (left >= top) & (held > 0) & (WITHIN | across):
        sums = tl.zeros([TILE, TILE, STEP], tl.float64)
        for start in range(0, d, STEP):
            at = start + tl.arange(0, STEP)
            x = tl.load(Z + i[:, None] * d + at[None, :], mask=(i < k)[:, None] & (at < d)[None, :], other=0.0)
            y = tl.load(Z + j[:, None] * d + at[None, :], mask=(j < k)[:, None] & (at < d)[None, :], other=0.0)
            apart = x.to(tl.float64)[:, None, :] - y.to(tl.float64)[None, :, :]
            sums += apart * apart
        squared = tl.sum(sums, 2) * scale
        squared = (squared + 0.0 * squared).to(C.dtype.element_ty)  # infinity becomes NaN: it ends a solve
        inside = (i < k)[:, None] & (j < k)[None, :]
        tl.store(C + i[:, None] * k + j[None, :], squared, mask=inside)
        tl.store(C + j[None, :] * k + i[:, None], squared, mask=inside)


@triton.jit(do_not_specialize=["n", "k", "d", "parts"])
def pull(Z, MASS, W, PARTS, BAD, AT, VALUE, n, k, d, parts, factor, WITHIN: tl.constexpr, TILE: tl.constexpr,
         STEP: tl.constexpr):  # fmt: skip
    """AT (k, d) = factor sum_j W_ij (z_i - z_j), and VALUE the sum of PARTS, NaN where BAD counts anything.

    WITHIN: whether pairs of one side count; what W holds of other pairs is not read.

    Rows are taken from the mean of their tile, so that a common offset costs no digits.  A row and itself are left out:
    they are no distance apart, but what plans carry there, rounded, can outweigh all other pairs.
    """
    first, at = tl.program_id(0) * TILE, tl.program_id(1) * STEP + tl.arange(0, STEP)
    i = first + tl.arange(0, TILE)
    own = tl.load(MASS + i, mask=i < k, other=0.0)
    x = tl.load(Z + i[:, None] * d + at[None, :], mask=(own > 0)[:, None] & (at < d)[None, :], other=0.0).to(tl.float32)
    middle = tl.sum(x, 0) / tl.maximum(tl.sum((own > 0).to(tl.float32)), 1.0)
    moved = tl.zeros([TILE, STEP], tl.float32)
    held = tl.zeros([TILE], tl.float32)
    if tl.max(own) > 0:
        for start in range(0, k, TILE):
            j = start + tl.arange(0, TILE)
            other = tl.load(MASS + j, mask=j < k, other=0.0)
            if tl.max(other) > 0:
                both = (own > 0)[:, None] & (other > 0)[None, :] & (i[:, None] != j[None, :])
                if WITHIN == 0:
                    both = both & ((i < n)[:, None] != (j < n)[None, :])
                weight = tl.load(W + i[:, None] * k + j[None, :], mask=both, other=0.0)
                inside = (other > 0)[:, None] & (at < d)[None, :]
                y = tl.load(Z + j[:, None] * d + at[None, :], mask=inside, other=0.0).to(tl.float32)
                y = tl.where(inside, y - middle[None, :], 0.0)
                moved += tl.dot(weight, y, input_precision="ieee")
                held += tl.sum(weight, 1)
    out = factor * (held[:, None] * (x - middle[None, :]) - moved)
    tl.store(AT + i[:, None] * d + at[None, :], out, mask=(i < k)[:, None] & (at < d)[None, :])
    if (tl.program_id(0) == 0) & (tl.program_id(1) == 0):
        total = tl.zeros([TILE], tl.float64)
        for start in range(0, parts, TILE):
            j = start + tl.arange(0, TILE)
            total += tl.load(PARTS + j, mask=j < parts, other=0.0)
        bad = tl.zeros([TILE], tl.float32)
        for start in range(0, k, TILE):
            j = start + tl.arange(0, TILE)
            bad += tl.load(BAD + j, mask=j < k, other=0.0)
        value = tl.sum(total).to(tl.float32)
        tl.store(VALUE, tl.where(tl.sum(bad) > 0, float("nan"), value))
