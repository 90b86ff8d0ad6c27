"""The quick tier on every Python that is promised, with the oldest and the newest torch promised for it: `make matrix`.

    python -m tests.tools.matrix [--only 3.13] [--keep] [--page docs/matrix.md] TESTS ...

Each pair is installed into .venv-matrix/<name> and, unless --keep is given, removed after its row: a CUDA build of
torch takes 5 GB.  An interpreter that is not on the machine is a row that says so.  Rows are kept in
.venv-matrix/rows.json, so that a run that is cut off, or of one Python only, leaves the others' as they were.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import time
from configparser import ConfigParser
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-matrix"
ROWS = FOLDER / "rows.json"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
HEAD = """# Versions

Written by `make matrix`: the quick tier (`make quick`) with each Python that is promised, with the oldest torch that
setup.cfg promises for it and with the newest that pip takes. Everything else is the newest that fits. A row names the
commit and the day of its run.

| Python | torch promised | torch | Outcome | Installation | Tests | Commit, day |
|---|---|---|---|---:|---:|---|
"""


def main() -> None:
    """Run every pair that is asked for and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=PYTHONS, nargs="+", default=PYTHONS)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--page", default="")
    parser.add_argument("tests", nargs="+")
    asked = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    rows: dict[str, dict[str, Any]] = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    for version in asked.only:
        for which in ("oldest", "newest"):
            rows[f"{version} {which}"] = row = pair(version, which, asked.tests, keep=asked.keep)
            print(line(row), flush=True)
            ROWS.write_text(json.dumps(rows, indent=1))
    if asked.page:
        Path(asked.page).write_text(HEAD + "\n".join(line(rows[name]) for name in sorted(rows)) + "\n")


def pair(version: str, which: str, tests: list[str], *, keep: bool) -> dict[str, Any]:
    """One row: what came of a Python with the oldest or the newest torch promised for it."""
    promised = f"torch=={floor(version)}" if which == "oldest" else f"torch>={floor(version)}"
    row = {"python": version, "promised": promised, "torch": "", "outcome": "", "install": 0.0, "tests": 0.0}
    row |= {"run": f"{commit()}, {datetime.now(timezone.utc):%F}"}
    interpreter = found(version)
    if interpreter is None:
        return row | {"outcome": f"python{version} is not on this machine"}
    place, begin = FOLDER / f"{version}-{which}", time.monotonic()
    python = place / "bin" / "python"
    try:
        failed = installed(interpreter, place, promised)
        row["install"] = time.monotonic() - begin
        if failed:
            return row | {"outcome": f"installation failed: {failed}"}
        row["python"], row["torch"] = versions(python)
        begin = time.monotonic()
        done = _run([python, "-m", "pytest", "-p", "no:cacheprovider", *tests])
        return row | {"outcome": outcome(done), "tests": time.monotonic() - begin}
    finally:
        if not keep:
            shutil.rmtree(place, ignore_errors=True)


def commit() -> str:
    """The commit that is tried; a plus says that files differ from it."""
    said = _run(["git", "describe", "--always", "--dirty=+"])
    return said.stdout.strip() or "no commit"


def floor(version: str) -> str:
    """The oldest torch that setup.cfg promises for a Python: `torch>=2.4; python_version < "3.13"`."""
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    for requirement in parser["options"]["install_requires"].splitlines():
        if requirement.startswith("torch>="):
            oldest, _, marker = requirement.removeprefix("torch>=").partition(";")
            if not marker or _holds(marker, version):
                return oldest.strip()
    raise LookupError(f"setup.cfg names no torch for Python {version}")


def _holds(marker: str, version: str) -> bool:
    _, compared, bound = marker.split()
    mine, other = (tuple(int(part) for part in text.strip('"').split(".")) for text in (version, bound))
    return {"<": mine < other, ">=": mine >= other}[compared]


def found(version: str) -> Path | None:
    """The interpreter of that version: on the path, or one of pyenv's."""
    named = shutil.which(f"python{version}")
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for candidate in ([Path(named)] if named else []) + sorted(root.glob(f"versions/{version}.*/bin/python{version}")):
        if subprocess.run([candidate, "--version"], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def installed(interpreter: Path, place: Path, promised: str) -> str:
    """Make the environment; what pip said last where it failed."""
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([interpreter, "-m", "venv", place], check=True)
    pip = [place / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-cache-dir"]
    done = _run([*pip, promised, "-e", ".[test]"])
    errors = [text for text in done.stderr.splitlines() if text.startswith("ERROR")]
    return (errors or ["pip ended with an error"])[-1] if done.returncode else ""


def versions(python: Path) -> list[str]:
    """Those of Python and of torch, in an environment."""
    code = "import platform, torch; print(platform.python_version(), torch.__version__)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd="/").stdout.split()


def outcome(done: subprocess.CompletedProcess[str]) -> str:
    """pytest's last line, with the tests that failed."""
    lines = done.stdout.splitlines()
    failed = [text.split(" - ")[0].removeprefix("FAILED ") for text in lines if text.startswith(("FAILED", "ERROR"))]
    counts = [
        text.partition(" in ")[0] for text in lines if " in " in text and re.match(r"[\d]+ (passed|failed|error)", text)
    ]
    return "; ".join([*(counts[-1:] or [f"pytest ended with {done.returncode}"]), *failed])


def _run(command: list[Any]) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, check=False)


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    times = " | ".join(f"{row[name]:.0f} s" if row[name] else "" for name in ("install", "tests"))
    return (
        f"| {row['python']} | {row['promised']} | {row['torch']} | {row['outcome']} | {times} | {row.get('run', '')} |"
    )


if __name__ == "__main__":
    main()
