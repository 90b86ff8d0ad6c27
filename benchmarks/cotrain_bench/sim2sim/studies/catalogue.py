"""Every study: its entry in STUDIES is all that adds one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias

from cotrain_losses.cli.report import Table

from .. import image_cell
from ..cell import Cell
from . import claims, confirm, effects, image_effects, image_transfer, plans, recipe, sides, tables, transfer
from .findings import Claim, Finding, Result, judged
from .plans import Size

Picture: TypeAlias = Literal[  # of `pictures`
    "by_method",
    "over_ratio",
    "over_scale",
    "scatter",
    "latents",
    "by_side",
    "by_strength",
    "over_angle",
    "over_path_error",
    "by_task",
]
TableOf: TypeAlias = "tuple[str, Callable[[Sequence[Result]], Table]]"  # a heading and the table under it
AGAINST_PLAIN: TableOf = ("Against plain co-training", tables.differences)
COMPARED: Sequence[TableOf] = (AGAINST_PLAIN, ("Published", lambda _: tables.published_methods()))
CORRELATED: Sequence[TableOf] = (("Correlations", tables.correlations),)
BOXES: Sequence[Picture] = ("by_method", "latents")
SIDES: TableOf = ("Seen and unseen", sides.success)


@dataclass(frozen=True)
class Study:
    """A question to many cells, fixed before any of them is computed."""

    question: str
    cells: Callable[[Size], list[Cell]]
    pictures: Sequence[Picture]
    claims: Sequence[Claim] = ()
    tables: Sequence[TableOf] = ()  # beside the success of every method
    only: str | None = None  # the one preset of a study that has no other

    def findings(self, results: Sequence[Result]) -> list[Finding]:
        return judged(self.claims, results)


def once(question: str, cells: Callable[[], Sequence[Cell]], pictures: Sequence[Picture], **how: Any) -> Study:
    """A study whose cells are the same at every size, but for a policy that they leave open; it has one preset."""

    def of_policy(size: Size) -> list[Cell]:
        return [replace(cell, policy=size.base.policy) if cell.policy == Cell.policy else cell for cell in cells()]

    return replace(Study(question, of_policy, pictures, only="overnight"), **how)


def _image(_: Size) -> list[Cell]:
    """Its cells are the same at every size: they were written down as a whole."""
    return list(image_cell.study())


def _image_pilot(_: Size) -> list[Cell]:
    """Two of its methods on one pair that it does not use."""
    return [image_cell.ImageCell(method=method, seed=900) for method in ("cotraining", "real_only")]


def _piloted(question: str, pilot: image_transfer.Pilot) -> Study:
    """Where is there room in pictures?"""
    return once(question, pilot.cells, ("by_side",), tables=(SIDES, ("Room", partial(image_transfer.room, of=pilot))))


def _seen(question: str, cells: Callable[[], Sequence[Cell]], claims: Sequence[Claim]) -> Study:
    """Arms against plain co-training in pictures."""
    found = (("Against plain", image_effects.compared), ("Seen and unseen", image_effects.success))
    asked = f"Where policies see and the target has no demonstrations: {question}"
    return once(asked, cells, ("by_side", "latents"), claims=claims, tables=found)


_METHODS = Study("Which method is best, gap by gap?", plans.methods, BOXES, claims.METHOD_CLAIMS, COMPARED)

STUDIES: dict[str, Study] = {
    "methods": _METHODS,
    "ratios": Study("Which mixing ratio is best?", plans.ratios, ("over_ratio", "latents"), (claims.BALANCED_RATIOS,)),
    "correlation": Study(
        "Does alignment go with success?", plans.correlation, ("scatter",), (claims.DISTANCE_BY_GAP,), CORRELATED
    ),
    "regimes": Study(
        "What do an adversary's strength and the regime do?",
        plans.regimes,
        ("by_method", "scatter", "latents"),
        (claims.DISTANCE_BY_REGIME,),
        (AGAINST_PLAIN,),
    ),
    "guidance": Study("Which guidance scale is best?", plans.guidance, ("over_scale",), (claims.HALF_GUIDANCE,)),
    "label": Study("Where does knowing the domain help?", plans.label, BOXES, claims.LABEL_CLAIMS, (AGAINST_PLAIN,)),
    "image": replace(_METHODS, question="Which method is best where policies see?", cells=_image, only="overnight"),
    "image-pilot": Study("Has the image study room?", _image_pilot, ("by_method",), only="overnight"),
    "image-transfer-pilot": _piloted(
        "Where policies see and the target has no demonstrations: which tasks and gaps have room?",
        image_transfer.PILOT,
    ),
    "image-transfer": _seen("what helps?", image_transfer.test, image_effects.CLAIMS),
    "image-held-out-pilot": _piloted(
        "Which task that no policy has seen in pictures has room under turned cameras?", image_transfer.HELD_OUT
    ),
    "image-held-out": _seen(
        "does the recipe help on a task held out?", image_transfer.held_out, image_effects.CLAIMS[:1]
    ),
    "balance-calibration": once(
        "How many demonstrations leave plain co-training room on both sides?", plans.calibration, ("by_method",)
    ),
    "balance-development": once(
        "Which settings of the recipe, and of plain co-training, are best on pick-place?",
        plans.development,
        ("by_method",),
        tables=(("Trials", tables.trials),),
    ),
    "balance": once(
        "Does the recipe help, or do harm, on tasks it was not developed on?",
        plans.test,
        BOXES,
        claims=claims.RECIPE_CLAIMS,
    ),
    "stability": once(
        "Does an adversary collapse a policy?",
        plans.stability,
        ("by_method",),
        tables=(("Collapses", tables.collapses),),
    ),
    "transfer-angle": once(
        "At which turn of the cameras does plain co-training leave room where the target has no demonstrations?",
        transfer.angle,
        ("over_angle",),
        tables=(SIDES, ("The angle", transfer.rule)),
    ),
    "transfer-screen": once(
        "What helps where the target has no demonstrations? A screen on development seeds, which claims nothing",
        transfer.screen,
        ("by_strength", "by_side"),
        tables=(SIDES, ("Best of each method", sides.best)),
    ),
    "transfer": once(
        "Where the target has no demonstrations: when does plain co-training transfer, and what helps?",
        transfer.transfer,
        ("over_angle", "scatter", "latents"),
        tables=(
            ("Against plain co-training", sides.differences),
            SIDES,
            ("Regimes", sides.regimes),
            ("Correlations on the unseen side", sides.correlations),
        ),
    ),
    "recipe-development": once(
        "Which settings of each arm, and of a recipe that joins what helped, are best on pick-place?",
        recipe.development,
        ("over_path_error",),
        tables=(("Trials", recipe.trials), ("The size of the test", recipe.size)),
    ),
    "recipe-angle": once(
        "At which turn of the cameras has each test task room where the target has no demonstrations?",
        recipe.angles,
        ("over_angle",),
        tables=(("The angles", recipe.rooms),),
    ),
    "recipe": once(
        "Where the target has no demonstrations: is the recipe better than others on tasks it was not developed on?",
        confirm.test,
        ("by_task", "latents"),
        claims=effects.CLAIMS,
        tables=(
            ("Ours minus the others", effects.compared),
            ("Task by task", effects.by_task),
            ("Seen and unseen", effects.success),
        ),
    ),
    "recipe-harm": once(
        "Does the recipe harm where the target has demonstrations everywhere?",
        confirm.harm,
        ("by_method",),
        claims=effects.HARMLESS,
    ),
}
