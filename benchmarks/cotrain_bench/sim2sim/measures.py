"""What is measured of a trained policy beside its success: where the domains lie in its features.

The frames are of fresh expert demonstrations in both domains, in no policy's training data and the same for every
method, gap by gap: EPISODES of each domain.  Alignment, discernibility and regime are those of `cotrain diagnose`, at
the seam, before the token, with whole episodes held out.
"""

from __future__ import annotations

import numpy as np
import torch

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
    (layer,) = collected(trained, data).diagnoses(rows=512, repeats=2).values()
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
    z = {name: next(iter(side.layers.values())) for name, side in vars(sides).items()}
    z = {name: x[torch.randperm(len(x), generator=draws)[:SHOWN]] for name, x in z.items()}
    both = torch.cat(list(z.values()))
    axes = torch.linalg.svd(both - both.mean(0), full_matrices=False).Vh[:3]
    return {name: ((x - both.mean(0)) @ axes.T).double().numpy().round(4) for name, x in z.items()}


def collected(trained: Trained, data: Frames) -> Collected:
    """The features of all frames at the seam."""
    seams = [trained.cotrain.seam] if trained.cotrain.seam else []
    blocks = torch.split(torch.arange(len(data.is_target)), 1024)
    batches = ({**data[rows], "is_target": data.is_target[rows]} for rows in blocks)
    return collect_features(trained.policy, batches, seams=seams, domain="is_target", groups="episode", run=loss_of)
