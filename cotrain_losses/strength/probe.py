"""A probe cheap enough to run while training: how well the domain is read from the last rows seen.

    f(z) = sum_i alpha_i (1 + k(z, z_i))        (K + ridge / w) alpha = y,   y = +-1,  w_i as heavy for each domain
    accuracy = (P(f < 0 | source) + P(f > 0 | target)) / 2     on rows the fit has not seen; chance is 1/2

Ridge regression with a Gaussian kernel at the median distance of standardised rows: one linear solve, no steps, no
random numbers.  Rows are held out by episode where episodes are known, else by blocks of time (the older half against
the newer); each half is tested by the other.  Neighbouring frames of an episode in both halves would make any two data
sets discernible.  A stronger probe that takes seconds is `diagnostics.probe_accuracy`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._core.rows import Rows

RIDGE = 0.1


class Seen(NamedTuple):
    """Rows of one domain in the order they came: features (n, d), the episode of each and its mass, where known."""

    features: Tensor
    episodes: Tensor | None
    mass: Tensor | None = None


class Recent:
    """The last `rows` rows of one domain, detached."""

    def __init__(self, rows: int) -> None:
        self.rows, self.parts, self._held = rows, list[Seen](), 0

    def add(self, side: Rows, episode: str) -> None:
        """Take in a batch's rows; the oldest leave."""
        if not len(side):
            return
        known = side.extras.get(episode)
        episodes = None if known is None else known.detach().reshape(len(side))
        self.parts.append(Seen(side.features.detach(), episodes, side.mass))
        self._held += len(side)
        while side.mass is None and self._held - len(self.parts[0].features) >= self.rows:
            self._held -= len(self.parts.pop(0).features)

    def __len__(self) -> int:
        return self._held

    def settle(self) -> None:
        """Keep the rows that have mass, and no more of them than asked for; where they have one, the host waits."""
        if all(part.mass is None for part in self.parts):
            return
        self.parts = [_of_mass(part) for part in self.parts]
        self._held = sum(len(part.features) for part in self.parts)
        while self.parts and self._held - len(self.parts[0].features) >= self.rows:
            self._held -= len(self.parts.pop(0).features)

    def seen(self) -> Seen:
        """All rows held, on the CPU."""
        features = torch.cat([part.features.cpu() for part in self.parts])[-self.rows :].float()
        episodes = [part.episodes.cpu() for part in self.parts if part.episodes is not None]
        known = len(episodes) == len(self.parts)
        return Seen(features, torch.cat(episodes)[-self.rows :] if known else None)

    def state(self) -> Any:
        """What there is to be saved."""
        return [tuple(part) for part in self.parts]

    def load(self, state: Any) -> None:
        """What was saved."""
        self.parts = [Seen(*part) for part in state]
        self._held = sum(len(part.features) for part in self.parts)


def _of_mass(part: Seen) -> Seen:
    if part.mass is None:
        return part
    counts = part.mass.cpu() > 0
    return Seen(part.features.cpu()[counts], None if part.episodes is None else part.episodes.cpu()[counts])


def held_out_accuracy(source: Seen, target: Seen) -> float:
    """Balanced accuracy on held-out rows, each domain in two halves by episode or by time."""
    x = torch.cat([source.features, target.features])
    y = torch.cat([-torch.ones(len(source.features)), torch.ones(len(target.features))])
    half = torch.cat([_halves(side) for side in (source, target)])
    return sum(_tested(x[~test], y[~test], x[test], y[test]) for test in (half, ~half)) / 2


def _halves(side: Seen) -> Tensor:
    """(n,) bool: which rows form the second half."""
    n = len(side.features)
    if side.episodes is not None:
        names, place = torch.unique(side.episodes, return_inverse=True)
        if len(names) > 1:
            odd: Tensor = place % 2 == 1
            return odd
    return torch.arange(n) >= n // 2


def _tested(x: Tensor, y: Tensor, unseen: Tensor, truth: Tensor) -> float:
    deviation = x.std(0)
    deviation = deviation.clamp_min(0.1 * float(deviation.square().mean().sqrt()) or 1.0)
    x, unseen = (x - x.mean(0)) / deviation, (unseen - x.mean(0)) / deviation
    squared = torch.cdist(x, x).square()
    width = float(squared[squared > 0].median()) if bool((squared > 0).any()) else 1.0
    kernel = 1 + torch.exp(-squared / width)
    share = torch.where(y > 0, 1 / (y > 0).sum(), 1 / (y < 0).sum()) * len(y) / 2
    alpha = torch.linalg.solve(kernel + torch.diag(RIDGE / share), y)
    score = (1 + torch.exp(-torch.cdist(unseen, x).square() / width)) @ alpha
    right = 0.5 * (1 + torch.sign(score) * truth)
    return float(right[truth < 0].mean() + right[truth > 0].mean()) / 2
