"""Malformed and hostile datasets, each of which must be refused in one sentence: the table of `make long`.

CASES: name -> a function that writes into a folder and returns what `--source` is given.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import contents, counts, files, hdf5, npzs, paths, zarrs

CASES: dict[str, Callable[[Path], Path | str]] = {
    f"{module.__name__.rpartition('.')[2]}: {name}": write
    for module in (files, contents, counts, hdf5, zarrs, npzs, paths)
    for name, write in module.CASES.items()
}
