"""Tables of where the target has demonstrations and where it has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from cotrain_losses.cli.report import Table

from ...paired import Contrast, contrast, holm, mean_interval
from ..cell import Cell
from ..methods import METHODS
from .claims import related
from .findings import Result, distinct, select
from .plans import place, title
from .tables import interval

SIDES = ("seen", "unseen")


class OnSides(NamedTuple):
    """One policy's success on the side of the table with target demonstrations, and on the other."""

    cell: Cell
    seen: float
    unseen: float


def arms(results: Sequence[Result]) -> dict[tuple[str, str], list[OnSides]]:
    """(gap and task, arm) -> (cell, seen, unseen) of every pair; a guided method is an arm at each of its scales."""
    policies: dict[tuple[str, str], list[OnSides]] = {}
    for cell, row in results:
        guided = {f"{title(cell)}, scale {scale}": by for scale, by in row.get("scales_by_side", {}).items()}
        for name, by in {title(cell): row, **guided}.items():
            policies.setdefault((place(cell), name), []).append(OnSides(cell, by["seen"], by["unseen"]))
    return policies


def success(results: Sequence[Result]) -> Table:
    """Success where the target has demonstrations, and where it has none."""
    lines = []
    for (gap, name), some in arms(results).items():
        seen, unseen = [each.seen for each in some], [each.unseen for each in some]
        spread = " ".join(f"{value:.2f}" for value in unseen)
        lines.append([gap, name, len(some), _mean(seen), _mean(unseen), *mean_interval(unseen), spread])
    return Table(
        ["gap", "method", "pairs", "seen", "unseen", "low", "high", "unseen, each pair"],
        lines,
        "Seen: episodes that start on the side of the table where half coverage has target demonstrations; unseen: the "
        "other side; as many of each. Low and high: 95 % bootstrap over pairs of the unseen side, too narrow with few.",
    )


def differences(results: Sequence[Result]) -> Table:
    """Each arm minus plain co-training under half coverage, of the same angle and pair, on both sides."""
    every, plain = arms(results), METHODS["cotraining"].title
    bases = {(gap, each.cell.seed): each for (gap, name), some in every.items() if name == plain for each in some}
    kept: dict[tuple[str, str], tuple[Contrast, ...]] = {}
    for (gap, name), some in every.items():
        pairs = [(each, bases[gap, each.cell.seed]) for each in some if (gap, each.cell.seed) in bases]
        if name != plain and len(pairs) > 1:
            kept[gap, name] = tuple(_minus(pairs, side) for side in SIDES)
    lines: list[list[object]] = []
    for gap in dict.fromkeys(gap for gap, _ in kept):
        of_gap = {name: both for (where, name), both in kept.items() if where == gap}
        adjusted = holm([unseen.p for _, unseen in of_gap.values()])
        for (name, (seen, unseen)), p in zip(of_gap.items(), adjusted, strict=True):
            lines.append([gap, name, unseen.pairs, *map(_difference, (seen, unseen)), unseen.p, p])
    return Table(
        ["gap", "method", "pairs", "seen", "unseen", "p, unseen", "p (Holm)"],
        lines,
        "Minus plain co-training, with 95 % t intervals over pairs. The tests are of the unseen side; Holm over the "
        "lines of a gap. Whole coverage is as many target demonstrations, from everywhere.",
    )


def best(results: Sequence[Result]) -> Table:
    """Each method at the strength that is best on the seen side, which a user can know, and on the unseen side."""
    every = arms(results)
    whole = max(map(len, every.values()), default=0)
    families: dict[tuple[str, bool], list[tuple[str, float, float]]] = {}
    for (_, name), some in every.items():
        cell = some[0].cell
        if len(some) == whole and cell.coverage == "half" and cell.gap != "none":
            arm = name, _mean([each.seen for each in some]), _mean([each.unseen for each in some])
            family = title(replace(cell, strength=None, unlabelled=0))
            families.setdefault((family, cell.unlabelled > 0), []).append(arm)
    lines: list[list[object]] = []
    for (family, everywhere), tried in families.items():
        known, oracle = max(tried, key=lambda arm: arm[1]), max(tried, key=lambda arm: arm[2])
        lines.append([family, everywhere, len(tried), *known, oracle[0], oracle[2]])
    columns = ["method", "frames everywhere", "arms", "best on the seen side", "seen", "unseen", "oracle", "its unseen"]
    note = f"Arms with {whole} pairs only. The oracle is chosen by what no user has, unseen rollouts."
    return Table(columns, lines, note)


def regimes(results: Sequence[Result]) -> Table:
    """The regime that the rule of `cotrain diagnose` reads on frames of the unseen side, arm by arm."""
    lines = []
    for gap, name in arms(results):
        rows = [row for cell, row in results if (place(cell), title(cell)) == (gap, name)]
        names = [row["unseen_regime"] for row in rows]
        counts = ", ".join(f"{names.count(regime)} {regime}" for regime in dict.fromkeys(names))
        probes = [row["unseen_probe_accuracy"] for row in rows if row["unseen_probe_accuracy"] is not None]
        lines.append([gap, name, counts, _mean(probes) if probes else None])
    return Table(["gap", "method", "regimes on the unseen side", "probe accuracy there"], lines)


def correlations(results: Sequence[Result]) -> Table:
    """Whether success on the unseen side follows alignment and discernibility there, over all gaps and in each."""
    at = [(c, {**row, "success": row["unseen"]}) for c, row in results if c.coverage == "half"]
    lines: list[list[object]] = []
    for of, gap in product(("unseen_log_wasserstein", "unseen_probe_accuracy"), ("all", *distinct(at, "gap"))):
        some = at if gap == "all" else select(at, gap=gap)
        if (found := related(some, of=of)) is not None:
            lines.append([of.removeprefix("unseen_"), gap, found.cells, interval(found)])
    columns = ["measure, unseen side", "gap", "cells", "Pearson with unseen success, 95 %"]
    return Table(columns, lines, "Half coverage, all arms; intervals draw whole pairs anew.")


def _minus(pairs: Sequence[tuple[OnSides, OnSides]], side: str) -> Contrast:
    """The difference of one side's success over pairs."""
    sides = ([on_side(getattr(each, side), each.cell.episodes) for each in pair] for pair in pairs)
    return contrast([[(1.0, one), (-1.0, other)] for one, other in sides])


def on_side(success: float, episodes: int) -> dict[str, float]:
    """The row of a side's success; it has half of a policy's episodes."""
    return {"success": success, "successes": round(success * (episodes // 2)), "episodes": episodes // 2}


def _difference(of: Contrast) -> str:
    return f"{of.mean:+.2f} [{of.low:+.2f}, {of.high:+.2f}]"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
