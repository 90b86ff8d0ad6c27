"""What is measured of a trained policy beside its success: where the domains lie in its features.

The frames are of fresh expert demonstrations in both domains, in no policy's training data and the same for every
method, gap by gap: EPISODES of each domain.  Alignment, discernibility and regime are those of `cotrain diagnose`, at
the seam, before the token, with whole episodes held out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from cotrain_losses.policy import Collected, collect_features

from ..results import Row
from .policies import loss_of
from .training import Frames, Trained

EPISODES = 20  # fresh demonstrations of each domain
SHOWN = 150  # frames of each domain that pictures show


def measures(trained: Trained, data: Frames) -> Row:
    """Distances, probe accuracy and regime as columns of a row.

    `log_wasserstein` is the natural logarithm of the exact Wasserstein distance between halves of the domains, in units
    of the features' pooled spread; `relative_distance` is the u of the regime rule.
    """
    torch.manual_seed(0)
    found = collected(trained, data).diagnoses(rows=512, repeats=2)
    (layer,) = found.values()
    transport = layer.distances.get("wasserstein")
    return {
        "log_wasserstein": None if transport is None else float(np.log(max(transport.value, 1e-12))),
        "relative_distance": None if layer.regime is None else layer.regime.distance[0],
        "probe_accuracy": None if layer.probe is None else layer.probe.accuracy,
        "regime": "unknown" if layer.regime is None else layer.regime.name,
    }


def plane(trained: Trained, data: Frames) -> Row:
    """z of some frames of both domains, along their three largest principal components."""
    sides, draws = collected(trained, data), torch.Generator().manual_seed(0)
    z = {name: _some(next(iter(side.layers.values())), draws) for name, side in vars(sides).items()}
    both = torch.cat(list(z.values()))
    axes = torch.linalg.svd(both - both.mean(0), full_matrices=False).Vh[:3]
    return {name: ((x - both.mean(0)) @ axes.T).double().numpy().round(4) for name, x in z.items()}


def collected(trained: Trained, data: Frames) -> Collected:
    """The features of all frames at the seam."""
    seams = [trained.cotrain.seam] if trained.cotrain.seam else []
    return collect_features(
        trained.policy, _batches(data), seams=seams, domain="is_target", groups="episode", run=loss_of
    )


def _batches(data: Frames, size: int = 1024) -> Iterator[dict[str, Tensor]]:
    for first in range(0, len(data.is_target), size):
        rows = torch.arange(first, min(first + size, len(data.is_target)))
        yield {**data[rows], "is_target": data.is_target[rows]}


def _some(z: Tensor, draws: torch.Generator) -> Tensor:
    return z[torch.randperm(len(z), generator=draws)[:SHOWN]]
