"""Methods that compare kernel means or moments of the features."""

from __future__ import annotations

from ..method import Method
from ..mmd import MMD
from .mixing import Ratio


def mmd(ratio: Ratio = 0.1, *, weight: float = 0.1) -> Method:
    """Co-training plus a maximum mean discrepancy with five Gaussian kernels (Long et al. 2015, DAN; unbiased, the
    mean over kernels, median bandwidth).  DAN sums the kernels: 5 times this."""
    return Method(ratio=ratio, regularizer=weight * MMD())
