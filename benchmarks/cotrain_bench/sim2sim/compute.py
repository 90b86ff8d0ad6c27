"""The row of a cell: its policy trained, what it does in a hundred episodes, and where the domains lie in its features.

A policy whose training diverges solves nothing: its row has a success of 0 and says why in `diverged`.  To leave its
pair out would favour the method.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..paired import wilson
from ..results import Row
from . import evaluation, frames
from .batches import HeldOut
from .cell import Cell
from .columns import as_told, labelled, normalised, told
from .coverage import Region
from .demos import Demos
from .evaluation import Rollouts, roll_out, unmeasured
from .frames import Frames
from .gaps import GAPS, Gap
from .methods import METHODS, Setting, extras
from .training import Diverged, Trained, train
from .views import pose

WATCHED, FILMED = 6, 2  # episodes of which paths are kept, and commands too, so that they can be replayed


def compute(cell: Cell, tick: Callable[[float], None]) -> Row:
    """Train, evaluate and measure one cell; training is taken to be three fifths of the time."""
    recorded = cell.demonstrations()
    data = _frames(cell, recorded["target"], recorded["source"], recorded.get("unlabelled"), train=True)
    fresh = _frames(cell, recorded["fresh_target"], recorded["fresh_source"])
    begin = time.process_time()
    try:
        trained = _trained(cell, data, lambda share: tick(0.6 * share))
        middle = time.process_time()
        rolled = _rolled_out(cell, trained, tick=lambda share: tick(0.6 + 0.3 * share))
        end = time.process_time()
    except Diverged as error:
        return _lost(cell, str(error), time.process_time() - begin)
    row = _row(cell, rolled.solved) | _losses(trained)
    row |= _at_scales(cell, {scale: _solved_at(cell, trained, scale) for scale in cell.scales})
    row |= {"train_cpu_s": middle - begin, "evaluation_cpu_s": end - middle}
    unseen = None if cell.region is None else _unseen(cell.region, fresh, recorded)
    row |= _measures(cell, trained, fresh, unseen) | {"measures_cpu_s": time.process_time() - end}
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
    how |= {"device": cell.device}
    return train(data, lambda width: method(setting(width)), budget, tick=tick, extras=extras, **how)


def _rolled_out(
    cell: Cell, trained: Trained, scale: float | None = None, tick: Callable[[float], None] = lambda _: None
) -> Rollouts:
    act: Callable[[Tensor], Tensor] = trained.policy.predict_action
    act = as_told(act) if cell.label else act
    act = as_told(act, torch.from_numpy(pose(GAPS[cell.gap]))) if METHODS[cell.method].pose else act
    with torch.no_grad(), trained.cotrain.guided(trained.policy, scale=scale):
        how: dict[str, Any] = {"seed": cell.seed, "watched": WATCHED, "device": cell.device, "tick": tick}
        return roll_out(act, cell.world(), cell.evaluation_seeds(), **how)


def _row(cell: Cell, solved: Sequence[bool]) -> Row:
    successes = sum(solved)
    low, high = wilson(successes, cell.episodes)
    row: Row = {**cell.settings(), "steps": cell.budget.steps, "successes": successes}
    row |= {"success": successes / cell.episodes, "low": low, "high": high, **_by_side(cell, solved)}
    row |= {"interval": "Wilson 95 % over the episodes of one trained policy"}
    return row | {"outcomes": [int(each) for each in solved]}


def _losses(trained: Trained) -> Row:
    """What training reports, and the ratio that was realised."""
    row: Row = {"ratio": trained.ratio, "loss": trained.loss}
    for kind, values in (("raw", trained.raw), ("mean_weight", trained.strengths), ("reading", trained.readings)):
        row |= {f"{kind}_{name}": value for name, value in values.items()}
    return row


def _solved_at(cell: Cell, trained: Trained, scale: float) -> list[bool]:
    """Which episodes are solved at a guidance scale; none where the commands there are not finite."""
    try:
        return _rolled_out(cell, trained, scale).solved
    except Diverged:
        return [False] * cell.episodes


def _at_scales(cell: Cell, solved: Mapping[float, Sequence[bool]]) -> Row:
    """Success at the guidance scales that the cell names beside the method's own."""
    if not solved:
        return {}
    row: Row = {"scales": {str(scale): sum(some) / cell.episodes for scale, some in solved.items()}}
    if cell.region is not None:
        row["scales_by_side"] = {str(scale): _by_side(cell, some) for scale, some in solved.items()}
    return row


def _lost(cell: Cell, reason: str, seconds: float) -> Row:
    """The row of a policy that diverged."""
    solved = [False] * cell.episodes
    row = _row(cell, solved) | _at_scales(cell, dict.fromkeys(cell.scales, solved)) | unmeasured(cell.region)
    return row | {"train_cpu_s": seconds, "evaluation_cpu_s": 0.0, "measures_cpu_s": 0.0, "diverged": reason}


def _measures(cell: Cell, trained: Trained, fresh: Frames, unseen: Tensor | None) -> Row:
    """Distances, probe and regime on fresh frames; with `unseen` on those of the unseen side too, and a path error."""
    row = evaluation.measures(trained, fresh)
    if unseen is None:
        return row
    there = evaluation.measures(trained, fresh.only(unseen), rows=256, repeats=1)
    row |= {f"unseen_{name}": value for name, value in there.items()}
    with torch.no_grad(), trained.cotrain.guided(trained.policy):
        error = evaluation.path_error(trained.policy.predict_action, fresh, GAPS[cell.gap], cell.device)
    return row | {"path_error": error}
