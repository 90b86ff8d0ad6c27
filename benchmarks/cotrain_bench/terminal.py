"""How a command ends, and its tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rich.box
import rich.table
import typer
from rich.console import Console

from cotrain_losses.cli import missing
from cotrain_losses.cli.report import Table

from .results import CannotContinue, check_folder


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
