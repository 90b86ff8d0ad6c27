"""What `cotrain` can do: each command reads its options and calls one function."""

from __future__ import annotations

import typer

from .benchmarks.commands import bench

app = typer.Typer(
    name="cotrain",
    help="Co-train robot policies on two domains: what to choose, what it does, and what it has done.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
)
app.add_typer(bench, name="bench")


@app.callback()
def _group() -> None:
    """Keeps `cotrain` a group of commands however few there are."""
