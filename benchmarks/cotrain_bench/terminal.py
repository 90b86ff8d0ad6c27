"""What the person watching sees: progress bars on standard error, silent when nobody watches; how a command ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rich.box
import rich.table
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cotrain_losses.cli import missing
from cotrain_losses.cli.report import Table

from .results import CannotContinue, check_folder

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


@contextmanager
def cli_errors(out: Path) -> Iterator[None]:
    """Ends a command with one sentence where somebody can do something about it, and with a traceback elsewhere.

    Ends it at once where nothing can be written to `out`.
    """
    try:
        check_folder(out)
        yield
    except ModuleNotFoundError as error:
        _end(missing(error), 1)
    except CannotContinue as error:
        _end(str(error), 1)
    except KeyboardInterrupt:
        _end(f"Interrupted. Finished cells are kept in {out}: the same command continues from them.", 130)


def _end(sentence: str, code: int) -> None:
    typer.echo(sentence, err=True)
    raise typer.Exit(code)
