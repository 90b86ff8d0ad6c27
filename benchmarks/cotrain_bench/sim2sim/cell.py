"""A cell: one policy trained with one method, and what it does in a hundred episodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import cotrain_losses as ctl

from ..paired import wilson
from ..results import Row, WrongSetting, check_one_of, source_digest, versions
from . import (
    batches,
    columns,
    coverage,
    demos,
    evaluation,
    frames,
    gaps,
    methods,
    path_head,
    policies,
    tasks,
    training,
    views,
    world,
)
from .batches import Budget, HeldOut
from .columns import as_told, labelled, normalised, told
from .coverage import COVERAGES, Region, both_sides
from .demos import Demos, Request, demonstrations
from .evaluation import EPISODES, Rollouts, roll_out
from .frames import Frames
from .gaps import GAPS, Gap
from .methods import METHODS, Setting, extras
from .policies import check_name, policy_key
from .tasks import TASKS
from .training import Trained, train
from .views import drawn_cameras, pose, seen_through
from .world import World, domain

SEEDS_PER_RUN = 1_000_000  # episodes of a seed: `requests` and `evaluation_seeds` say which are for what
WATCHED, FILMED = 6, 2  # episodes of which paths are kept, and commands too, so that they can be replayed
# whose code names a cell
SOURCES = (
    *(batches, columns, coverage, demos, evaluation, frames, gaps, methods, path_head, policies, tasks, training),
    *(views, world),
)


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
    coverage: str = ""  # where the target has demonstrations, of `COVERAGES`; empty: everywhere, sides not told apart
    unlabelled: int = 0  # target demonstrations from everywhere that are given without their actions
    strength: float | None = None  # relative, in the place of the method's own; see `methods`
    scales: tuple[float, ...] = ()  # guidance scales to be evaluated beside the method's own, on the same episodes
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        for what, known in (("task", TASKS), ("gap", GAPS), ("method", METHODS)):
            check_one_of(f"a {what}", getattr(self, what), known)
        if self.coverage:
            check_one_of("a coverage", self.coverage, COVERAGES)
            if self.episodes % 2:
                raise WrongSetting(
                    f"as many episodes are seen as unseen, so their number is even, got {self.episodes}."
                )
        check_name(self.policy)
        if self.policy == "stems" and not self.label:
            raise WrongSetting("the policy stems chooses a stem by the label, got label=False. Pass another policy.")
        if not 0.0 <= self.ratio <= 1.0:
            raise WrongSetting(f"ratio is the share of target samples and lies in [0, 1], got {self.ratio}.")
        for name in ("target_demos", "source_demos", "episodes"):
            if getattr(self, name) < 1:
                raise WrongSetting(f"{name} counts from 1, got {getattr(self, name)}.")
        if self.unlabelled < 0 or (self.strength is not None and self.strength <= 0):
            received = f"got unlabelled={self.unlabelled} and strength={self.strength}"
            raise WrongSetting(f"unlabelled counts demonstrations from 0 and a strength is above 0, {received}.")
        if self.strength is not None and not METHODS[self.method].screened:
            raise WrongSetting(f"{self.method} has no relative strength, got strength={self.strength}. Leave it out.")
        if self.budget.steps < 1:
            raise WrongSetting(f"steps counts optimizer steps from 1, got {self.budget.steps}.")
        if not 0 <= self.seed < 1000:
            raise WrongSetting(f"seed lies in [0, 999], so that no two seeds share an episode, got {self.seed}.")
        if self.scales and not METHODS[self.method].guided:
            guided = " or ".join(name for name, method in METHODS.items() if method.guided)
            raise WrongSetting(f"scales are of a guided method, {guided}, got {self.method!r}.")

    def key(self) -> dict[str, Any]:
        """All that determines the cell's row: settings, knobs, demonstrations, versions, source code."""
        code = source_digest(__file__, *SOURCES, Path(ctl.__file__).parent)
        requested = {name: request.key() for name, request in self.requests().items()} | policy_key(self.policy)
        return {**asdict(self), **requested, "code": code, "torch": versions("torch")}

    def settings(self) -> dict[str, Any]:
        """What rows state of the cell beside its budget and what was measured."""
        return {name: value for name, value in vars(self).items() if name not in ("budget", "scales")}

    def requests(self) -> dict[str, Request]:
        """The demonstrations a cell needs: of both domains to train on, and fresh ones to measure features on."""
        first, gap = self.seed * SEEDS_PER_RUN, GAPS[self.gap]
        covered = self.region if self.coverage not in ("", "whole") else None
        asked = {
            "source": Request(self.task, Gap(), first, self.source_demos),
            "target": Request(self.task, gap, first + 400_000, self.target_demos, region=covered),
            "fresh_source": Request(self.task, Gap(), first + 600_000, EPISODES),
            "fresh_target": Request(self.task, gap, first + 700_000, EPISODES),
        }
        if self.unlabelled:
            asked["unlabelled"] = Request(self.task, gap, first + 500_000, self.unlabelled)
        return asked

    @property
    def region(self) -> Region | None:
        """The side of the table that is told apart; under whole coverage the half that half coverage has."""
        which = "half" if self.coverage == "whole" else self.coverage
        return Region(self.task, which, self.seed % 2 ** len(COVERAGES[which])) if which else None

    def evaluation_seeds(self) -> Sequence[int]:
        """The episodes of the evaluation, the same for every method of a seed: as many seen as unseen, where told."""
        first, region = self.seed * SEEDS_PER_RUN + 800_000, self.region
        return range(first, first + self.episodes) if region is None else both_sides(region, first, self.episodes)

    def demonstrations(self) -> dict[str, Demos]:
        """What `requests` names, from the cache, or recorded here."""
        with ThreadPoolExecutor(1) as here:
            return {name: demonstrations(request, here) for name, request in self.requests().items()}

    @property
    def max_yaw(self) -> float:
        """Up to how many degrees the source's cameras are drawn in training; 0 where they are not."""
        method = METHODS[self.method]
        return (self.strength or method.screened[0]) * GAPS[self.gap].camera_yaw if method.cameras else 0.0

    def seen_anew(self, source: Demos) -> tuple[Demos, list[Gap]]:
        """Demonstrations of the source, each through cameras that are drawn for it."""
        cameras = drawn_cameras(len(source), self.max_yaw, self.seed)
        return seen_through(source, cameras), cameras

    def world(self) -> World:
        return domain(self.task, GAPS[self.gap])  # type: ignore[no-any-return]


def compute(cell: Cell, tick: Callable[[float], None]) -> Row:
    """Train, evaluate and measure one cell; training is taken to be three fifths of the time."""
    recorded = cell.demonstrations()
    data = _frames(cell, recorded["target"], recorded["source"], recorded.get("unlabelled"), train=True)
    fresh = _frames(cell, recorded["fresh_target"], recorded["fresh_source"])
    begin = time.process_time()
    trained = _trained(cell, data, lambda share: tick(0.6 * share))
    middle = time.process_time()
    rolled = _rolled_out(cell, trained, tick=lambda share: tick(0.6 + 0.3 * share))
    end = time.process_time()
    row = _row(cell, trained, rolled) | {"train_cpu_s": middle - begin, "evaluation_cpu_s": end - middle}
    if cell.scales:
        solved = {scale: _rolled_out(cell, trained, scale).solved for scale in cell.scales}
        row["scales"] = {str(scale): sum(some) / cell.episodes for scale, some in solved.items()}
        if cell.region is not None:
            row["scales_by_side"] = {str(scale): _by_side(cell, some) for scale, some in solved.items()}
    row |= evaluation.measures(trained, fresh)
    unseen = None if cell.region is None else _unseen(cell.region, fresh, recorded)
    if unseen is not None:
        there = replace(fresh, **{name: value[unseen] for name, value in vars(fresh).items()})
        elsewhere = evaluation.measures(trained, there, rows=256, repeats=1)
        row |= {f"unseen_{name}": value for name, value in elsewhere.items()}
        with torch.no_grad(), trained.cotrain.guided(trained.policy):
            row["path_error"] = evaluation.path_error(trained.policy.predict_action, fresh, GAPS[cell.gap])
    row["measures_cpu_s"] = time.process_time() - end
    return row | {"picture": {**rolled.watched(FILMED), "features": evaluation.plane(trained, fresh, unseen)}}


def _frames(cell: Cell, target: Demos, source: Demos, unlabelled: Demos | None = None, train: bool = False) -> Frames:
    """The samples of two domains as a cell's policy is given them; in training cameras may be drawn anew."""
    method, here = METHODS[cell.method], GAPS[cell.gap]
    cameras = [Gap()] * len(source)
    if method.cameras and train:
        source, cameras = cell.seen_anew(source)
    data = frames.frames(target, source, unlabelled)
    if method.normalised:
        data = normalised(data)
    if method.pose:
        every = [here] * len(target) + cameras + [here] * (0 if unlabelled is None else len(unlabelled))
        data = told(data, torch.from_numpy(np.stack([pose(gap) for gap in every])).float()[data.episode])
    return labelled(data) if cell.label else data


def _unseen(region: Region, fresh: Frames, recorded: Mapping[str, Demos]) -> Tensor:
    """(n,) bool: the fresh frames of both domains whose episodes start where the target has no demonstrations."""
    starts = [recorded[name].points[recorded[name].starts()] for name in ("fresh_target", "fresh_source")]
    return torch.tensor([not region.holds(points) for side in starts for points in side])[fresh.episode]


def _by_side(cell: Cell, solved: Sequence[bool]) -> dict[str, float]:
    """Success of the seen and of the unseen episodes, which come first; nothing where they are not told apart."""
    if cell.region is None:
        return {}
    half = cell.episodes // 2
    return {"seen": sum(solved[half:]) / half, "unseen": sum(solved[:half]) / half}


def _trained(cell: Cell, data: Frames, tick: Callable[[float], None]) -> Trained:
    method, budget = METHODS[cell.method], cell.budget
    held_out = None if method.holds_out is None else HeldOut(data.held_out(), method.holds_out)
    how: dict[str, Any] = {"seed": cell.seed, "policy": cell.policy, "name": cell.method, "held_out": held_out}
    setting = partial(Setting, ratio=cell.ratio, steps=budget.steps, strength=cell.strength)
    how |= {"phases": method.phases(setting(0)) if method.phases else (), "paired": method.paired}
    return train(data, lambda width: method(setting(width)), budget, tick=tick, extras=extras, **how)


def _rolled_out(
    cell: Cell, trained: Trained, scale: float | None = None, tick: Callable[[float], None] = lambda _: None
) -> Rollouts:
    act: Callable[[Tensor], Tensor] = trained.policy.predict_action
    act = as_told(act) if cell.label else act
    act = as_told(act, torch.from_numpy(pose(GAPS[cell.gap]))) if METHODS[cell.method].pose else act
    with torch.no_grad(), trained.cotrain.guided(trained.policy, scale=scale):
        return roll_out(act, cell.world(), cell.evaluation_seeds(), seed=cell.seed, watched=WATCHED, tick=tick)


def _row(cell: Cell, trained: Trained, rolled: Rollouts) -> Row:
    successes = sum(rolled.solved)
    low, high = wilson(successes, cell.episodes)
    row: Row = {**cell.settings(), "ratio": trained.ratio, "steps": cell.budget.steps, "successes": successes}
    row |= {"success": successes / cell.episodes, "low": low, "high": high, **_by_side(cell, rolled.solved)}
    row |= {"interval": "Wilson 95 % over the episodes of one trained policy", "loss": trained.loss}
    for kind, values in (("raw", trained.raw), ("mean_weight", trained.strengths), ("reading", trained.readings)):
        row |= {f"{kind}_{name}": value for name, value in values.items()}
    return row | {"outcomes": [int(solved) for solved in rolled.solved]}
