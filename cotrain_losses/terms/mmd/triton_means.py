"""MMD and the energy distance as sums over pairs of pooled rows, in Triton.

    value = sum_ij w_ij k(D_ij),   w_ij = m_i m_j [within one side, times its factor]   or   -m_i m_j [across]
    W_ij = 4 w_ij k'(D_ij),        at_i = sum_j W_ij (z_i - z_j)

D are squared distances, k a mean of Gaussians or -sqrt.  W takes the place of D.  The median of D is found digit by
digit: three launches count the digits (11, 10 and 10 bits of a float that is not negative) of the pairs i < j, by sums
of integers, whose order does not matter.
"""

from __future__ import annotations

import triton
import triton.language as tl

BINS = tl.constexpr(2048)
LEAST = tl.constexpr(1.0842022e-19)  # the root of float32's smallest normal number


@triton.jit
def _digit(HIST, rank):
    """The bin that holds the entry of a rank, and the rank within it."""
    reached = tl.cumsum(tl.load(HIST + tl.arange(0, BINS)), 0)
    before = tl.max(tl.where(reached <= rank, reached, 0))
    return tl.minimum(tl.sum((reached <= rank).to(tl.int32)), BINS - 1), rank - before


@triton.jit
def _middle(HIST):
    """How many pairs are counted, and the rank of their lower median."""
    count = tl.sum(tl.load(HIST + tl.arange(0, BINS)))
    return count, tl.maximum(count - 1, 0) // 2


@triton.jit(do_not_specialize=["k"])
def count_digits(D, MASS, HIST, SUMS, k, LEVEL: tl.constexpr, TILE: tl.constexpr):
    """HIST (3, BINS): the counts of one digit among the pairs whose digits before are the median's; SUMS of D."""
    top = tl.program_id(0) * TILE
    i = top + tl.arange(0, TILE)
    own = tl.load(MASS + i, mask=i < k, other=0.0)
    counts = tl.zeros([BINS], tl.int32)
    bins = tl.arange(0, BINS)
    sums = tl.zeros([TILE], tl.float64)
    prefix = 0
    if LEVEL > 0:
        _, rank = _middle(HIST)
        prefix, rank = _digit(HIST, rank)
        if LEVEL > 1:
            digit, _ = _digit(HIST + BINS, rank)
            prefix = prefix * 1024 + digit
    for left in range(top + tl.program_id(1) * TILE, k, tl.num_programs(1) * TILE):
        j = left + tl.arange(0, TILE)
        other = tl.load(MASS + j, mask=j < k, other=0.0)
        pairs = (own > 0)[:, None] & (other > 0)[None, :] & (i[:, None] < j[None, :])
        squared = tl.load(D + i[:, None] * k + j[None, :], mask=pairs, other=0.0)
        bits = squared.to(tl.int32, bitcast=True) & 0x7FFFFFFF
        if LEVEL == 0:
            digits = bits >> 20
            sums += tl.sum(squared.to(tl.float64), 1)
        elif LEVEL == 1:
            digits = (bits >> 10) & 1023
            pairs = pairs & ((bits >> 20) == prefix)
        else:
            digits = bits & 1023
            pairs = pairs & ((bits >> 10) == prefix)
        counts += tl.histogram(tl.reshape(tl.where(pairs, digits, 0), [TILE * TILE]), BINS)
        left_out = TILE * TILE - tl.sum(tl.sum(pairs.to(tl.int32), 1))
        counts -= tl.where(bins == 0, left_out, 0)
    tl.atomic_add(HIST + LEVEL * BINS + bins, counts, mask=counts > 0)
    if LEVEL == 0:
        tl.store(SUMS + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), tl.sum(sums))


@triton.jit
def _square(HIST, SUMS, blocks, MEDIAN: tl.constexpr):
    """The squared bandwidth: the lower median of D, or its mean, also where the median is zero."""
    count, rank = _middle(HIST)
    total = tl.zeros([64], tl.float64)
    for start in range(0, blocks, 64):
        at = start + tl.arange(0, 64)
        total += tl.load(SUMS + at, mask=at < blocks, other=0.0)
    square = (tl.sum(total) / tl.maximum(count, 1)).to(tl.float32)
    if MEDIAN:
        high, rank = _digit(HIST, rank)
        middle, rank = _digit(HIST + BINS, rank)
        low, rank = _digit(HIST + 2 * BINS, rank)
        median = (high * 1048576 + middle * 1024 + low).to(tl.float32, bitcast=True)
        square = tl.where((count > 0) & (median > 0), median, square)
    return tl.maximum(square, LEAST)


@triton.jit
def _factor(MASS, start, stop, DISTINCT: tl.constexpr):
    """What the pairs of one side are scaled by: 1, or so that the pairs i != j weigh as much as all."""
    factor = 1.0
    if DISTINCT:
        total, pairs = tl.zeros([256], tl.float64), tl.zeros([256], tl.float64)
        for first in range(start, stop, 256):
            i = first + tl.arange(0, 256)
            total += tl.load(MASS + i, mask=i < stop, other=0.0)
        whole = tl.sum(total)
        for first in range(start, stop, 256):
            i = first + tl.arange(0, 256)
            mass = tl.load(MASS + i, mask=i < stop, other=0.0).to(tl.float64)
            pairs += mass * (whole - mass)
        factor = (whole * whole / tl.maximum(tl.sum(pairs), 1e-30)).to(tl.float32)
    return factor


@triton.jit(do_not_specialize=["n", "k", "blocks", "scales"])
def weigh(D, MASS, PARTS, HIST, SUMS, SCALES, n, k, blocks, scales, square, GIVEN: tl.constexpr, MEDIAN: tl.constexpr,
          DISTINCT: tl.constexpr, ENERGY: tl.constexpr, TILE: tl.constexpr):  # fmt: skip
    """D (k, k) becomes W; PARTS (tiles, tiles) sum to the value.  Upper tiles are computed and mirrored."""
    top, left = tl.program_id(0) * TILE, tl.program_id(1) * TILE
    i, j = top + tl.arange(0, TILE), left + tl.arange(0, TILE)
    own, other = tl.load(MASS + i, mask=i < k, other=0.0), tl.load(MASS + j, mask=j < k, other=0.0)
    part = tl.sum(tl.zeros([TILE], tl.float64))
    if (left >= top) & (tl.max(own) > 0) & (tl.max(other) > 0):
        both = (own > 0)[:, None] & (other > 0)[None, :]
        squared = tl.load(D + i[:, None] * k + j[None, :], mask=both, other=0.0)
        of_x, of_y = _factor(MASS, 0, n, DISTINCT), _factor(MASS, n, k, DISTINCT)
        of_i, of_j = (i < n)[:, None], (j < n)[None, :]
        weight = own[:, None] * other[None, :] * tl.where(of_i == of_j, tl.where(of_i, of_x, of_y), -1.0)
        if DISTINCT:
            weight = tl.where(i[:, None] == j[None, :], 0.0, weight)
        if ENERGY:
            length = tl.sqrt(squared)
            kernel = -length
            slope = tl.where(length > 0, -0.5 / tl.where(length > 0, length, 1.0), 0.0)
        else:
            if GIVEN == 0:
                square = _square(HIST, SUMS, blocks, MEDIAN)
            kernel, slope = 0.0 * squared, 0.0 * squared
            for s in range(scales):
                scale = tl.load(SCALES + s)
                rate = -0.5 / (scale * scale * square)
                each = tl.exp(squared * rate) / scales
                kernel += each
                slope += each * rate
        value = tl.sum(tl.sum((weight * kernel).to(tl.float64), 1))
        part = tl.where(left > top, 2 * value, value)
        slope = tl.where(both, 4.0 * weight * slope, 0.0)
        tl.store(D + i[:, None] * k + j[None, :], slope, mask=both)
        if left > top:
            tl.store(D + j[None, :] * k + i[:, None], slope, mask=both)
    tl.store(PARTS + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), part)
