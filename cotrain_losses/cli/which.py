"""`cotrain which`: the methods that this project's studies support, gap by gap, from `cotrain advise`'s data file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from .advise.recommend import evidence
from .report import Table, as_markdown, print_table

HEADS = ("gap", "what to do", "result", "by how much [95 %]", "target data", "from")
ABOUT = (
    "Gaps: visual, another camera; control, commands in another frame, which no observation shows; physics; hard, all "
    "three; camera-25, cameras turned by 25 degrees, and so on. A difference is one of success in the target domain, "
    "over pairs (a draw of demonstrations with a training seed); a factor is one on the toy's loss, over seeds. The "
    "study behind each line: docs/which-method.md."
)


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
        rows = [[text.replace("`", "") for text in row[:-1]] for row in table.rows]
        print_table(Table(HEADS[:-1], rows, ABOUT), title="Which method should I take?")


def choices_table(choices: Sequence[Mapping[str, Any]]) -> Table:
    """One line an entry."""
    lines = [
        [c["gap"], f"{c['do']} ({c['against']})", result(c), amount(c), _target_data(c), c["from"]] for c in choices
    ]
    return Table(HEADS, lines)


def result(choice: Mapping[str, Any]) -> str:
    """What an entry's interval shows: better, worse, or no difference."""
    if "measured" not in choice:
        return "not measured"
    found = choice["measured"]
    equal = 1 if "factor" in found else 0
    above, below = ("worse", "better") if equal else ("better", "worse")
    return above if found["low"] > equal else below if found["high"] < equal else "no difference shown"


def amount(choice: Mapping[str, Any]) -> str:
    """An entry's difference or factor with its interval, and the number of pairs."""
    if "measured" not in choice:
        return "-"
    found = choice["measured"]
    if "factor" in found:
        span = f"[{found['low']:.2g}, {found['high']:.2g}]"
        return f"loss x {found['factor']:.2g} {span}, {found['pairs']:g} seeds"
    return f"{found['difference']:+.2f} [{found['low']:.2f}, {found['high']:.2f}], {found['pairs']:g} pairs"


def _target_data(choice: Mapping[str, Any]) -> str:
    """Where the target had demonstrations, and whether frames without actions were used."""
    unlabelled = choice["unlabelled"]
    return str(choice["target data"]) + ("" if unlabelled == "no" else f"; frames without actions: {unlabelled}")
