"""Divergences too large for a matrix: geomloss's online backend.

    S(a, b) as in divergence.py, every sum over pairs taken on the fly by KeOps: memory O((n + m) d), not O(n m)

It is taken where a matrix would have more than LARGE entries and pykeops is installed; its first call compiles.
geomloss anneals through a fixed schedule (factor 0.9 in blur) and stops, so its accuracy is not a tolerance: docs
give what was measured.  Feydy et al., AISTATS 2019; KeOps: Charlier et al., JMLR 2021.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch
from torch import Tensor

LARGE = 50_000_000  # entries of a matrix, about 7,000 rows squared
BYTES = 32  # per entry that the dense solvers hold at their peak: four matrices of float64


def streamed(n: int, m: int, *, device: torch.device, grouped: bool) -> bool:
    """Whether n source and m target rows are left to KeOps rather than solved with matrices.

    Raises:
        ValueError: when they cannot be, and the machine has not the memory for the matrices.
    """
    if torch.compiler.is_compiling() or max(n, m) ** 2 <= LARGE:
        return False
    if not grouped and find_spec("pykeops") is not None:
        return True
    needed, held = BYTES * max(n, m) ** 2, memory(device)
    if held is not None and needed > held:
        remedy = "Sub-sample the rows" if grouped else "pip install pykeops, or sub-sample the rows"
        raise ValueError(
            f"Sinkhorn compares all pairs of rows and holds about {BYTES} bytes for each, got {n} source and {m} "
            f"target rows: {needed / 2**30:.0f} GiB of {held / 2**30:.0f} GiB.\n{remedy}."
        )
    return False


def memory(device: torch.device) -> int | None:
    """The bytes of the device's memory; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    if device.type != "cpu" or not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def online(
    x: Tensor, y: Tensor, a: Tensor, b: Tensor, *, blur: float, reach: float | None, backend: str = "online"
) -> Tensor:
    """The debiased divergence of rows x (n, d) with masses a and rows y (m, d) with masses b, by geomloss."""
    from geomloss import SamplesLoss  # type: ignore[import-untyped]  # looks for KeOps when imported

    loss = SamplesLoss("sinkhorn", p=2, blur=blur, reach=reach, scaling=0.9, backend=backend)
    value: Tensor = loss(a, x, b, y)
    return value.squeeze()
