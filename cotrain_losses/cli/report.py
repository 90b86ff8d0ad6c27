"""One self-contained HTML page from sections of text, tables and figures: no other file, no network.

page("Toy", [Section("Loss grid", [Text("..."), Table(columns, rows), Figure(png, "caption")])])
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Plot
    from rich.console import Console

SOURCE, TARGET = "#0072b2", "#d55e00"
COLOURS = (SOURCE, "#e69f00", "#009e73", "#cc79a7", TARGET, "#56b4e9", "#555555")
"""the colours of all figures (Okabe & Ito 2008): distinct in every kind of colour vision"""


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text; it is escaped, never read as HTML."""

    text: str


@dataclass(frozen=True)
class Code:
    """Lines to be shown as they are: a command, a setting."""

    text: str


@dataclass(frozen=True)
class Points:
    """Numbered points, each a sentence and what stands behind it."""

    points: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table; floats are shown with three digits, None as a dash, columns of numbers set to the right.

    Args:
        columns: one heading per column.
        rows: one sequence of values per row.
        caption: one sentence under the table: what the numbers are, over what the intervals are taken.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""

    @property
    def cells(self) -> list[list[tuple[str, bool]]]:
        """Each value as text, and whether its column holds numbers."""
        texts = [[shown(value) for value in row] for row in self.rows]
        numeric = [bool(_NUMBERS.search("|".join(column))) for column in zip(*texts, strict=True)]
        return [list(zip(row, numeric, strict=True)) for row in texts]


@dataclass(frozen=True)
class Figure:
    """A picture, as the bytes of a PNG or GIF file or the path of one."""

    png: bytes | Path
    caption: str = ""

    @property
    def address(self) -> str:
        data = self.png if isinstance(self.png, bytes) else Path(self.png).read_bytes()
        kind = "gif" if data.startswith(b"GIF8") else "png"
        return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


Part: TypeAlias = "Text | Code | Points | Table | Figure"


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    parts: Sequence[Part]


def page(title: str, sections: Sequence[Section], *, lead: str = "") -> str:
    """The report as HTML text.

    Args:
        lead: the first sentence under the title: the finding, in words.
    """
    from jinja2 import Environment

    return Environment(autoescape=True).from_string(_PAGE).render(title=title, sections=sections, lead=lead)


def as_png(plot: Plot) -> bytes:
    """A matplotlib figure as the bytes of a PNG file; the figure is closed."""
    from matplotlib import pyplot

    file = io.BytesIO()
    plot.savefig(file, format="png", dpi=150, bbox_inches="tight")
    pyplot.close(plot)
    return file.getvalue()


def as_markdown(table: Table) -> str:
    """A table for a README.

    >>> print(as_markdown(Table(["method", "success"], [["adda", 0.5]])))
    | method | success |
    |---|---|
    | adda | 0.500 |
    """
    rows = [list(table.columns), *([text for text, _ in row] for row in table.cells)]
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(table.columns) + "|", *body])


def console() -> Console:
    """The terminal; 120 columns where there is none."""
    from rich.console import Console

    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=120)


def print_table(table: Table, terminal: Console, *, title: str = "", most: int | None = None) -> None:
    """A table on the terminal, of its first `most` rows."""
    from rich.table import Table as Grid

    grid = Grid(title=title or None, title_justify="left", title_style="bold", caption=table.caption or None)
    cells = table.cells
    for number, column in enumerate(table.columns):
        grid.add_column(column, justify="right" if cells and cells[0][number][1] else "left", overflow="fold")
    for row in cells[:most]:
        grid.add_row(*(text for text, _ in row))
    terminal.print(grid)
    if most is not None and len(cells) > most:
        terminal.print(f"  ... and {len(cells) - most} more; --json and --out show all")


def shown(value: Any) -> str:
    """A value as a table shows it.

    >>> shown(0.12345), shown(1234567.0), shown(3), shown("a")
    ('0.123', '1.23e+06', '3', 'a')
    """
    if value is None:
        return "\N{EN DASH}"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f}" if 0.001 <= abs(value) < 1000 or value == 0 else f"{value:.3g}"


_NUMBERS = re.compile(r"^(?!.*[^\W\d_]{2}).*\d", re.DOTALL)
"""a digit somewhere, and nowhere two letters in a row"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
 :root { color-scheme: light dark; --text: #1c2430; --soft: #56627a; --page: #fff; --line: #e3e7ed; --strong: #c6cdd8;
         --code: #f5f7fa; }
 @media (prefers-color-scheme: dark) {
  :root { --text: #e4e8ef; --soft: #a3aec0; --page: #14181f; --line: #2a313c; --strong: #475163; --code: #1e242d; } }
 body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--text);
        background: var(--page); max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.5rem 5rem;
        overflow-wrap: anywhere; }
 h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; }
 h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
 p, ol { max-width: 46rem; margin: .6rem 0; white-space: pre-line; }
 ol { padding-left: 1.4rem; white-space: normal; } li { margin: .7rem 0; }
 li span { color: var(--soft); display: block; }
 .lead { font-size: 1.12rem; color: var(--soft); }
 .wide { overflow-x: auto; margin: 1rem 0; }
 table { border-collapse: collapse; font-size: .93rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
 th { text-align: left; font-weight: 600; border-bottom: 2px solid var(--strong); }
 td { border-bottom: 1px solid var(--line); }
 th, td { padding: .38rem .9rem .38rem 0; vertical-align: top; }
 td.number, th.number { text-align: right; white-space: nowrap; } th.number { white-space: normal; }
 figure { margin: 1.2rem 0; }
 img { max-width: 100%; height: auto; display: block; background: #fff; border-radius: 6px; }
 figcaption, .caption { font-size: .88rem; color: var(--soft); margin-top: .4rem; max-width: 46rem; }
 pre { background: var(--code); padding: .8rem 1rem; border-radius: 6px; overflow-x: auto; font-size: .86rem;
       line-height: 1.45; overflow-wrap: normal; }
</style></head><body>
<h1>{{ title }}</h1>
{% if lead %}<p class="lead">{{ lead }}</p>{% endif %}
{% for section in sections %}
<h2>{{ section.title }}</h2>
{% for part in section.parts %}{% set kind = part.__class__.__name__ %}
{% if kind == "Text" %}<p>{{ part.text }}</p>
{% elif kind == "Code" %}<pre>{{ part.text }}</pre>
{% elif kind == "Points" %}<ol>{% for point, reason in part.points %}
<li>{{ point }}<span>{{ reason }}</span></li>{% endfor %}
</ol>
{% elif kind == "Table" %}<div class="wide"><table>{% set cells = part.cells %}
<thead><tr>{% for column in part.columns %}
<th{% if cells and cells[0][loop.index0][1] %} class="number"{% endif %}>{{ column }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in cells %}
<tr>{% for text, number in row %}
<td{% if number %} class="number"{% endif %}>{{ text }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div>{% if part.caption %}<p class="caption">{{ part.caption }}</p>{% endif %}
{% else %}<figure><img src="{{ part.address }}" alt="{{ part.caption }}">
{% if part.caption %}<figcaption>{{ part.caption }}</figcaption>{% endif %}</figure>
{% endif %}
{% endfor %}
{% endfor %}
</body></html>
"""
