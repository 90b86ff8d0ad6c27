"""Transfer where policies see: which cells, and the rule that finds where there is room.

    image-transfer-pilot   plain co-training alone: three tasks, a look, turned cameras, both; half coverage
    image-transfer         one gap a task, by the rule; ARMS are compared there
    image-held-out-pilot   plain co-training alone, on tasks that no policy has seen; turned cameras
    image-held-out         the one that the rule takes; plain and the recipe on fresh pairs

docs/images.md has the protocol, committed before the cells of each were computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from statistics import fmean
from typing import NamedTuple

from cotrain_losses.cli.report import Table

from ..cell import Cell
from ..image_cell import AUGMENTED, ImageCell
from . import recipe
from .findings import Result, select
from .transfer import EVERYWHERE

BASE = ImageCell(gap="none", target_demos=8, source_demos=100, coverage="half")
TASKS = ("button-press", "coffee-pull", "pick-place")  # in the order of how large their objects are in a picture
CEILING = ("none", "")  # cameras, look
GAPS = (("none", "other"), ("camera-40", ""), ("camera-40", "other"))
TURNED = ("camera-40", "")
SEEDS, HELD_OUT_SEEDS = range(170, 174), range(174, 180)  # each covers both sides of the table alike
SOLVED, LEARNED = 0.7, 0.8  # the least success on the seen side, and on the unseen side without a gap
HALF = 0.5
PLACES, HELD_OUT_PLACES = {"button-press": TURNED, "coffee-pull": TURNED}, {"hammer": TURNED}
"""task -> cameras and look, by `chosen`, from docs/studies/image-transfer-pilot and image-held-out-pilot"""


class Pilot(NamedTuple):
    """Plain co-training on tasks without a gap and under every gap, seed by seed: where is there room?"""

    tasks: Sequence[str]
    gaps: Sequence[tuple[str, str]]
    seeds: Sequence[int]

    def cells(self) -> list[ImageCell]:
        return [
            _placed(BASE, task, place, seed)
            for seed, task, place in product(self.seeds, self.tasks, (CEILING, *self.gaps))
        ]


PILOT = Pilot(TASKS, GAPS, (900, 901))
HELD_OUT = Pilot(("hammer", "box-close", "assembly"), (TURNED,), (902,))
"""of the tasks of the recipe's test that no study of pictures has, one after the other until the rule takes one"""
_FROZEN = replace(BASE, frozen=True, policy="flow")
_FRAMES = {"mmd": 0.3, "path_head": 1.0, "path_mmd": 1.0}  # method -> strength, with target frames from everywhere


def _with_frames(cell: ImageCell, method: str) -> ImageCell:
    return replace(cell, method=method, strength=_FRAMES[method], unlabelled=EVERYWHERE)


ARMS = {
    "plain": BASE,
    "colours and crops": replace(BASE, policy=AUGMENTED),
    "MMD and path head": _with_frames(BASE, "path_mmd"),
    "cameras randomised": replace(BASE, method="cameras", strength=1.25),
    "plain, frozen": _FROZEN,
    "MMD, frozen": _with_frames(_FROZEN, "mmd"),
    "path head, frozen": _with_frames(_FROZEN, "path_head"),
    "MMD and path head, frozen": _with_frames(_FROZEN, "path_mmd"),
}
"""image policies, then state-based policies of frozen features"""
HELD_OUT_ARMS = ("plain", "MMD and path head")
RULE = (
    f"Of a task that is learned without a gap (unseen side {LEARNED:g} or more): of its gaps whose seen side is solved "
    f"to {SOLVED:g}, the one whose unseen side is nearest to {HALF:g} of it, if that is at most {LEARNED:g}."
)


def test() -> list[ImageCell]:
    """Every arm at the place of each task."""
    return _drawn(PLACES, SEEDS)


def held_out() -> list[ImageCell]:
    """Plain co-training and the recipe on the task that the pilot took."""
    return _drawn(HELD_OUT_PLACES, HELD_OUT_SEEDS)


def _drawn(places: Mapping[str, tuple[str, str]], seeds: Sequence[int]) -> list[ImageCell]:
    """The arms at the place of each task, a draw after the other."""
    return [
        _placed(arm, task, place, seed)
        for seed in seeds
        for task, place in places.items()
        for arm in arms(task, place[0]).values()
    ]


def _placed(cell: ImageCell, task: str, place: tuple[str, str], seed: int) -> ImageCell:
    """A cell on a task, under cameras and a look; the recipe's test says what half of its tasks is covered by."""
    coverage = recipe.TASKS.get(task, cell.coverage)
    return replace(cell, task=task, coverage=coverage, gap=place[0], look=place[1], seed=seed)


def arms(task: str, gap: str) -> dict[str, ImageCell]:
    """What is compared on a task under a gap: cameras are drawn where they turn."""
    named = HELD_OUT_ARMS if task in HELD_OUT.tasks else ARMS
    return {name: ARMS[name] for name in named if ARMS[name].method != "cameras" or gap != "none"}


def arm_of(cell: Cell) -> str:
    """The arm that a cell of the study is of."""
    where = {name: getattr(BASE, name) for name in ("task", "coverage", "gap", "look", "seed")}
    return next(name for name, arm in ARMS.items() if arm == replace(cell, **where))


def chosen(results: Sequence[Result], of: Pilot = PILOT) -> dict[str, tuple[str, str] | None]:
    """task -> the cameras and the look that the rule takes; None where none has room, or a pilot cell is missing."""
    return {task: _chosen(of, task, results) for task in of.tasks}


def room(results: Sequence[Result], of: Pilot = PILOT) -> Table:
    """Plain co-training's success on both sides, and what the rule takes."""
    taken, lines = chosen(results, of), list[list[object]]()
    for task, place in product(of.tasks, (CEILING, *of.gaps)):
        if (found := _at(of, task, place, results)) is not None:
            lines.append([task, place[0], place[1] or "the source's", *found, "yes" * (taken[task] == place)])
    return Table(["task", "cameras", "look", "seen", "unseen", "taken"], lines, RULE)


def _chosen(of: Pilot, task: str, results: Sequence[Result]) -> tuple[str, str] | None:
    found = {place: _at(of, task, place, results) for place in (CEILING, *of.gaps)}
    sides = {place: both for place, both in found.items() if both is not None}
    if len(sides) < len(found) or sides.pop(CEILING)[1] < LEARNED:
        return None
    fit = {place: abs(unseen - HALF * seen) for place, (seen, unseen) in sides.items() if seen >= SOLVED}
    fit = {place: distance for place, distance in fit.items() if sides[place][1] <= LEARNED}
    return min(fit, key=lambda place: fit[place]) if fit else None


def _at(of: Pilot, task: str, place: tuple[str, str], results: Sequence[Result]) -> tuple[float, float] | None:
    """Mean success on both sides at a place; None while one of the pilot's seeds is missing."""
    rows = [row for _, row in select(results, task=task, gap=place[0], look=place[1])]
    whole = {row["seed"] for row in rows} == {*of.seeds}
    return (fmean(row["seen"] for row in rows), fmean(row["unseen"] for row in rows)) if whole else None
