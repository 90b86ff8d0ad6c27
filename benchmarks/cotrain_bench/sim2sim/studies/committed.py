"""A study's picture, drawn from its committed rows.

`python -m cotrain_bench.sim2sim.studies.committed NAME RESULTS.csv PICTURE.png`; NAME is a picture of the catalogue.
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from cotrain_losses.cli.report import as_png

from ..batches import Budget
from ..cell import Cell
from ..style import styled
from . import pictures
from .findings import Result

SETTINGS = {field.name for field in fields(Cell)} - {"ratio", "scales", "budget"}


def committed(path: Path) -> list[Result]:
    """The rows of a study's file with their cells; a ratio is a setting of plain co-training alone, since rows hold
    the one that was realised."""
    results = []
    for line in csv.DictReader(path.read_text("utf-8").splitlines()):
        row = {name: _value(text) for name, text in line.items() if text}
        settings = {name: value for name, value in row.items() if name in SETTINGS}
        if row["method"] == "cotraining":
            settings["ratio"] = row["ratio"]
        budget = Budget(steps=row["steps"], learning_rate=row["learning_rate"])
        results.append((Cell(**settings, budget=budget), row))
    return results


def _value(text: str) -> Any:
    """What a cell of the file says: a number, a truth, nested values, else the text itself."""
    if text in ("True", "False"):
        return text == "True"
    try:
        return json.loads(text)
    except ValueError:
        return text


if __name__ == "__main__":
    name, results, picture = sys.argv[1:]
    with styled():
        Path(picture).write_bytes(as_png(getattr(pictures, name)(committed(Path(results)))[2]))
