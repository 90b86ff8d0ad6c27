"""Many small rectified flows trained as one: layer weights are (cells, in, out) and every product is batched.

    a_t = (1 - t) eps + t a        v(a_t, t | x) ~ a - eps        sampling: a += v / steps  from a = eps at t = 0

Liu et al., "Flow Straight and Fast", ICLR 2023.  The draws (initial weights, sample indices, noise, times) are a
function of the seed alone, so cells of one seed differ in nothing but dz and ratio, and a cell trained alone is the
cell in the ensemble.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import curves

SCALE = 6.5  # outputs are learned in units of this
PAIRS = 4  # of sine and cosine: sin(2^k t), cos(2^k t)


@dataclass(frozen=True)
class Training:
    """How a cell is trained and sampled: hidden layers and their width, AdamW's steps, batch and rate, Euler steps."""

    depth: int = 4
    width: int = 64
    steps: int = 2000
    batch: int = 64
    rate: float = 1e-2
    euler: int = 25


class Cell(NamedTuple):
    """What determines one number of the grid."""

    dz: float
    ratio: float
    seed: int


class Draws(NamedTuple):
    """What is drawn for one step, one row per seed: (seeds, batch) each, the noise (seeds, batch, 2)."""

    source: Tensor
    target: Tensor
    uniform: Tensor
    time: Tensor
    noise: Tensor


class Stack(nn.Module):
    """One MLP per cell, SiLU between layers: (cells, batch, in) -> (cells, batch, out).

    Args:
        seeds: one per cell; cells of one seed start from the same weights, drawn as `nn.Linear` draws them.
        sizes: widths, of input and output too.
        purpose: what tells its draws from another stack's.
    """

    def __init__(self, seeds: Sequence[int], sizes: Sequence[int], purpose: str = "weights") -> None:
        super().__init__()
        start = {seed: _initial(seed, sizes, purpose) for seed in set(seeds)}
        layers = [torch.stack([start[seed][k] for seed in seeds]) for k in range(2 * len(sizes) - 2)]
        self.weights, self.biases = nn.ParameterList(layers[0::2]), nn.ParameterList(layers[1::2])

    def layers(self, hidden: Tensor) -> Tensor:
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, F.silu(hidden) if k else hidden, weight)
        return hidden


class Ensemble(Stack):
    """A velocity for each cell: outputs (cells, batch, 2)."""

    def __init__(self, seeds: Sequence[int], training: Training) -> None:
        super().__init__(seeds, [3 + 2 + 2 * PAIRS, *[training.width] * training.depth, 2])

    def forward(self, x: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        """Velocities for inputs x (cells, batch, 3), noisy outputs (cells, batch, 2) and times (cells, batch)."""
        return self.layers(torch.cat([x, noisy, waves(time)], -1))

    @torch.no_grad()
    def sample(self, x: Tensor, noise: Tensor, steps: int) -> Tensor:
        """Outputs in the units of the curves (cells, n, 2), by Euler steps from the noise."""
        outputs = noise
        for k in range(steps):
            outputs = outputs + self(x, outputs, torch.full(x.shape[:2], k / steps)) / steps
        return SCALE * outputs


def train(cells: Sequence[Cell], training: Training, track: Callable[[range], Iterable[int]] = iter) -> Ensemble:
    """Train all cells together: AdamW, cosine rate, each sample drawn from the target with probability `ratio`."""
    seeds = sorted({cell.seed for cell in cells})
    of_seed = torch.tensor([seeds.index(cell.seed) for cell in cells])
    dz, ratio = curves.columns([cell.dz for cell in cells]), curves.columns([cell.ratio for cell in cells])
    data = [curves.data(seed) for seed in seeds]
    positions, outputs = torch.stack([d.positions for d in data]), torch.stack([d.outputs for d in data]) / SCALE
    stream = [curves.stream("training", seed) for seed in seeds]
    ensemble = Ensemble([cell.seed for cell in cells], training)
    optimizer = torch.optim.AdamW(ensemble.parameters(), lr=training.rate, fused=True)
    for step in track(range(training.steps)):
        draws = Draws(*(part[of_seed] for part in _drawn(stream, training.batch)))
        is_target = draws.uniform < ratio
        row = torch.where(is_target, draws.target, draws.source)
        output = outputs[of_seed[:, None], row]
        noisy = torch.lerp(draws.noise, output, draws.time[..., None])
        x = curves.inputs(positions[of_seed[:, None], row], dz, is_target)
        error = ensemble(x, noisy, draws.time) - (output - draws.noise)
        error.square().mean((1, 2)).sum().backward()
        optimizer.param_groups[0]["lr"] = training.rate * (1 + math.cos(math.pi * step / training.steps)) / 2
        optimizer.step()
        optimizer.zero_grad()
    return ensemble


def samples(ensemble: Ensemble, cells: Sequence[Cell], training: Training, positions: Tensor) -> Tensor:
    """One output for each position (cells, n, 2) of the target plane; the noise is a function of the seed."""
    x = curves.inputs(positions, curves.columns([cell.dz for cell in cells]), torch.tensor(True))
    shape = positions.shape[1:]
    noise = {cell.seed: torch.randn(shape, generator=curves.stream("samples", cell.seed)) for cell in cells}
    return ensemble.sample(x, torch.stack([noise[cell.seed] for cell in cells]), training.euler)


def _drawn(stream: Sequence[torch.Generator], batch: int) -> Draws:
    """The draws of one step, stacked over seeds."""
    source = torch.stack([torch.randint(curves.N_SOURCE, (batch,), generator=g) for g in stream])
    target = torch.stack([torch.randint(curves.N_TARGET, (batch,), generator=g) for g in stream])
    uniform, time = (torch.stack([torch.rand(batch, generator=g) for g in stream]) for _ in range(2))
    noise = torch.stack([torch.randn(batch, 2, generator=g) for g in stream])
    return Draws(source, curves.N_SOURCE + target, uniform, time, noise)


def waves(time: Tensor) -> Tensor:
    """Times (...) as sines and cosines (..., 2 PAIRS)."""
    angles = time[..., None] * 2.0 ** torch.arange(PAIRS)
    return torch.cat([angles.sin(), angles.cos()], -1)


def _initial(seed: int, sizes: Sequence[int], purpose: str) -> list[Tensor]:
    """Weights (in, out) and biases (1, out) in turn, uniform within 1 / sqrt(in)."""
    generator = curves.stream(purpose, seed)
    shapes = [shape for i, o in pairwise(sizes) for shape in ((i, i, o), (i, 1, o))]
    return [(2 * torch.rand(*shape, generator=generator) - 1) / math.sqrt(fan) for fan, *shape in shapes]
