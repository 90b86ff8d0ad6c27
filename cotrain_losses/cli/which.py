"""`cotrain which`: the methods that this project's studies support, gap by gap, from `cotrain advise`'s data file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from .advise.recommend import evidence
from .report import Table, as_markdown, print_table

HEADS = ("gap", "what to do", "by how much [95 %]", "target data", "target frames without actions", "from")


def which(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
) -> None:
    """Say what the studies of this project support, gap by gap: which method, and by how much.

    A difference is one of success in the target domain, over pairs of demonstrations and training seeds. A factor is
    one on the toy's loss. "Not measured" means that no study asks. `cotrain advise` looks at your data first.
    """
    table = choices_table(evidence()["choices"])
    if markdown:
        print(as_markdown(table))
    else:
        print_table(table, title="Which method should I take?")


def choices_table(choices: Sequence[Mapping[str, Any]]) -> Table:
    """One line an entry."""
    lines = [
        [c["gap"], f"{c['do']} ({c['against']})", amount(c), c["target data"], c["unlabelled"], c["from"]]
        for c in choices
    ]
    return Table(HEADS, lines)


def amount(choice: Mapping[str, Any]) -> str:
    """An entry's difference or factor with its interval, the number of pairs, and what that comes to."""
    if "measured" not in choice:
        return "not measured"
    found = choice["measured"]
    if "factor" in found:
        said = "better" if found["high"] < 1 else "worse" if found["low"] > 1 else "no difference shown"
        span = f"[{found['low']:.2g}, {found['high']:.2g}]"
        return f"loss x {found['factor']:.2g} {span}, {found['pairs']:g} seeds: {said}"
    span = f"[{found['low']:.2f}, {found['high']:.2f}]"
    said = "better" if found["low"] > 0 else "worse" if found["high"] < 0 else "no difference shown"
    return f"{found['difference']:+.2f} {span}, {found['pairs']:g} pairs: {said}"
