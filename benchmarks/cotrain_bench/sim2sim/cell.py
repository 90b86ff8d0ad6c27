"""A cell: one policy trained with one method, and what it does in a hundred episodes."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import cotrain_losses as ctl

from ..paired import wilson
from ..results import Row, WrongSetting, check_one_of, source_digest, versions
from . import demos, evaluation, gaps, methods, policies, tasks, training, world
from .demos import Demos, Request, demonstrations
from .evaluation import EPISODES, Rollouts, roll_out
from .gaps import GAPS, Gap
from .methods import METHODS, Setting, extras
from .policies import check_name, policy_key
from .tasks import TASKS
from .training import Budget, Frames, HeldOut, Trained, frames, train
from .world import World, domain

SEEDS_PER_RUN = 1_000_000  # episodes of a seed: `requests` and `evaluation_seeds` say which are for what
WATCHED, FILMED = 6, 2  # episodes of which paths are kept, and commands too, so that they can be replayed
# whose code names a cell
SOURCES = (demos, evaluation, gaps, methods, policies, tasks, training, world)


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
            check_one_of(f"a {what}", getattr(self, what), known)
        check_name(self.policy)
        if not 0.0 <= self.ratio <= 1.0:
            raise WrongSetting(f"ratio is the share of target samples and lies in [0, 1], got {self.ratio}.")
        for name in ("target_demos", "source_demos", "episodes"):
            if getattr(self, name) < 1:
                raise WrongSetting(f"{name} counts from 1, got {getattr(self, name)}.")
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
        return domain(self.task, GAPS[self.gap])  # type: ignore[no-any-return]


def compute(cell: Cell, tick: Callable[[float], None]) -> Row:
    """Train, evaluate and measure one cell; training is taken to be three fifths of the time."""
    recorded = cell.demonstrations()
    data, fresh = (_frames(cell, recorded[f"{which}target"], recorded[f"{which}source"]) for which in ("", "fresh_"))
    begin = time.process_time()
    trained = _trained(cell, data, lambda share: tick(0.6 * share))
    middle = time.process_time()
    rolled = _rolled_out(cell, trained, tick=lambda share: tick(0.6 + 0.3 * share))
    end = time.process_time()
    row = _row(cell, trained, rolled) | {"train_cpu_s": middle - begin, "evaluation_cpu_s": end - middle}
    if cell.scales:
        solved = {scale: _rolled_out(cell, trained, scale).solved for scale in cell.scales}
        row["scales"] = {str(scale): sum(some) / cell.episodes for scale, some in solved.items()}
    row |= evaluation.measures(trained, fresh) | {"measures_cpu_s": time.process_time() - end}
    return row | {"picture": {**_watched(rolled), "features": evaluation.plane(trained, fresh)}}


def _frames(cell: Cell, target: Demos, source: Demos) -> Frames:
    data = frames(target, source)
    if cell.method == "normalised":
        data = normalised(data)
    return labelled(data) if cell.label else data


def _trained(cell: Cell, data: Frames, tick: Callable[[float], None]) -> Trained:
    method, budget = METHODS[cell.method], cell.budget
    held_out = None if method.holds_out is None else HeldOut(data.held_out(), method.holds_out)
    how: dict[str, Any] = {"seed": cell.seed, "policy": cell.policy, "name": cell.method, "held_out": held_out}
    of_width = lambda width: method(Setting(width, cell.ratio, budget.steps))  # noqa: E731
    return train(data, of_width, budget, tick=tick, extras=extras, **how)


def _rolled_out(
    cell: Cell, trained: Trained, scale: float | None = None, tick: Callable[[float], None] = lambda _: None
) -> Rollouts:
    act: Callable[[Tensor], Tensor] = trained.policy.predict_action
    act = as_target(act) if cell.label else act
    with torch.no_grad(), trained.cotrain.guided(trained.policy, scale=scale):
        return roll_out(act, cell.world(), cell.evaluation_seeds(), seed=cell.seed, watched=WATCHED, tick=tick)


def _row(cell: Cell, trained: Trained, rolled: Rollouts) -> Row:
    successes = sum(rolled.solved)
    low, high = wilson(successes, cell.episodes)
    row: Row = {**cell.settings(), "ratio": trained.ratio, "steps": cell.budget.steps, "successes": successes}
    row |= {"success": successes / cell.episodes, "low": low, "high": high}
    row |= {"interval": "Wilson 95 % over the episodes of one trained policy", "loss": trained.loss}
    for kind, values in (("raw", trained.raw), ("mean_weight", trained.strengths), ("reading", trained.readings)):
        row |= {f"{kind}_{name}": value for name, value in values.items()}
    return row | {"outcomes": [int(solved) for solved in rolled.solved]}


def _watched(rolled: Rollouts) -> Row:
    return {
        "paths": [path[::4].round(4).tolist() for path in rolled.paths],
        "goals": [goal.round(4).tolist() for goal in rolled.goals],
        "solved": [int(solved) for solved in rolled.solved[: len(rolled.paths)]],
        "commands": [commands.tolist() for commands in rolled.commands[:FILMED]],
    }


def labelled(data: Frames) -> Frames:
    """Frames whose observations (n, steps, o) end in two columns that tell the domain, (n, steps, o + 2)."""
    codes = torch.stack([~data.is_target, data.is_target], dim=1).float()
    columns = codes[:, None].expand(-1, data.observations.shape[1], -1)
    return replace(data, observations=torch.cat([data.observations, columns], dim=2))


def as_target(policy: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A policy of labelled observations as one of plain ones, all of them the target's."""

    def of_target(observations: Tensor) -> Tensor:
        code = torch.tensor([0.0, 1.0]).expand(*observations.shape[:2], 2)
        return policy(torch.cat([observations, code], dim=2))

    return of_target


def normalised(data: Frames) -> Frames:
    """Frames whose source observations have the target's mean and deviation in every coordinate."""
    sides = [data.observations[mask][:, -1] for mask in (~data.is_target, data.is_target)]
    (m_s, s_s), (m_t, s_t) = ((x.mean(0), x.std(0).clamp_min(1e-3)) for x in sides)  # as the policies' normalisers
    moved = (data.observations - m_s) / s_s * s_t + m_t
    return replace(data, observations=torch.where(data.is_target[:, None, None], data.observations, moved))
