"""The results as a Markdown page (docs/special-cases.md) and as one HTML report."""

from __future__ import annotations

import re
from pathlib import Path

from cotrain_losses.cli.report import Code, Figure, Part, Section, Table, Text, as_markdown

from ..results import Row, write, write_report
from . import pictures

TITLE = "Prior methods are special cases"

INTRODUCTION = """\
Each method below is one expression of this library. Beside it stands the form in which it was published, and an
*oracle*: the same quantity computed without the library (formulas written entry by entry, POT, geomloss, scipy,
autograd of an exact density).

Both are evaluated on {draws} drawn inputs in float64. Source and target sizes differ in every draw, except where rows
are paired. The table gives the worst relative difference of the values and of the gradients. Gradients at the
features and gradients of a method's own parameters are each compared as one vector. The claim is equality to 1e-6,
and to 1e-4 where the oracle is itself an iterative solver.

The text under a method's name says what had to be converted: which domain a mixing number counts, which domain is
labelled 1, factors of 1/2, the reference measure of an entropy, sums or means over kernels, the scale of guidance, a
plan's value or the whole objective.

`cotrain bench special-cases` writes this page from the code that it measures."""

LATTICE = """\
These settings turn one method into another.
- A **definition** holds to the last bit: at that setting one method computes what the other does.
- An **equality** holds to rounding, or to the tolerance of two solves.
- A **limit** is taken at a large or small setting and holds to the tolerance given. For limits towards exact
  transport only values are compared: the gradient jumps there where two plans tie."""

PICTURE = """\
![The lattice of methods: the table below, drawn](special-cases.png)

*An arrow leads from a method to the simpler one it becomes at the setting on the line; a dashed line is a limit.*"""


def markdown(results: Row) -> str:
    """The page, a function of the results alone."""
    cases, edges = _split(results)
    parts = [f"# {TITLE}", INTRODUCTION.format(draws=results["settings"]["draws"])]
    parts += ["## All cases", as_markdown(_case_table(cases))]
    parts += ["## The lattice", LATTICE, PICTURE, as_markdown(_edge_table(edges))]
    for family in dict.fromkeys(row["family"] for row in cases):
        parts.append(f"## {family}")
        for row in (row for row in cases if row["family"] == family):
            parts += [f"### {row['name']}", f"{row['source']}. {row['conventions']}"]
            parts.append(f"```math\n{row['formula']}\n```")
            parts += [f"```py\n{p.text}\n```" if isinstance(p, Code) else p.text for p in _code_and_errors(row)]
    return "\n\n".join(parts) + "\n"


def write_page(out: str | Path, results: Row) -> None:
    """Write special-cases.png and report.html."""
    cases, edges = _split(results)
    figure = pictures.lattice(edges)
    write(Path(out) / "special-cases.png", figure)
    wrong = [row["name"] for row in results["rows"] if not row["holds"]]
    worst = f"All {len(cases)} cases and {len(edges)} edges hold." if not wrong else f"Do not hold: {', '.join(wrong)}."
    settings = "\n".join(f"{name}: {value}" for name, value in (results["settings"] | results["versions"]).items())
    drawn = Figure(figure, "Left is simpler. Dashed: limits.")
    sections = [
        Section("What is compared", [Text(_flowing(INTRODUCTION.format(draws=results["settings"]["draws"])))]),
        Section("All cases", [_case_table(cases)]),
        Section("The lattice", [Text(_flowing(LATTICE)), drawn, _edge_table(edges)]),
        *[Section(f"{row['name']}: {row['source']}", _case_parts(row)) for row in cases],
        Section("Settings", [Code(settings)]),
    ]
    write_report(Path(out) / "report.html", TITLE, sections, lead=worst)


def _split(results: Row) -> tuple[list[Row], list[Row]]:
    cases, edges = ([row for row in results["rows"] if row["kind"] == kind] for kind in ("case", "edge"))
    return cases, edges


def _case_table(cases: list[Row]) -> Table:
    columns = ["case", "source", "oracle", "value error", "gradient error", "holds"]
    errors = [(error(row["value_error"]), error(row["gradient_error"]), verdict(row)) for row in cases]
    rows = [[row["name"], row["source"], row["oracle"], *of_case] for row, of_case in zip(cases, errors, strict=True)]
    return Table(columns, rows, "Worst relative error over the draws.")


def _edge_table(edges: list[Row]) -> Table:
    rows = [
        [r["start"], r["setting"], r["end"], r["edge"], error(r["error"]), error(r["tolerance"]), verdict(r)]
        for r in edges
    ]
    return Table(["method", "setting", "becomes", "kind", "error", "tolerance", "holds"], rows)


def _case_parts(row: Row) -> list[Part]:
    flowing = [part if isinstance(part, Code) else Text(_flowing(part.text)) for part in _code_and_errors(row)]
    return [Figure(pictures.formula(row["formula"])), Text(row["conventions"]), *flowing]


def _code_and_errors(row: Row) -> list[Text | Code]:
    value, gradient, tolerance = (error(row[name]) for name in ("value_error", "gradient_error", "tolerance"))
    return [
        *(Text(f"The recipe `{row['recipe']}` is"), Code(row["definition"])),
        *(Text("and was measured as"), Code(row["expression"])),
        *(Text(f"against ({row['oracle']})"), Code(row["written"])),
        Text(f"Value error {value}, gradient error {gradient}, tolerance {tolerance}."),
    ]


def error(value: float | None) -> str:
    """An error as the page shows it.

    >>> error(2.34e-10), error(0.0), error(None)
    ('2e-10', '0e+00', 'not compared')
    """
    return "not compared" if value is None else f"{value:.0e}"


def verdict(row: Row) -> str:
    """Whether a row is within its tolerance."""
    return "yes" if row["holds"] else "NO"


def _flowing(text: str) -> str:
    """Markdown paragraphs as plain ones: a line a paragraph, without marks."""
    return "\n\n".join(
        " ".join(part.split()) for part in re.sub("[`*]", "", text.replace("\n- ", "\n\n- ")).split("\n\n")
    )
