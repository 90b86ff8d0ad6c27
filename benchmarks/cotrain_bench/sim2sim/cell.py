"""A cell: one policy trained with one method, and what it does in a hundred episodes."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import cotrain_losses as ctl

from ..intervals import wilson
from ..results import Row, source_digest, versions
from . import cameras, demos, gaps, measures, methods, policies, rollouts, tasks, training, variants, world
from .demos import Demos, Request, demonstrations
from .gaps import GAPS, Gap
from .measures import EPISODES
from .methods import METHODS, Setting
from .policies import check_name, policy_key
from .rollouts import Rollouts, roll_out
from .tasks import TASKS
from .training import Budget, Frames, HeldOut, Trained, frames, train
from .variants import as_target, labelled, normalised
from .world import World, domain

SEEDS_PER_RUN = 1_000_000
"""episodes are numbered; a seed owns this many: source from 0, target from 400 000, what features are measured on
from 600 000 and 700 000, evaluation from 800 000"""

WATCHED, FILMED = 6, 2  # episodes of which paths are kept, and commands too, so that they can be replayed
SOURCES = (cameras, demos, gaps, measures, methods, policies, rollouts, tasks, training, variants, world)
"""the modules that a cell's numbers come from, this one aside"""


@dataclass(frozen=True)
class Cell:
    """One trained policy.  A seed has its own demonstrations, first weights and evaluation episodes."""

    method: str = "cotraining"
    task: str = "pick-place"
    gap: str = "control"
    ratio: float = 0.1
    seed: int = 0
    target_demos: int = 4
    source_demos: int = 200
    episodes: int = 100
    policy: str = "flow"  # a short name of `policies.READY`, or module:factory
    label: bool = False  # whether the observation tells the domain, as two columns
    scales: tuple[float, ...] = ()  # guidance scales to be evaluated beside the method's own, on the same episodes
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        for what, known in (("task", TASKS), ("gap", GAPS), ("method", METHODS)):
            if (value := getattr(self, what)) not in known:
                raise ValueError(f"a {what} is one of {', '.join(known)}, got {value!r}.")
        check_name(self.policy)
        if not 0.0 <= self.ratio <= 1.0:
            raise ValueError(f"ratio is the share of target samples and lies in [0, 1], got {self.ratio}.")
        for name in ("target_demos", "source_demos", "episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} counts from 1, got {getattr(self, name)}.")
        if self.budget.steps < 1:
            raise ValueError(f"steps counts optimizer steps from 1, got {self.budget.steps}.")
        if not 0 <= self.seed < 1000:
            raise ValueError(f"seed lies in [0, 999], so that no two seeds share an episode, got {self.seed}.")
        if self.scales and not METHODS[self.method].guided:
            guided = " or ".join(name for name, method in METHODS.items() if method.guided)
            raise ValueError(f"scales are of a guided method, {guided}, got {self.method!r}.")

    def key(self) -> dict[str, Any]:
        """All that determines the cell's row: settings, knobs, demonstrations, versions, source code."""
        code = source_digest(__file__, *SOURCES, Path(ctl.__file__).parent)
        requested = {name: request.key() for name, request in self.requests().items()}
        made_by = policy_key(self.policy)
        return {**asdict(self), **requested, **made_by, "code": code, "torch": versions("torch")}

    def requests(self) -> dict[str, Request]:
        """The demonstrations a cell needs: of both domains to train on, and fresh ones to measure features on."""
        first, gap = self.seed * SEEDS_PER_RUN, GAPS[self.gap]
        return {
            "source": Request(self.task, Gap(), first, self.source_demos),
            "target": Request(self.task, gap, first + 400_000, self.target_demos),
            "fresh_source": Request(self.task, Gap(), first + 600_000, EPISODES),
            "fresh_target": Request(self.task, gap, first + 700_000, EPISODES),
        }

    def evaluation_seeds(self) -> range:
        """The episodes of the evaluation: the same for every method of a seed."""
        first = self.seed * SEEDS_PER_RUN + 800_000
        return range(first, first + self.episodes)

    def demonstrations(self) -> dict[str, Demos]:
        """What `requests` names, from the cache, or recorded here."""
        with ThreadPoolExecutor(1) as here:
            return {name: demonstrations(request, here) for name, request in self.requests().items()}

    def world(self) -> World:
        """Where the policy is evaluated."""
        return domain(self.task, GAPS[self.gap])  # type: ignore[no-any-return]


def compute(cell: Cell, tick: Callable[[float], None]) -> Row:
    """Train, evaluate and measure one cell.  Demonstrations come from the cache, or are recorded here.

    Three fifths of the time are taken to be training.
    """
    found = cell.demonstrations()
    data, fresh = _frames(cell, found, ""), _frames(cell, found, "fresh_")
    begin = time.process_time()
    trained = _trained(cell, data, lambda share: tick(0.6 * share))
    middle = time.process_time()
    rolled = _rolled_out(cell, trained, None, lambda share: tick(0.6 + 0.3 * share))
    end = time.process_time()
    row = _row(cell, trained, rolled) | {"train_cpu_s": middle - begin, "evaluation_cpu_s": end - middle}
    row |= {"scales": {str(scale): _at(cell, trained, scale) for scale in cell.scales}} if cell.scales else {}
    row |= measures.measures(trained, fresh) | {"measures_cpu_s": time.process_time() - end}
    return row | {"picture": {**_watched(rolled), "features": measures.plane(trained, fresh)}}


def _frames(cell: Cell, found: dict[str, Demos], which: str) -> Frames:
    data = frames(found[f"{which}target"], found[f"{which}source"])
    if cell.method == "normalised":
        data = normalised(data)
    return labelled(data) if cell.label else data


def _trained(cell: Cell, data: Frames, tick: Callable[[float], None]) -> Trained:
    share = METHODS[cell.method].holds_out
    held_out = None if share is None else HeldOut(data.held_out(), share)
    return train(
        data,
        lambda width: METHODS[cell.method](Setting(width, cell.ratio, cell.budget.steps)),
        cell.budget,
        seed=cell.seed,
        policy=cell.policy,
        name=cell.method,
        extras=methods.extras,
        held_out=held_out,
        tick=tick,
    )


def _rolled_out(cell: Cell, trained: Trained, scale: float | None, tick: Callable[[float], None]) -> Rollouts:
    act: Callable[[Tensor], Tensor] = trained.policy.predict_action
    with torch.no_grad(), trained.cotrain.guided(trained.policy, scale=scale):
        return roll_out(
            as_target(act) if cell.label else act,
            cell.world(),
            cell.evaluation_seeds(),
            seed=cell.seed,
            watched=WATCHED,
            tick=tick,
        )


def _at(cell: Cell, trained: Trained, scale: float) -> float:
    return sum(_rolled_out(cell, trained, scale, lambda _: None).solved) / cell.episodes


def _row(cell: Cell, trained: Trained, rolled: Rollouts) -> Row:
    successes = sum(rolled.solved)
    low, high = wilson(successes, cell.episodes)
    settings = {name: value for name, value in vars(cell).items() if name not in ("budget", "scales")}
    return {
        **settings,
        "ratio": trained.ratio,
        "steps": cell.budget.steps,
        "successes": successes,
        "success": successes / cell.episodes,
        "low": low,
        "high": high,
        "interval": "Wilson 95 % over the episodes of one trained policy",
        "loss": trained.loss,
        **{f"raw_{name}": value for name, value in trained.raw.items()},
        **{f"mean_weight_{name}": value for name, value in trained.strengths.items()},
        **{f"reading_{name}": numbers for name, numbers in trained.readings.items()},
        "outcomes": [int(solved) for solved in rolled.solved],
    }


def _watched(rolled: Rollouts) -> Row:
    return {
        "paths": [path[::4].round(4).tolist() for path in rolled.paths],
        "goals": [goal.round(4).tolist() for goal in rolled.goals],
        "solved": [int(solved) for solved in rolled.solved[: len(rolled.paths)]],
        "commands": [commands.tolist() for commands in rolled.commands[:FILMED]],
    }
