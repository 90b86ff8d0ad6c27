"""How many target rows a batch holds at a ratio, and the sampler's line that gives every batch enough of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

POOR = 0.05
"""the share of batches with too few target rows that is put up with"""


def batches(ratio: float, *, batch_size: int, enough: int, source: int, target: int) -> dict[str, Any]:
    """Target rows in a batch at a ratio, drawn independently, as a weighted sampler does, and exactly."""
    from scipy.special import bdtr  # type: ignore[import-untyped]  # comes with POT

    rows = batch_size * ratio
    exact = 0.0 if rows >= enough else (1.0 if rows <= enough - 1 else 1 - (rows - math.floor(rows)))
    size, share = max((size, share) for size, share in ((target, ratio), (source, 1 - ratio)) if share > 0)
    epoch = size / (batch_size * share)
    return {
        "ratio": ratio,
        "rows": rows,
        "none_independent": (1 - ratio) ** batch_size,
        "too_few_independent": float(bdtr(enough - 1, batch_size, ratio)) if enough <= batch_size else 1.0,
        "too_few_exact": exact,
        "batches_per_epoch": math.ceil(epoch),
        "target_passes": epoch * rows / target,
    }


def smallest_batch(ratio: float, enough: int) -> int:
    """The smallest batch of which at most POOR hold too few target rows when rows are drawn independently.

    >>> smallest_batch(0.1, 2)
    46
    """
    from scipy.special import bdtr

    low, high = enough - 1, 2 * enough  # too small, and doubled until it is large enough
    while bdtr(enough - 1, high, ratio) > POOR:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if bdtr(enough - 1, middle, ratio) > POOR else (low, middle)
    return high


def sampler_line(ratios: Sequence[float], *, batch_size: int, enough: int) -> str | None:
    """One line that is right at every ratio given; None where a batch is too small for `enough` rows of both domains.

    MixedBatchSampler gives every batch the floor or the ceiling of batch_size * share rows, so a share of
    enough / batch_size, or above, is enough in each of them; weights then restore a smaller ratio.

    >>> print(sampler_line([0.1, 0.3], batch_size=64, enough=2))
    sampler = MixedBatchSampler(is_target, batch_size=64, ratio=ratio)
    >>> print(sampler_line([0.0164, 0.129], batch_size=64, enough=2))
    sampler = MixedBatchSampler(is_target, batch_size=64, ratio=ratio, share=max(ratio, 2 / 64))
    """
    if batch_size < 2 * enough:
        return None
    drawn, least = f"{enough} / {batch_size}", enough / batch_size
    line = f"sampler = MixedBatchSampler(is_target, batch_size={batch_size}, ratio=ratio"
    below, above = min(ratios) < least, max(ratios) > 1 - least
    share = f"max(ratio, {drawn})" if below else "ratio"
    if above:
        share = f"min({share}, 1 - {drawn})"
    return f"{line}, share={share})" if below or above else f"{line})"
