"""A Triton kernel for the masses of both sides' rows.

a_i <- r_i / sum r,   r_i = m_i / max m, zero where LEAST and below;   all zero where a side has too few rows
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import masses
from .triton_rows import LARGEST

LEAST, TINY = tl.constexpr(masses.LEAST), tl.constexpr(1.1754944e-38)


@triton.jit
def _read(MASS, n, TOLD, BLOCK: tl.constexpr):
    """The scale, the sum and the number of the rows of mass; TOLD: values not finite, and the least."""
    largest = tl.zeros([BLOCK], tl.float32)
    lowest = tl.zeros([BLOCK], tl.float32)
    bad = tl.zeros([BLOCK], tl.float32)
    for start in range(0, n, BLOCK):
        at = start + tl.arange(0, BLOCK)
        mass = tl.load(MASS + at, mask=at < n, other=0.0)
        finite = tl.abs(mass) <= LARGEST
        largest = tl.maximum(largest, tl.where(finite, mass, 0.0))
        lowest = tl.minimum(lowest, tl.where(finite, mass, 0.0))
        bad += tl.where(finite, 0.0, 1.0)
    scale = tl.max(largest)
    scale = tl.where(scale > 0, scale, 1.0)
    total, count = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for start in range(0, n, BLOCK):
        at = start + tl.arange(0, BLOCK)
        kept = _kept(MASS, at, n, scale)
        total += kept
        count += tl.where(kept > 0, 1.0, 0.0)
    number = tl.sum(count)
    tl.store(TOLD, tl.sum(bad))
    tl.store(TOLD + 1, tl.min(lowest))
    return scale, tl.maximum(tl.sum(total), TINY), number


@triton.jit
def _kept(MASS, at, n, scale):
    mass = tl.load(MASS + at, mask=at < n, other=0.0) / scale
    return tl.where((mass > LEAST) & (mass <= LARGEST), mass, 0.0)


@triton.jit
def _written(MASS, OUT, n, scale, whole, enough, BLOCK: tl.constexpr):
    for start in range(0, n, BLOCK):
        at = start + tl.arange(0, BLOCK)
        kept = _kept(MASS, at, n, scale) / whole
        tl.store(OUT + at, tl.where(enough, kept, 0.0), mask=at < n)


@triton.jit(do_not_specialize=["n", "m", "least"])
def normalise(A, B, OUT, TOLD, ENOUGH, n, m, least, BLOCK: tl.constexpr):
    """OUT (n + m,) from A (n,) and B (m,); ENOUGH: whether both sides have `least` rows of mass."""
    scale_a, whole_a, count_a = _read(A, n, TOLD, BLOCK)
    scale_b, whole_b, count_b = _read(B, m, TOLD + 2, BLOCK)
    enough = tl.minimum(count_a, count_b) >= least
    _written(A, OUT, n, scale_a, whole_a, enough, BLOCK)
    _written(B, OUT + n, m, scale_b, whole_b, enough, BLOCK)
    tl.store(ENOUGH, enough)
