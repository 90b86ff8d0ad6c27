"""Rows of earlier steps, for batches that hold too few of a domain.

    side = [rows of this batch; the latest kept rows of its domain, until there are `size`]

Kept rows carry no gradient: the encoder learns from the rows of the batch.  They are as old as the steps since their
domain was last seen, so a fast encoder wants a small memory.  Wang et al., "Cross-Batch Memory", CVPR 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._core.checks import whole
from .._core.device import moved
from .._core.rows import Rows


class Memory:
    """The latest `size` rows of each domain."""

    def __init__(self, size: int) -> None:
        self.size = whole("memory", size)
        self.kept: dict[int, Rows] = {}

    def filled(self, rows: Rows, labels: Tensor) -> tuple[Rows, Tensor]:
        """The rows of a batch and of its memory, with their labels (n,) on the CPU; rows of mass are kept in turn."""
        parts, of = [rows], [labels]
        counted = labels if rows.mass is None else labels.where(moved(rows.mass, labels.device) > 0, -1)
        for domain, kept in sorted(self.kept.items()):
            short = min(self.size - int((counted == domain).sum()), len(kept))
            if short > 0:
                parts.append(kept[-short:])
                of.append(torch.full((short,), domain))
        self._keep(rows, counted)
        return Rows.joined(parts), torch.cat(of)

    def _keep(self, rows: Rows, labels: Tensor) -> None:
        for domain in labels[labels >= 0].unique().tolist():  # type: ignore[no-untyped-call]
            place = (labels == domain).nonzero().squeeze(1).to(rows.features.device, non_blocking=True)
            own = rows[place].map(lambda x: x.detach())
            self.kept[domain] = Rows.joined([self.kept[domain], own] if domain in self.kept else [own])[-self.size :]
