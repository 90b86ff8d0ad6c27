"""The run: every case and every edge over the same number of draws, as results, a Markdown page and a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from cotrain_losses.cli.progress import progress

from ..results import Row, write, write_results
from . import estimators, games, guided, kernels, sampled, step_edges, term_edges, transports, weighted  # noqa: F401
from .case import CASES, Case, shown_code, shown_expression
from .edges import EDGES, Edge

MODULES = {
    "Mixing": sampled,
    "Guidance": guided,
    "Weights": weighted,
    "Kernel means and moments": kernels,
    "Transport": transports,
    "Games with a domain classifier": games,
    "The closed form of the co-trained score": estimators,
}
FAMILIES = {
    family: [case for case in CASES if case.written.__module__ == module.__name__] for family, module in MODULES.items()
}


def run(out: str | Path, *, draws: int = 50, seed: int = 0) -> Row:
    """Measure everything and write results.json, results.csv, special-cases.md with its .png, and report.html.

    Returns what results.json holds.  About two CPU minutes for 50 draws, one thread.
    """
    import torch

    from .page import markdown, write_page

    torch.set_num_threads(1)
    tasks = list(_tasks())
    with progress() as bars:
        rows = [row | measure(draws, seed) for row, measure in bars.track(tasks, description="special cases")]
    results = write_results(out, {"benchmark": "special-cases", "draws": draws, "seed": seed}, rows)
    write(Path(out) / "special-cases.md", markdown(results).encode())
    write_page(out, results)
    return results


def _tasks() -> Iterator[tuple[Row, Callable[[int, int], Row]]]:
    for family, cases in FAMILIES.items():
        for case in cases:
            yield _described(family, case), partial(_measured, case)
    for edge in EDGES:
        row: Row = {"kind": "edge", "name": f"{edge.start} -> {edge.end}: {edge.setting}", "start": edge.start}
        row |= {"end": edge.end, "setting": edge.setting, "edge": edge.kind, "tolerance": edge.tolerance}
        yield row, partial(_measured_edge, edge)


def _described(family: str, case: Case) -> Row:
    names = ("name", "source", "formula", "oracle", "conventions", "tolerance")
    row: dict[str, Any] = {"kind": "case", "family": family, **{name: getattr(case, name) for name in names}}
    row |= {"recipe": case.recipe.__name__, "expression": shown_expression(case)}
    row |= {"definition": shown_code(case.recipe), "written": shown_code(case.written)}
    return row


def _measured(case: Case, draws: int, seed: int) -> Row:
    value, gradient = case.errors(draws, seed)
    holds = max(value, gradient or 0.0) <= case.tolerance
    return {"draws": draws, "value_error": value, "gradient_error": gradient, "holds": holds}


def _measured_edge(edge: Edge, draws: int, seed: int) -> Row:
    error = edge.error(draws, seed)
    return {"draws": draws, "error": error, "holds": error <= edge.tolerance}
