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
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, TypeAlias

from ..datasets.names import shown as printable

if TYPE_CHECKING:
    from markupsafe import Markup
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
class Code(Text):
    """Lines to be shown as they are: a command, a setting."""


@dataclass(frozen=True)
class Points:
    """Numbered points, each a sentence and what stands behind it."""

    points: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table; floats are shown with three digits, None as a dash, columns of numbers set to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    """one sentence: what the numbers are, over what the intervals are taken."""

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

    @property
    def inches(self) -> float:
        """The width that the picture was drawn for, at `as_png`'s 150 dots an inch."""
        data = self.png if isinstance(self.png, bytes) else Path(self.png).read_bytes()
        return (
            int.from_bytes(data[6:8], "little") if data.startswith(b"GIF8") else int.from_bytes(data[16:20], "big")
        ) / 150


Part: TypeAlias = "Text | Code | Points | Table | Figure"


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    parts: Sequence[Part]


def page(title: str, sections: Sequence[Section], *, lead: str = "") -> str:
    """The report as HTML text; `lead` is the first sentence under the title: the finding, in words."""
    from jinja2 import Environment

    environment = Environment(autoescape=True)
    environment.filters["prose"] = _prose
    template = environment.from_string(Path(__file__).with_name("page.html").read_text("utf-8"))
    return template.render(title=title, sections=sections, lead=lead)


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


def check_writable(folder: Path | None, rule: str = "results are written to a folder", remedy: str = "") -> None:
    """Raise ValueError where nothing could be written to a folder later; nothing is made."""
    if folder is None:
        return
    there = folder.absolute()
    try:
        while not there.exists():
            there = there.parent
        with TemporaryFile(dir=there):
            pass
    except (OSError, ValueError) as error:  # ValueError: a null byte
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"{rule}, got {printable(folder)}, where nothing can be written: {printable(there)}: {reason}."
            f"{remedy and f' {remedy}'}"
        ) from None


def print_table(table: Table, *, title: str = "", most: int | None = None) -> None:
    """A table on the terminal, of its first `most` rows."""
    from rich.table import Table as Grid
    from rich.text import Text as Cell

    terminal = console()
    grid = Grid(title=title or None, title_justify="left", title_style="bold", caption=table.caption or None)
    grid.caption_justify = "left"
    cells = table.cells
    for number, column in enumerate(table.columns):
        grid.add_column(Cell(column), justify="right" if cells and cells[0][number][1] else "left", overflow="fold")
    for row in cells[:most]:
        grid.add_row(*(Cell(text) for text, _ in row))  # names may look like markup
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


def _prose(text: str) -> Markup:
    """Escaped text, with `names` between backticks set as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(text))))


_NUMBERS = re.compile(r"^(?!.*[^\W\d_]{2}).*\d", re.DOTALL)
"""a digit somewhere, and nowhere two letters in a row"""
