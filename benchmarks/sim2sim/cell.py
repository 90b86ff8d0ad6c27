"""A cell: one policy trained with one method, and what it does in a hundred episodes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import cotrain_losses as ctl

from ..intervals import wilson
from ..results import Row, source_digest, versions
from .demos import Demos, Request
from .gaps import GAPS, Gap
from .methods import METHODS
from .policy import FlowPolicy
from .rollouts import Rollouts, roll_out
from .settings import Settings
from .training import Frames, Trained, frames, train
from .world import World

SEEDS_PER_RUN = 1_000_000
"""episodes are numbered; a run's seed owns this many: source from 0, target from 400 000, evaluation from 800 000"""

WATCHED, SHOWN = 6, 150


@dataclass(frozen=True)
class Cell:
    """One method of a run."""

    method: str
    settings: Settings

    def key(self) -> dict[str, Any]:
        """All that determines the cell's row: settings, knobs, demonstrations, versions, source code."""
        shared = {name: value for name, value in asdict(self.settings).items() if name != "methods"}
        source, target = requests(self.settings)
        code = source_digest(Path(__file__).parent / "..", Path(ctl.__file__).parent)
        return {
            "method": self.method,
            **shared,
            "source": source.key(),
            "target": target.key(),
            "code": code,
            "torch": versions("torch"),
        }


@dataclass(frozen=True)
class Task:
    """What a worker needs for a cell."""

    cell: Cell
    source: Demos
    target: Demos


def requests(settings: Settings) -> tuple[Request, Request]:
    """The demonstrations of both domains: (source, target)."""
    first = settings.seed * SEEDS_PER_RUN
    return (
        Request(settings.task, Gap(), first, settings.source_demos),
        Request(settings.task, GAPS[settings.gap], first + 400_000, settings.target_demos),
    )


def evaluation_seeds(settings: Settings) -> range:
    """The episodes of the evaluation: the same for every method of a run."""
    first = settings.seed * SEEDS_PER_RUN + 800_000
    return range(first, first + settings.episodes)


def compute(task: Task, tick: Callable[[float], None]) -> Row:
    """Train and evaluate one cell.

    Three quarters of the time are taken to be training.
    """
    settings, data = task.cell.settings, frames(task.target, task.source)
    begin = time.process_time()
    trained = train(
        data,
        METHODS[task.cell.method](FlowPolicy(1, 1).width, settings.ratio),
        settings.budget,
        seed=settings.seed,
        tick=lambda share: tick(0.75 * share),
    )
    middle = time.process_time()
    with trained.cotrain.guided(trained.policy):
        rollouts = roll_out(
            trained.policy.predict_action,
            World(settings.task, GAPS[settings.gap]),
            evaluation_seeds(settings),
            seed=settings.seed,
            watched=WATCHED,
            tick=lambda share: tick(0.75 + 0.25 * share),
        )
    row = _row(task.cell, trained, rollouts)
    row |= {"train_cpu_s": middle - begin, "evaluation_cpu_s": time.process_time() - middle}
    return row | {"picture": {**_paths(rollouts), "features": _features(trained.policy, data)}}


def _row(cell: Cell, trained: Trained, rollouts: Rollouts) -> Row:
    settings, successes = cell.settings, sum(rollouts.solved)
    low, high = wilson(successes, settings.episodes)
    return {
        "task": settings.task,
        "gap": settings.gap,
        "method": cell.method,
        "ratio": trained.ratio,
        "seed": settings.seed,
        "target_demos": settings.target_demos,
        "source_demos": settings.source_demos,
        "episodes": settings.episodes,
        "successes": successes,
        "success": successes / settings.episodes,
        "low": low,
        "high": high,
        "interval": "Wilson 95 % over the episodes of one trained policy",
        "loss": trained.loss,
        **{f"raw_{name}": value for name, value in trained.raw.items()},
        "outcomes": [int(solved) for solved in rollouts.solved],
    }


def _paths(rollouts: Rollouts) -> Row:
    return {
        "paths": [
            [[[round(float(x), 4) for x in p] for p in points] for points in path[::4]] for path in rollouts.paths
        ],
        "goals": [[round(float(x), 4) for x in goal] for goal in rollouts.goals],
        "solved": [int(solved) for solved in rollouts.solved[: len(rollouts.paths)]],
    }


@torch.no_grad()
def _features(policy: FlowPolicy, data: Frames) -> Row:
    """z of some frames of both domains, in the plane of their two largest principal components."""
    draws = torch.Generator().manual_seed(0)
    chosen = [_some(mask.nonzero()[:, 0], draws) for mask in (~data.is_target, data.is_target)]
    z = policy.encode(data.observations[torch.cat(chosen)])
    z = z - z.mean(0)
    plane = z @ torch.linalg.svd(z, full_matrices=False).Vh[:2].T
    source, target = np.split(plane.double().numpy().round(4), [len(chosen[0])])
    return {"source": source, "target": target}


def _some(rows: Tensor, draws: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=draws)[:SHOWN]]
