"""Results as plain rows: one file per finished cell, one results.json and one results.csv per run.

A cell is what determines one number: a mapping of settings, from which its file's name is made.  Files
appear whole or not at all (written beside, flushed to the disk, renamed), carry a checksum, and are
read only if they are the cell that was asked for.  So a run that was interrupted continues, two runs
may share a folder, and a damaged file costs one cell, not a wrong number.

    results.json = {"settings": {...}, "versions": {...}, "rows": [{...one cell...}, ...]}
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from cotrain_losses.cli.report import Section, check_writable, page

Row: TypeAlias = "dict[str, Any]"


class CannotContinue(RuntimeError):
    """A run that has to stop, in one sentence for the person who started it; the command line prints just that."""


class WrongSetting(CannotContinue, ValueError):
    """A setting that no run can have."""


def check_one_of(what: str, value: str, known: Iterable[str]) -> None:
    """Raise WrongSetting unless a setting is one of those there are; `what` is its name, with an article."""
    if value not in known:
        raise WrongSetting(f"{what} is one of {', '.join(known)}, got {value!r}.")


def check_interpreters(given: Mapping[str, str | None]) -> None:
    """Raise WrongSetting unless every interpreter that an option names can be run."""
    for name, python in given.items():
        if python is not None and shutil.which(python) is None:
            raise WrongSetting(f"--{name} is a Python that can be run, got {python!r}, which cannot.")


def check_folder(
    folder: Path, rule: str = "results are written to a folder", remedy: str = "Pass another as --out."
) -> None:
    """Raise CannotContinue where nothing could be written to a folder later."""
    try:
        check_writable(folder, rule, remedy)
    except ValueError as error:
        raise CannotContinue(str(error)) from None


class Cells:
    """The finished cells of a run: a folder with one file for each.

    Args:
        folder: made if it does not exist.
        report: called with one sentence for every damaged file that is met.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cells = Cells(folder)
    ...     cells.save({"method": "adda", "seed": 0}, {"success": 0.5})
    ...     cells.find({"seed": 0, "method": "adda"}), cells.find({"seed": 1, "method": "adda"})
    ({'success': 0.5}, None)
    """

    def __init__(self, folder: str | Path, report: Callable[[str], None] = print) -> None:
        self.folder, self.report = Path(folder), report

    def path(self, cell: Mapping[str, Any]) -> Path:
        """The file that holds, or will hold, a cell's row."""
        return self.folder / f"{digest(cell)}.json"

    def find(self, cell: Mapping[str, Any]) -> Row | None:
        """The row of a finished cell; None when it is not finished or its file is damaged (then it is reported)."""
        path = self.path(cell)
        try:
            record = json.loads(path.read_bytes())
            if record["cell"] == plain(cell) and record["checksum"] == digest(record["row"]):
                return dict(record["row"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OSError):
            pass
        self.report(f"{path} is damaged and not read as a result; its cell is computed again.")
        return None

    def save(self, cell: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        """Write one finished cell, whole or not at all."""
        row = plain(row)
        text = json.dumps({"cell": plain(cell), "row": row, "checksum": digest(row)}, indent=1)
        write(self.path(cell), text.encode())


def digest(value: Any) -> str:
    """A name for a plain value: 16 hex digits of the SHA-256 of its canonical JSON, blind to the order of keys."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def source_digest(*files: str | Path | ModuleType) -> str:
    """A name for what modules and files (of folders every .py below) say: changed code is never served old results."""
    places = [Path(str(file.__file__) if isinstance(file, ModuleType) else file) for file in files]
    paths = sorted(path for file in places for path in (file.rglob("*.py") if file.is_dir() else [file]))
    return digest([hashlib.sha256(path.read_bytes()).hexdigest() for path in paths])


def write(path: str | Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, even if the power fails.

    Raises:
        CannotContinue: when the disk is full or the folder cannot be written.
    """
    path, beside = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            beside = file.name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except OSError as error:
        raise CannotContinue(unwritten(path, error)) from error
    finally:
        if beside is not None and os.path.exists(beside):
            os.unlink(beside)


def write_report(path: str | Path, title: str, sections: Sequence[Section], *, lead: str = "") -> None:
    """Write a page of `cotrain_losses.cli.report`, whole or not at all."""
    write(path, page(title, sections, lead=lead).encode())


def write_results(out: str | Path, settings: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> Row:
    """Write results.json and results.csv into a folder; returns what results.json holds."""
    results = {"settings": plain(settings), "versions": versions(), "rows": [plain(row) for row in rows]}
    write(Path(out) / "results.json", (json.dumps(results, indent=1) + "\n").encode())
    write(Path(out) / "results.csv", as_csv(results["rows"]).encode())
    return results


def read_results(out: str | Path) -> Row:
    """What `write_results` wrote."""
    return dict(json.loads((Path(out) / "results.json").read_bytes()))


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV: columns in order of first appearance, a missing value empty, nested values as JSON."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_csv_value(row.get(name)) for name in columns] for row in rows])
    return file.getvalue()


def versions(*packages: str) -> dict[str, str]:
    """Versions of the packages (default: those that numbers may depend on, where installed), Python and machine."""
    names = packages or ("cotrain-losses", "torch", "numpy", "mujoco", "metaworld", "geomloss", "pot")
    installed = {name: version for name in names if (version := _version(name))}
    if packages:
        return installed
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    return {**installed, "python": platform.python_version(), "system": platform.platform(), "machine": machine}


def plain(value: Any) -> Any:
    """A value as JSON knows it: tensors, arrays and paths converted, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # a tensor, an array or one of its numbers
        return plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)


def _csv_value(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (dict, list)) else value


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def unwritten(path: Path, error: OSError) -> str:
    """The sentence for a file that could not be written."""
    kept = "Finished cells are kept: the same command continues from them."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{path} needs room on the disk, and the disk is full. Free some and run the same command again. {kept}"
    reason = error.strerror or error
    return f"{path} could not be written ({reason}). Pass a folder you may write to, with room, as --out. {kept}"
