"""A study's picture, drawn from its committed rows.

`python -m cotrain_bench.sim2sim.studies.committed NAME RESULTS.csv PICTURE.png`; NAME is a picture of the catalogue
that needs no features, which rows do not hold.
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

from cotrain_losses.cli.report import as_png

from ...results import WrongSetting, check_one_of
from ..cell import Cell
from ..image_cell import ImageCell
from ..style import styled
from . import pictures
from .catalogue import Picture
from .findings import Result

SETTINGS = {field.name for field in fields(ImageCell)} - {"ratio", "scales", "budget"}


def committed(path: Path) -> list[Result]:
    """The rows of a study's file with their cells; a ratio is a setting of plain co-training alone, since rows hold
    the one that was realised."""
    results = []
    for line in csv.DictReader(path.read_text("utf-8").splitlines()):
        row = {name: _value(text) for name, text in line.items() if text}
        settings = {name: value for name, value in row.items() if name in SETTINGS}
        if row["method"] == "cotraining":
            settings["ratio"] = row["ratio"]
        kind = ImageCell if "pixels" in row else Cell
        budget = replace(kind().budget, steps=row["steps"], learning_rate=row["learning_rate"])
        results.append((kind(**settings, budget=budget), row))
    return results


def _value(text: str) -> Any:
    """What a cell of the file says: a number, a truth, nested values, else the text itself."""
    if text in ("True", "False"):
        return text == "True"
    try:
        return json.loads(text)
    except ValueError:
        return text


def draw(name: str, results: Path, picture: Path) -> None:
    """Draw one picture; WrongSetting for a name that is none, or a picture of what rows do not hold."""
    check_one_of("a picture of committed rows", name, [each for each in get_args(Picture) if each != "latents"])
    with styled():
        picture.write_bytes(as_png(getattr(pictures, name)(committed(results))[2]))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        draw(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    except (WrongSetting, OSError) as error:
        sys.exit(str(error))
