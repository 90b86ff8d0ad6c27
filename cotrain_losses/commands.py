"""What `cotrain` can do: each command reads its options and calls one function."""

from __future__ import annotations

import typer

from .advise.command import advise
from .benchmarks.commands import bench
from .diagnose import diagnose

app = typer.Typer(
    name="cotrain",
    help="Co-train robot policies on two domains: what to choose, what it does, and what it has done.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
)
app.command()(advise)
app.command()(diagnose)
app.add_typer(bench, name="bench")
