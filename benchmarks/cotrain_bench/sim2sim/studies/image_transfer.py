"""Transfer where policies see: which cells, and the rule that finds where there is room.

    image-transfer-pilot   plain co-training alone: three tasks, a look, turned cameras, both; half coverage
    image-transfer         one gap a task, by the rule; ARMS are compared there

docs/images.md has the protocol, committed before the cells of each were computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from statistics import fmean

from cotrain_losses.cli.report import Table

from ..cell import Cell
from ..image_cell import AUGMENTED, ImageCell
from .findings import Result, select
from .transfer import EVERYWHERE

BASE = ImageCell(gap="none", target_demos=8, source_demos=100, coverage="half")
TASKS = ("button-press", "coffee-pull", "pick-place")  # in the order of how large their objects are in a picture
CEILING = ("none", "")  # cameras, look
GAPS = (("none", "other"), ("camera-40", ""), ("camera-40", "other"))
PILOT_SEEDS, SEEDS = (900, 901), range(170, 174)  # each covers both sides of the table alike
SOLVED, LEARNED = 0.7, 0.8  # the least success on the seen side, and on the unseen side without a gap
HALF = 0.5
PLACES = {"button-press": ("camera-40", ""), "coffee-pull": ("camera-40", "")}
"""task -> cameras and look, by `chosen`, from docs/studies/image-transfer-pilot"""
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
RULE = (
    f"Of a task that is learned without a gap (unseen side {LEARNED:g} or more): of its gaps whose seen side is solved "
    f"to {SOLVED:g}, the one whose unseen side is nearest to {HALF:g} of it, if that is at most {LEARNED:g}."
)


def pilot() -> list[ImageCell]:
    """Plain co-training on every task without a gap, which is a ceiling, and under every gap; seed by seed."""
    return [
        replace(BASE, task=task, gap=gap, look=look, seed=seed)
        for seed, task, (gap, look) in product(PILOT_SEEDS, TASKS, (CEILING, *GAPS))
    ]


def test() -> list[ImageCell]:
    """Every arm at the place of each task, a draw after the other."""
    return [
        replace(arm, task=task, gap=gap, look=look, seed=seed)
        for seed in SEEDS
        for task, (gap, look) in PLACES.items()
        for arm in arms(gap).values()
    ]


def arms(gap: str) -> dict[str, ImageCell]:
    """What is compared under a gap: cameras are drawn where they turn."""
    return {name: arm for name, arm in ARMS.items() if arm.method != "cameras" or gap != "none"}


def arm_of(cell: Cell) -> str:
    """The arm that a cell of the study is of."""
    where = {name: getattr(BASE, name) for name in ("task", "gap", "look", "seed")}
    return next(name for name, arm in ARMS.items() if arm == replace(cell, **where))


def chosen(results: Sequence[Result]) -> dict[str, tuple[str, str] | None]:
    """task -> the cameras and the look that the rule takes; None where none has room, or a pilot cell is missing."""
    return {task: _chosen([r for r in results if r[0].task == task]) for task in TASKS}


def room(results: Sequence[Result]) -> Table:
    """Plain co-training's success on both sides, and what the rule takes."""
    taken, lines = chosen(results), list[list[object]]()
    for task, place in product(TASKS, (CEILING, *GAPS)):
        if (found := _at([r for r in results if r[0].task == task], place)) is not None:
            lines.append([task, place[0], place[1] or "the source's", *found, "yes" * (taken[task] == place)])
    return Table(["task", "cameras", "look", "seen", "unseen", "taken"], lines, RULE)


def _chosen(results: Sequence[Result]) -> tuple[str, str] | None:
    found = {place: _at(results, place) for place in (CEILING, *GAPS)}
    sides = {place: both for place, both in found.items() if both is not None}
    if len(sides) < len(found) or sides.pop(CEILING)[1] < LEARNED:
        return None
    fit = {place: abs(unseen - HALF * seen) for place, (seen, unseen) in sides.items() if seen >= SOLVED}
    fit = {place: distance for place, distance in fit.items() if sides[place][1] <= LEARNED}
    return min(fit, key=lambda place: fit[place]) if fit else None


def _at(results: Sequence[Result], place: tuple[str, str]) -> tuple[float, float] | None:
    """Mean success on both sides at a place; None while a pilot seed is missing."""
    rows = [row for _, row in select(results, gap=place[0], look=place[1])]
    whole = {row["seed"] for row in rows} == {*PILOT_SEEDS}
    return (fmean(row["seen"] for row in rows), fmean(row["unseen"] for row in rows)) if whole else None
