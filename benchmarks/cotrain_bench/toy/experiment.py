"""Run a grid: train its cells as one ensemble, generate on the target plane, score."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cotrain_losses.importance import EmpiricalMixture, target_contribution

from ..results import CannotContinue, Row
from . import curves, flow
from .flow import Cell, Training
from .settings import Settings

POSITIONS = 500  # test inputs, over the whole plane
REPEATS = 10  # outputs for each target training input
BANDWIDTH = 0.05  # h of the closed form


class Outcome(NamedTuple):
    """What a run found.

    Args:
        rows: one per cell.
        positions: (n, 2) test inputs.
        samples: cell -> (n, 2) outputs generated for them.
        cpu_seconds: of training and sampling.
    """

    rows: list[Row]
    positions: Tensor
    samples: dict[Cell, Tensor]
    cpu_seconds: float


def run(settings: Settings, track: Callable[[range], Iterable[int]] = iter) -> Outcome:
    """Train and evaluate every cell, on one thread.

    Raises:
        CannotContinue: when a cell's loss is not finite, naming it.
    """
    torch.set_num_threads(1)
    cells, training, start = settings.cells, settings.training, time.process_time()
    ensemble = flow.train(cells, training, track)
    positions = curves.test_positions(POSITIONS)
    outputs = flow.samples(ensemble, cells, training, positions.expand(len(cells), -1, -1))
    data = {seed: curves.data(seed) for seed in settings.seeds}
    at_target = {seed: data[seed].positions[curves.N_SOURCE :].repeat(REPEATS, 1) for seed in settings.seeds}
    answers = flow.samples(ensemble, cells, training, torch.stack([at_target[cell.seed] for cell in cells]))
    cpu_seconds = time.process_time() - start
    scores = curves.scores(outputs, positions[:, 0])
    rows: list[Row] = [
        {
            **cell._asdict(),
            **{name: float(values[k]) for name, values in scores.items()},
            "target_mass": float(curves.nearer_target(answers[k], at_target[cell.seed][:, 0]).float().mean()),
            "target_mass_closed_form": float(target_mass(data[cell.seed], cell.dz, cell.ratio).mean()),
        }
        for k, cell in enumerate(cells)
    ]
    _check_finite(rows, training)
    return Outcome(rows, positions, dict(zip(cells, outputs, strict=True)), cpu_seconds)


def target_mass(data: curves.Data, dz: float, ratio: float) -> Tensor:
    """The target's share (N,) of the optimal policy's outputs, at each of the target's training inputs.

        g_i  ~  w_k(i) K(x, x_i)         K(x, x') = exp(-|x - x'|^2 / 2 h^2),  h = .05
        w_target = w / N,   w_source = (1 - w) / M

    is the probability that the optimal policy, asked at x, returns training output i: the score's weights at the
    pure-noise end of diffusion (alpha = 0), where the distance of the output says nothing yet.  Lei et al. 2026.

    When dz is below h the planes cannot be told apart and both domains answer (overlap); when it is far above, the
    target answers alone whatever w is, also where it was never seen (disjoint).  What lies between, transfer from the
    source, is not in this formula: it needs a trained network.
    """
    is_target = torch.arange(len(data.positions)) >= curves.N_SOURCE
    x = curves.inputs(data.positions.double(), torch.tensor(dz, dtype=torch.float64), is_target)
    mixture = EmpiricalMixture(data.outputs, is_target, ratio, latents=x, bandwidth=BANDWIDTH)
    asked = x[is_target]
    return target_contribution(torch.zeros(len(asked), 2), mixture, alpha=0.0, sigma=1.0, latent=asked)


def one_by_one(cells: Sequence[Cell], training: Training, rounds: int = 5, steps: int = 100) -> dict[str, Any]:
    """CPU seconds to train the cells as one ensemble and one after the other, measured in turns.

    Each round times `steps` steps of the ensemble and of three single cells (the first, the middle and the last);
    medians over rounds are scaled to all steps and cells.
    """
    torch.set_num_threads(1)
    short, alone = replace(training, steps=steps), [[cells[k]] for k in (0, len(cells) // 2, -1)]
    flow.train(cells[:1], short)  # what is done once in a process is not timed
    timed = [([_cpu(cells, short)], [_cpu(cell, short) for cell in alone]) for _ in range(rounds)]
    together, single = (statistics.median(x for r in timed for x in r[k]) * training.steps / steps for k in (0, 1))
    return {
        "cells": len(cells),
        "ensemble_cpu_seconds": together,
        "one_by_one_cpu_seconds": single * len(cells),
        "times_less": single * len(cells) / together,
    }


def _cpu(cells: Sequence[Cell], training: Training) -> float:
    start = time.process_time()
    flow.train(cells, training)
    return time.process_time() - start


def _check_finite(rows: Iterable[Row], training: Training) -> None:
    for row in rows:
        if not all(math.isfinite(value) for value in row.values()):
            raise CannotContinue(
                f"Training diverged in cell dz {row['dz']:g}, w {row['ratio']:g}, seed {row['seed']} "
                f"(learning rate {training.rate:g}), so the grid has no result there. Please report it with this line."
            )
