"""`cotrain bench`: every benchmark is one command that writes results.json, results.csv, figures and report.html."""

from __future__ import annotations

import typer

from .estimators.study import estimators
from .overhead import overhead
from .peers.command import peers
from .sim2sim.command import sim2sim
from .special_cases.command import special_cases
from .toy.command import toy

bench = typer.Typer(
    name="bench",
    help="Run a benchmark: one command, one folder of results, one page to read. Interrupted, it continues.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
for command in (sim2sim, toy, special_cases, peers, overhead, estimators):
    bench.command()(command)
