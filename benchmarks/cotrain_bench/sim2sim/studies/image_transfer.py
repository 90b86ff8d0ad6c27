"""Transfer where policies see: which cells, and the rule that finds where there is room.

    image-transfer-pilot   plain co-training alone: three tasks, a look, turned cameras, both; half coverage
    image-transfer         where the pilot finds room: augmentation, drawn cameras, terms on frames without actions

docs/images.md has the protocol, committed before the cells of each were computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cotrain_losses.cli.report import Table

from ..image_cell import AUGMENTED, ImageCell
from .findings import Result
from .transfer import EVERYWHERE

BASE = ImageCell(gap="none", target_demos=8, source_demos=100, coverage="half")
TASKS = ("button-press", "coffee-pull", "pick-place")  # in the order of how large their objects are in a picture
GAPS = (("none", "other"), ("camera-40", ""), ("camera-40", "other"))  # cameras, look
PILOT_SEED = 900
SOLVED, ROOM = 0.7, 0.8  # the least success on the seen side, and the most on the unseen side
RULE = f"Of a task under a gap: the seen side is solved to {SOLVED:g}, and the unseen side to at most {ROOM:g}."


def pilot() -> list[ImageCell]:
    """Plain co-training on every task under every gap, an easy one first; and without a gap, which is a ceiling."""
    return [
        replace(BASE, task=task, gap=gap, look=look, seed=PILOT_SEED)
        for task in TASKS
        for gap, look in (("none", ""), *GAPS)
    ]


def arms(gap: str) -> list[ImageCell]:
    """What is compared under a gap: plain first, those that learn to see, then those of a frozen network."""
    drawn = [replace(BASE, method="cameras", strength=1.25)] if gap != "none" else []
    frozen = replace(BASE, frozen=True, policy="flow")
    return [
        *(BASE, replace(BASE, policy=AUGMENTED), *drawn, *_with_frames(BASE)),
        *(frozen, *_with_frames(frozen), replace(BASE, coverage="whole")),
    ]


def _with_frames(cell: ImageCell) -> list[ImageCell]:
    """MMD, the path head and both, each at the strength that was best on keypoints, with frames without actions."""
    terms = (("mmd", 0.3), ("path_head", 1.0), ("path_mmd", 1.0))
    return [replace(cell, method=method, strength=s, unlabelled=EVERYWHERE) for method, s in terms]


def room(results: Sequence[Result]) -> Table:
    """Plain co-training's success on both sides, and where the rule finds room."""
    lines: list[list[object]] = []
    for cell, row in results:
        assert isinstance(cell, ImageCell)
        found = has_room(row["seen"], row["unseen"]) and bool(cell.look or cell.gap != "none")
        lines.append([cell.task, cell.gap, cell.look or "the source's", row["seen"], row["unseen"], "yes" * found])
    return Table(["task", "cameras", "look", "seen", "unseen", "room"], lines, RULE)


def has_room(seen: float, unseen: float) -> bool:
    """Whether another method could be shown to do better on the unseen side of a task that plain co-training learns."""
    return seen >= SOLVED and unseen <= ROOM
