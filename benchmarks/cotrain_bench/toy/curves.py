"""The two domains of the toy: where an input lies says what to do, and how far apart the domains are.

    input    x = (u, v, z)       u, v in [0, 1];  z = 1 on the source plane, 1 + dz on the target plane
    output   y = (t cos t, t sin t) + shift + noise,   t = 1.5 pi (1 + 2 u)
             shift = (0, 0) for the source, (3, 3) for the target;  noise of standard deviation .3

3000 source samples cover the whole plane; 30 target samples have u < .8, so u in (.8, 1] is out of distribution for a
policy that sees the target alone.  Lei et al. 2026, the toy experiment, decoded from its figures.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

N_SOURCE, N_TARGET = 3000, 30
SHIFT, NOISE, SEEN = 3.0, 0.3, 0.8
NEAR = 3 * NOISE  # a sample is on a curve when it is this near to the curve's point for its input


@dataclass(frozen=True)
class Data:
    """The samples of one seed, source first: positions (M + N, 2) and outputs (M + N, 2)."""

    positions: Tensor
    outputs: Tensor


def curve(u: Tensor, *, target: bool) -> Tensor:
    """The noise-free output (..., 2) for inputs u of shape (...)."""
    t = 1.5 * math.pi * (1 + 2 * u)
    return torch.stack([t * t.cos(), t * t.sin()], -1) + (SHIFT if target else 0.0)


def data(seed: int) -> Data:
    """The training samples of a seed; every cell of that seed has the same ones."""
    generator = stream("data", seed)
    positions = torch.rand(N_SOURCE + N_TARGET, 2, generator=generator)
    positions[N_SOURCE:, 0] *= SEEN
    clean = torch.cat([curve(positions[:N_SOURCE, 0], target=False), curve(positions[N_SOURCE:, 0], target=True)])
    return Data(positions, clean + NOISE * torch.randn(clean.shape, generator=generator))


def inputs(positions: Tensor, dz: Tensor, is_target: Tensor) -> Tensor:
    """Inputs (..., 3) from positions (..., 2), the distance dz and the domain (both broadcast to ...)."""
    z = (1 + dz * is_target).expand(positions.shape[:-1])
    return torch.cat([positions, z[..., None]], -1)


def test_positions(n: int) -> Tensor:
    """n positions (n, 2) that cover the plane evenly: a Fibonacci lattice, the same for every cell."""
    k = torch.arange(n)
    return torch.stack([(k + 0.5) / n, (k * (math.sqrt(5) - 1) / 2) % 1], -1)


def scores(samples: Tensor, u: Tensor) -> dict[str, Tensor]:
    """What generated outputs on the target plane are worth.

    Args:
        samples: (..., n, 2) outputs for the n inputs.
        u: (n,) the inputs' first coordinate.

    Returns, each of shape (...): `loss`, the squared distance to the target curve per dimension; `loss_ood`, the same
    over u > .8; `share_source` and `share_target`, the shares of samples within three standard deviations of the
    output noise of each curve's point for their input.  (The points are 4.2 apart: no sample is near both.)
    """
    to_source, to_target = ((samples - curve(u, target=side)).square().sum(-1) for side in (False, True))
    return {
        "loss": to_target.mean(-1) / 2,
        "loss_ood": to_target[..., u > SEEN].mean(-1) / 2,
        "share_source": (to_source < NEAR**2).float().mean(-1),
        "share_target": (to_target < NEAR**2).float().mean(-1),
    }


def nearer_target(samples: Tensor, u: Tensor) -> Tensor:
    """Which outputs (..., n, 2) for inputs u (n,) are nearer the target's than the source's curve, as bool (..., n)."""
    to_source, to_target = ((samples - curve(u, target=side)).square().sum(-1) for side in (False, True))
    return to_target < to_source


def columns(values: Sequence[float]) -> Tensor:
    """One number per cell as (cells, 1), to be broadcast over a cell's samples."""
    return torch.tensor(values)[:, None]


def stream(purpose: str, seed: int) -> torch.Generator:
    """Random numbers of a seed that are independent of those drawn for another purpose."""
    name = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(name[:8], "big"))
