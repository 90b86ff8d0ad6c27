"""The studies of the toy with an encoder: which arms, distances, ratios and seeds, computed block by block.

    strengths    each alignment term at three strengths, on a seed that the grid does not use
    grid         every arm at seven distances, three ratios and five seeds

A block is one arm on one seed: its cells train as one ensemble, and it is kept when it is finished.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import cotrain_losses as ctl
from cotrain_losses.cli.progress import progress, say

from ..executors import executor
from ..results import Cells, Row, check_one_of, source_digest, versions
from ..sweep import sweep
from . import arms, curves, encoded, flow
from .arms import ARMS
from .encoded import Budget, Experiment
from .flow import Cell

DISTANCES = (0.01, 0.1, 0.5, 1.0, 5.0, 20.0, 50.0)
RATIOS = (0.05, 0.1, 0.5)
SEEDS = (0, 1, 2, 3, 4)
CHOSEN = {"mmd": 1.0}
"""arm -> its strength in the grid, where it is not the recipe's: the lowest of `strengths`"""
TRIED = {"ot": (0.01, 0.1, 1.0), "mmd": (0.01, 0.1, 1.0), "adda": (0.05, 0.5, 5.0)}
"""strengths that were tried on seed 900: the recipe's own, and others ten times apart"""


@dataclass(frozen=True)
class Block:
    """One arm on one seed."""

    arm: str
    seed: int
    strength: float | None = None  # None is the arm's own
    distances: tuple[float, ...] = DISTANCES
    ratios: tuple[float, ...] = RATIOS
    budget: Budget = field(default_factory=Budget)

    def key(self) -> dict[str, Any]:
        """All that determines its rows."""
        code = source_digest(arms, curves, encoded, flow, Path(ctl.__file__).parent)
        return {**asdict(self), "code": code, "torch": versions("torch")}

    @property
    def cells(self) -> list[Cell]:
        """What is trained: where inputs do not depend on dz, at one dz."""
        trained = self.distances[:1] if ARMS[self.arm].blind else self.distances
        return [Cell(dz, ratio, self.seed) for dz in trained for ratio in self.ratios]


def strengths() -> list[Block]:
    return [
        Block(arm, 900, strength, distances=(0.01, 1.0, 20.0, 50.0), ratios=(0.1,))
        for arm, tried in TRIED.items()
        for strength in tried
    ]


def grid() -> list[Block]:
    """Seed by seed, so that what is finished is whole."""
    return [Block(arm, seed, CHOSEN.get(arm)) for seed in SEEDS for arm in ARMS]


STUDIES: dict[str, Callable[[], list[Block]]] = {"strengths": strengths, "grid": grid}


def compute(block: Block, tick: Callable[[float], None]) -> Row:
    """Train and score the cells of a block; a blind arm's rows stand for every dz."""
    torch.set_num_threads(1)
    start, arm = time.process_time(), ARMS[block.arm]
    arm = arm if block.strength is None else replace(arm, strength=block.strength)
    experiment = Experiment(arm, block.cells, block.budget)
    experiment.train(lambda steps: _ticked(steps, tick))
    named = {"arm": block.arm, "strength": arm.strength if arm.asks else None}
    rows = [named | row for row in experiment.rows()]
    if arm.blind:
        rows = [row | {"dz": dz} for dz in block.distances for row in rows]
    return {"rows": rows, "cpu_s": time.process_time() - start}


def run(study: str, out: Path, *, so_far: bool = False) -> tuple[list[Row], float, int]:
    """All rows of a study, the CPU seconds they took, and how many blocks are missing; one process at a time.

    With `so_far` nothing is computed.  The reason of a block that failed is said, and it counts as missing.
    """
    check_one_of("a study of the toy", study, STUDIES)
    blocks, kept = STUDIES[study](), Cells(out / "cells", say)
    tasks = [(block.key(), block) for block in blocks]
    if so_far:
        found = [row for key, _ in tasks if (row := kept.find(key)) is not None]
    else:
        with progress() as bars, executor("local", 1, out / "jobs") as workers:
            found = sweep(compute, tasks, kept, workers, bars, label="arms and seeds")
    done = [row for row in found if "error" not in row]
    for row in found:
        if "error" in row:
            say(str(row["error"]))
    return [row for block in done for row in block["rows"]], sum(b["cpu_s"] for b in done), len(blocks) - len(done)


def _ticked(steps: range, tick: Callable[[float], None]) -> Any:
    for step in steps:
        if step % 50 == 0:
            tick(step / len(steps))
        yield step
