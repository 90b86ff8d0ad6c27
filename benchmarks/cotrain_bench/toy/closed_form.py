"""What the optimal score of the training samples gives, without any training: how much of it is the target's.

    g_i  ~  w_k(i) K(x, x_i)         K(x, x') = exp(-|x - x'|^2 / 2 h^2),  h = .05
    w_target = w / N,   w_source = (1 - w) / M

is the probability that the optimal policy, asked at x, returns training output i: the score's weights at the pure-noise
end of diffusion (alpha = 0), where the distance of the output says nothing yet.  Lei et al. 2026.

When dz is below h the planes cannot be told apart and both domains answer (overlap); when it is far above, the target
answers alone whatever w is, also where it was never seen (disjoint).  What lies between, transfer from the source, is
not in this formula: it needs a trained network.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cotrain_losses.importance import EmpiricalMixture, target_contribution

from . import curves

BANDWIDTH = 0.05


def target_mass(data: curves.Data, dz: float, ratio: float) -> Tensor:
    """The target's share (N,) of the optimal policy's outputs, at each of the target's training inputs."""
    is_target = torch.arange(len(data.positions)) >= curves.N_SOURCE
    x = curves.inputs(data.positions.double(), torch.tensor(dz, dtype=torch.float64), is_target)
    mixture = EmpiricalMixture(data.outputs, is_target, ratio, latents=x, bandwidth=BANDWIDTH)
    asked = x[is_target]
    return target_contribution(torch.zeros(len(asked), 2), mixture, alpha=0.0, sigma=1.0, latent=asked)
