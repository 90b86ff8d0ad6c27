"""Transfer: target demonstrations on one side of the table only.  Which cells, and the rules they were chosen by.

    angle     plain co-training alone: at which turn of the cameras the other side has room
    screen    every method at four strengths, in both settings of observations, on development seeds; claims nothing
    transfer  other seeds: five angles, both coverages, plain co-training, the label, and what the screen found best

docs/transfer.md has the protocol, committed before the cells of each were computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from cotrain_losses.cli.report import Table

from ..cell import Cell
from ..gaps import ANGLES
from ..methods import METHODS
from .findings import Result, select

BASE = Cell(gap="camera-40", target_demos=8, source_demos=100, coverage="half")
EVERYWHERE = 20  # target demonstrations without their actions, where they are given
ANGLE_SEEDS, TRIED_ANGLES = (901, 902), (25, 40, 55)
SCREEN_SEEDS = (100, 101, 102)
SEEDS = range(110, 118)
HALF, ROOM = 0.5, 0.7  # the unseen side's wanted success as a share of the seen side's, and the least of the latter
RULE = f"Of angles whose seen side is solved to {ROOM:g}, the one whose unseen side is nearest to {HALF:g} of that."
CHOSEN = "camera-25"  # by `rule`, from docs/studies/transfer-angle
# method, strength, target demonstrations without actions: by the rule of the page, from docs/studies/transfer-screen
FAMILIES: tuple[tuple[str, float, int], ...] = (
    ("cameras", 1.25, 0),
    ("fine_tuned", 0.2, 0),
    ("path_head", 1.0, EVERYWHERE),
    ("mmd", 0.3, EVERYWHERE),
)


def angle() -> list[Cell]:
    """Plain co-training under half coverage, at the angles that are tried."""
    return [replace(BASE, gap=f"camera-{a}", seed=seed) for seed, a in product(ANGLE_SEEDS, TRIED_ANGLES)]


def chosen(results: Sequence[Result]) -> str | None:
    """The gap that the rule takes: of those whose seen side is solved to ROOM, the one whose unseen side is nearest to
    HALF of it; the smaller of two alike.  None while one has no result."""
    best: tuple[float, str] | None = None
    for gap in (f"camera-{a}" for a in TRIED_ANGLES):
        rows = [row for _, row in select(results, gap=gap)]
        if not rows:
            return None
        seen, unseen = (sum(row[side] for row in rows) / len(rows) for side in ("seen", "unseen"))
        distance = abs(unseen - HALF * seen)
        if seen >= ROOM and (best is None or distance < best[0] - 1e-9):
            best = distance, gap
    return None if best is None else best[1]


def rule(results: Sequence[Result]) -> Table:
    """What the rule takes."""
    return Table(["taken"], [[chosen(results) or "not yet: an angle has no result"]], RULE)


def screen() -> list[Cell]:
    """Defaults first, pair by pair; then the other strengths: so that a screen that was stopped says something."""
    base = replace(BASE, gap=CHOSEN)
    others = list[Cell]()
    first = [
        *(base, replace(base, coverage="whole"), replace(base, gap="none")),
        *(replace(base, label=True), replace(base, label=True, policy="stems")),
        replace(base, method="cfg", scales=(0.25, 0.75, 1.0)),
        *(replace(base, method="normalised", unlabelled=n) for n in (0, EVERYWHERE)),
    ]
    screened = {name: method for name, method in METHODS.items() if method.screened and not method.combined}
    for name, method in screened.items():
        for n, (k, strength) in product((0, EVERYWHERE) if method.frames else (0,), enumerate(method.screened)):
            scales = (1.0,) if method.guided and method.holds_out is None else ()
            cell = replace(base, method=name, strength=strength, unlabelled=n, scales=scales)
            (others if k else first).append(cell)
    return [replace(cell, seed=seed) for some in (first, others) for seed in SCREEN_SEEDS for cell in some]


def transfer() -> list[Cell]:
    """Plain co-training and FAMILIES under half coverage, then the label and whole coverage; CHOSEN comes first."""
    families = [replace(BASE, method=method, strength=strength, unlabelled=n) for method, strength, n in FAMILIES]
    shown = replace(BASE, label=True), *(replace(BASE, coverage="whole", label=label) for label in (False, True))
    gaps = sorted((f"camera-{a}" for a in ANGLES), key=lambda gap: gap != CHOSEN)
    of_gap = [replace(arm, seed=seed) for arms in ((BASE, *families), shown) for seed in SEEDS for arm in arms]
    return [replace(cell, gap=gap) for gap in gaps for cell in of_gap]
