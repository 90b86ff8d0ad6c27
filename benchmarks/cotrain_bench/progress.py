"""Progress bars with the time that is left, on standard error; silent when nobody watches."""

from __future__ import annotations

import rich.box
import rich.table
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cotrain_losses.cli.report import Table

console = Console(stderr=True)


def progress() -> Progress:
    """A set of bars, to be used as a context:

    with progress() as bars:
        for item in bars.track(items, description="cells"):
            ...
    """
    return Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]left[/dim]"),
        TimeRemainingColumn(),
        console=console,
    )


def say(sentence: str) -> None:
    """One line to the person watching, without disturbing the bars."""
    console.print(sentence, highlight=False, soft_wrap=True)


def show_table(table: Table) -> None:
    """A report's table on the terminal."""
    shown = rich.table.Table(*table.columns, box=rich.box.SIMPLE_HEAD)
    for row in table.cells:
        shown.add_row(*(text for text, _ in row))
    Console().print(shown)
