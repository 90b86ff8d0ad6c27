"""How a command ends: with a result, or with one sentence for the person who started it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from cotrain_losses.cli import missing

from .results import CannotContinue


@contextmanager
def cli_errors(out: Path) -> Iterator[None]:
    """Ends a command with one sentence where somebody can do something about it, and with a traceback elsewhere."""
    try:
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
