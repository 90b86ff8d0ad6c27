"""Every study: its entry in STUDIES is all that adds one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cotrain_losses.cli.report import Table

from ..cell import Cell
from . import balance, claims, plans, tables
from .findings import Claim, Finding, Result, judged
from .plans import Size, fixed

Picture: TypeAlias = Literal["by_method", "over_ratio", "over_scale", "scatter", "latents"]
"""a function of `pictures`, by name: that module loads matplotlib"""

TableOf: TypeAlias = "tuple[str, Callable[[Sequence[Result]], Table]]"  # a heading and the table under it
AGAINST_PLAIN: TableOf = ("Against plain co-training", tables.differences)
PUBLISHED: TableOf = ("Published", lambda _: tables.published_methods())


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
        """The verdicts."""
        return judged(self.claims, results)


STUDIES: dict[str, Study] = {
    "methods": Study(
        "Which method is best, gap by gap?",
        plans.methods,
        ("by_method", "latents"),
        claims.METHOD_CLAIMS,
        (AGAINST_PLAIN, PUBLISHED),
    ),
    "ratios": Study("Which mixing ratio is best?", plans.ratios, ("over_ratio", "latents"), (claims.BALANCED_RATIOS,)),
    "correlation": Study(
        "Does alignment go with success?",
        plans.correlation,
        ("scatter",),
        (claims.DISTANCE_BY_GAP,),
        (("Correlations", tables.correlations),),
    ),
    "regimes": Study(
        "What do an adversary's strength and the regime do?",
        plans.regimes,
        ("by_method", "scatter", "latents"),
        (claims.DISTANCE_BY_REGIME,),
        (AGAINST_PLAIN,),
    ),
    "guidance": Study("Which guidance scale is best?", plans.guidance, ("over_scale",), (claims.HALF_GUIDANCE,)),
    "label": Study(
        "Where does knowing the domain help?",
        plans.label,
        ("by_method", "latents"),
        claims.LABEL_CLAIMS,
        (AGAINST_PLAIN,),
    ),
    "image": Study(
        "Which method is best where policies see?",
        plans.image,
        ("by_method", "latents"),
        claims.METHOD_CLAIMS,
        (AGAINST_PLAIN, PUBLISHED),
        only="overnight",
    ),
    "balance-calibration": Study(
        "How many demonstrations leave plain co-training room on both sides?",
        fixed(balance.calibration),
        ("by_method",),
        only="overnight",
    ),
    "balance-development": Study(
        "Which settings of the recipe, and of plain co-training, are best on pick-place?",
        fixed(balance.development),
        ("by_method",),
        tables=(("Trials", tables.trials),),
        only="overnight",
    ),
    "balance": Study(
        "Does the recipe help, or do harm, on tasks it was not developed on?",
        fixed(balance.test),
        ("by_method", "latents"),
        claims.RECIPE_CLAIMS,
        only="overnight",
    ),
    "stability": Study(
        "Does an adversary collapse a policy?",
        fixed(balance.stability),
        ("by_method",),
        tables=(("Collapses", tables.collapses),),
        only="overnight",
    ),
}
