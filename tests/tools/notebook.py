"""`python tests/tools/notebook.py SCRIPT PAGE NOTEBOOK [FIRST...]` runs a script of `# %%` cells, keeps its outputs.

Runs in the environment that the script needs, in an empty folder, after the files FIRST (a conftest that an
environment needs).  Writes a Markdown page with its pictures beside it, and a notebook that holds its outputs.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import sys
import tempfile
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from runpy import run_path
from types import ModuleType
from typing import Any

import matplotlib

matplotlib.use("agg")


@dataclass
class Cell:
    """A cell: Markdown, or code with what it printed and drew."""

    source: str
    markdown: bool
    printed: str = ""
    pictures: list[bytes] = field(default_factory=list)


def cells(script: str) -> list[Cell]:
    """The cells of a script.

    >>> [(cell.markdown, cell.source) for cell in cells("# %% [markdown]\\n# Some *text*\\n\\n# %%\\nx = 1\\n")]
    [(True, 'Some *text*'), (False, 'x = 1')]
    """
    found = []
    for kind, body in re.findall(r"^# %%( \[markdown\])?\n(.*?)(?=^# %%|\Z)", script, re.M | re.S):
        text = re.sub(r"^# ?", "", body, flags=re.M) if kind else body
        found.append(Cell(text.strip("\n"), bool(kind)))
    return found


def run(cell: Cell, names: dict[str, Any]) -> None:
    """Run a cell of code; its open figures are its pictures."""
    from matplotlib import pyplot

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(cell.source, "cell", "exec"), names)
    cell.printed = said.getvalue().rstrip()
    for number in pyplot.get_fignums():
        drawn = io.BytesIO()
        pyplot.figure(number).savefig(drawn, dpi=120, format="png")
        cell.pictures.append(drawn.getvalue())
    pyplot.close("all")


def page(done: list[Cell], path: Path) -> str:
    """The cells as Markdown; pictures are written beside the page."""
    parts, count = [], 0
    for cell in done:
        parts.append(cell.source if cell.markdown else f"```py\n{cell.source}\n```")
        if cell.printed:
            parts.append(f"```text\n{cell.printed}\n```")
        for picture in cell.pictures:
            count += 1
            name = f"{path.stem}-{count}.png"
            path.with_name(name).write_bytes(picture)
            parts.append(f"![What the lines above draw]({name})")
    return "\n\n".join(parts) + "\n"


def notebook(done: list[Cell]) -> dict[str, Any]:
    """The cells as a notebook of format 4."""
    numbers = accumulate(not cell.markdown for cell in done)
    return {
        "cells": [_as_json(k, cell, count) for k, (cell, count) in enumerate(zip(done, numbers, strict=True))],
        "metadata": {"language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _as_json(number: int, cell: Cell, count: int) -> dict[str, Any]:
    shared = {"id": f"cell-{number}", "metadata": {}, "source": cell.source}
    if cell.markdown:
        return {"cell_type": "markdown", **shared}
    outputs: list[dict[str, Any]] = []
    if cell.printed:
        outputs.append({"output_type": "stream", "name": "stdout", "text": cell.printed + "\n"})
    for picture in cell.pictures:
        data = {"image/png": base64.b64encode(picture).decode()}
        outputs.append({"output_type": "display_data", "data": data, "metadata": {}})
    return {"cell_type": "code", "execution_count": count, "outputs": outputs, **shared}


def write(script: Path, page_path: Path, notebook_path: Path, *first: Path) -> None:
    """Run every cell in an empty folder, then write the page and the notebook."""
    _declared = [run_path(str(path)) for path in first]  # what they declare lives as long as their names
    done, here, main = cells(script.read_text()), Path.cwd(), ModuleType("__main__")
    sys.modules["__main__"] = main  # as in a notebook: what the cells define can be pickled, and found by its name
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for cell in done:
            if not cell.markdown:
                print(cell.source.partition("\n")[0], file=sys.stderr)
                run(cell, vars(main))
    os.chdir(here)
    beside = [os.path.relpath(each, page_path.parent) for each in (notebook_path, script)]
    files = "To download: [the notebook]({}), [the script]({}).\n".format(*beside)
    page_path.write_text(f"{page(done, page_path)}\n{files}")
    notebook_path.write_text(json.dumps(notebook(done), indent=1) + "\n")


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:]))
