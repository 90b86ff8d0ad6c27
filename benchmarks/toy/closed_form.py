"""What the optimal score of the training samples gives, without any training: how much of it is the target's.

    g_i  ~  w_k(i) K(x, x_i)         K(x, x') = exp(-|x - x'|^2 / 2 h^2),  h = .05
    w_target = w / N,   w_source = (1 - w) / M

is the probability that the optimal policy, asked at x, returns training output i.  (Lei et al. 2026, the weights of the
optimal co-trained score at the pure-noise end of diffusion, where the distance of the output says nothing yet.)  Summed
over the target,

    mass(x) = sigmoid( ln w/(1 - w) + ln M/N + ln sum_target K_uv - ln sum_source K_uv + dz^2 / 2 h^2 )

with K_uv the kernel on (u, v): on the target plane every source sample is dz further away.  When dz is below h the
planes cannot be told apart and both domains answer (overlap); when it is far above, the target answers alone whatever
w is, also where it was never seen (disjoint).  What lies between, transfer from the source, is not in this formula: it
needs a trained network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .curves import N_SOURCE, N_TARGET, Data

BANDWIDTH = 0.05


def target_mass(data: Data, dz: float, ratio: float) -> Tensor:
    """The target's share (N,) of the optimal policy's outputs, at each of the target's training inputs.

    Exact at ratio 0 and 1; float64 throughout, in log space.
    """
    positions = data.positions.double()
    log_kernel = -torch.cdist(positions[N_SOURCE:], positions).square() / (2 * BANDWIDTH**2)
    source, target = log_kernel[:, :N_SOURCE].logsumexp(1), log_kernel[:, N_SOURCE:].logsumexp(1)
    prior = torch.logit(torch.tensor(ratio, dtype=torch.float64)) + math.log(N_SOURCE / N_TARGET)
    return torch.sigmoid(prior + target - source + dz**2 / (2 * BANDWIDTH**2))
