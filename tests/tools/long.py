"""What takes too long for every day: `make long`.

    python -m tests.tools.long [--only "published draws"] [--page docs/long.md]

Each part is one command, whose last line goes into the table.  Parts that were not asked for keep their row.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SAID = ROOT / ".mutants"
PARTS: dict[str, list[str]] = {
    "mutants": ["-m", "tests.tools.mutants", "--seed", "0", "--count", "200", "--page", "docs/mutants.md"],
    "published draws": ["-m", "tests.tools.published"],
    "hostile inputs": ["-m", "tests.tools.hostile"],
    "many episodes": ["-m", "tests.tools.advise_large"],
    "kernels": ["-m", "tests.tools.kernels"],
    "kernels' gradients": ["-m", "tests.tools.accuracy"],
    "stand-in device": ["-m", "tests.tools.standin"],
    "fuzz": ["-m", "tests.tools.fuzz", "--count", "2000", "--seed", "0"],
}
"""each part with the arguments that Python is called with; a part that is added here is in the table"""
HEAD = """# What takes long

Written by `make long`, which CI never runs: what was last found, and when.

| Part | Command | Outcome | Time | Day |
|---|---|---|---:|---|
"""


def main() -> None:
    """Run the parts that are asked for and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=list(PARTS), nargs="+", default=list(PARTS))
    parser.add_argument("--page", type=Path)
    asked = parser.parse_args()
    failed = False
    for name in asked.only:
        row = part(name)
        failed |= bool(row["status"])
        print(line(name, row), flush=True)
        if asked.page:
            write(asked.page, {name: line(name, row)})
    sys.exit(failed)


def write(page: Path, lines: dict[str, str]) -> None:
    """Put lines of the table into the page; those of other parts stay."""
    there = page.read_text().splitlines() if page.exists() else []
    kept = {name: text for text in there for name in PARTS if text.startswith(f"| {name} |")} | lines
    page.write_text(HEAD + "\n".join(kept[name] for name in PARTS if name in kept) + "\n")


def part(name: str) -> dict[str, Any]:
    """Run one part: its status, its sentence, how long it took, and the day."""
    begin = time.monotonic()
    SAID.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, *PARTS[name]], cwd=ROOT, capture_output=True, text=True, check=False)
    (SAID / f"{name}.txt").write_text(done.stdout + done.stderr)  # what a part that fails has said
    said = [text for text in done.stdout.splitlines() if " of " in text]
    outcome = said[-1] if said else f"ended with status {done.returncode}"
    minutes = (time.monotonic() - begin) / 60
    return {
        "status": done.returncode,
        "outcome": outcome,
        "minutes": minutes,
        "day": f"{datetime.now(timezone.utc):%F}",
    }


def line(name: str, row: dict[str, Any]) -> str:
    """A row of the table."""
    command = " ".join(["python", *PARTS[name]])
    return f"| {name} | `{command}` | {row['outcome']} | {row['minutes']:.0f} min | {row['day']} |"


if __name__ == "__main__":
    main()
