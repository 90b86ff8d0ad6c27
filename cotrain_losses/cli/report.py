"""One self-contained HTML page from sections of text, tables and figures: no other file, no network.

page("Toy", [Section("Loss grid", [Text("..."), Table(columns, rows), Figure(png, "caption")])])
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Plot


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text; it is escaped, never read as HTML."""

    text: str

    @property
    def kind(self) -> str:
        return "text"


@dataclass(frozen=True)
class Code:
    """Lines to be shown as they are: a command, a setting."""

    text: str

    @property
    def kind(self) -> str:
        return "code"


@dataclass(frozen=True)
class Table:
    """A table; floats are shown with three digits, None as a dash.

    Args:
        columns: one heading per column.
        rows: one sequence of values per row.
        caption: one sentence under the table: what the numbers are, over what the intervals are taken.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""

    @property
    def kind(self) -> str:
        return "table"

    @property
    def cells(self) -> list[list[tuple[str, bool]]]:
        """Each value as text, and whether it is a number (and so set to the right)."""
        return [[(shown(value), _is_number(value)) for value in row] for row in self.rows]


@dataclass(frozen=True)
class Figure:
    """A picture, as the bytes of a PNG or GIF file or the path of one."""

    png: bytes | Path
    caption: str = ""

    @property
    def kind(self) -> str:
        return "figure"

    @property
    def address(self) -> str:
        data = self.png if isinstance(self.png, bytes) else Path(self.png).read_bytes()
        kind = "gif" if data.startswith(b"GIF8") else "png"
        return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


Part: TypeAlias = "Text | Code | Table | Figure"


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
    lines = [table.columns, ["---"] * len(table.columns), *[[shown(value) for value in row] for row in table.rows]]
    return "\n".join("|---" * len(line) + "|" if line[0] == "---" else f"| {' | '.join(line)} |" for line in lines)


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


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
 body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #1c2430; background: #fff;
        max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.5rem 5rem; }
 h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; }
 h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 1px solid #e3e7ed; }
 p { max-width: 46rem; margin: .6rem 0; white-space: pre-line; }
 .lead { font-size: 1.12rem; color: #3b4656; }
 .wide { overflow-x: auto; margin: 1rem 0; }
 table { border-collapse: collapse; font-size: .93rem; font-variant-numeric: tabular-nums; }
 th { text-align: left; font-weight: 600; border-bottom: 2px solid #c6cdd8; }
 td { border-bottom: 1px solid #e9edf2; }
 th, td { padding: .38rem .9rem .38rem 0; vertical-align: top; }
 td.number, th.number { text-align: right; }
 figure { margin: 1.2rem 0; } img { max-width: 100%; height: auto; display: block; }
 figcaption, .caption { font-size: .88rem; color: #5a6677; margin-top: .4rem; max-width: 46rem; }
 pre { background: #f5f7fa; padding: .8rem 1rem; border-radius: 6px; overflow-x: auto; font-size: .86rem; line-height: 1.45; }
</style></head><body>
<h1>{{ title }}</h1>
{% if lead %}<p class="lead">{{ lead }}</p>{% endif %}
{% for section in sections %}
<h2>{{ section.title }}</h2>
{% for part in section.parts %}
{% if part.kind == "text" %}<p>{{ part.text }}</p>
{% elif part.kind == "code" %}<pre>{{ part.text }}</pre>
{% elif part.kind == "table" %}<div class="wide"><table>
<thead><tr>{% for column in part.columns %}
<th{% if part.cells and part.cells[0][loop.index0][1] %} class="number"{% endif %}>{{ column }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in part.cells %}
<tr>{% for text, number in row %}<td{% if number %} class="number"{% endif %}>{{ text }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div>{% if part.caption %}<p class="caption">{{ part.caption }}</p>{% endif %}
{% else %}<figure><img src="{{ part.address }}" alt="{{ part.caption }}">
{% if part.caption %}<figcaption>{{ part.caption }}</figcaption>{% endif %}</figure>
{% endif %}
{% endfor %}
{% endfor %}
</body></html>
"""  # noqa: E501
