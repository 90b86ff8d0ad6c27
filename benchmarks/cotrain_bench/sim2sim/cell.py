"""A cell: all that determines one trained policy and its episodes; `compute` gives its row."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cotrain_losses as ctl

from ..results import WrongSetting, check_one_of, source_digest, versions
from .batches import Budget
from .coverage import COVERAGES, Region, both_sides
from .demos import Demos, Request, demonstrations
from .gaps import GAPS, Gap
from .methods import METHODS
from .policies import check_name, policy_key
from .tasks import TASKS
from .views import drawn_cameras, seen_through
from .world import World, domain

EPISODES = 20  # fresh demonstrations of each domain, on which features are measured
SEEDS_PER_RUN = 1_000_000  # episodes of a seed: `requests` and `evaluation_seeds` say which are for what
SOURCES = (
    *("batches", "cell", "columns", "compute", "coverage", "demos", "evaluation", "frames", "gaps", "methods"),
    *("path_head", "policies", "tasks", "training", "views", "world"),
)
"""modules whose code names a cell"""


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
    device: str = field(default="cpu", compare=False)  # where the policy is; worlds are stepped and drawn on the CPU

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
        own = [Path(__file__).with_name(f"{name}.py") for name in SOURCES]
        code = source_digest(*own, Path(ctl.__file__).parent)
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
