"""The page of special cases against a run of its draws: every number it shows, and whether each case holds.

    python -m tests.tools.published [--page docs/special-cases.md] [--draws 50]

An error on the page agrees with the run's where both are rounding (below 1e-12), or neither is ten times the other.
"""

from __future__ import annotations

import argparse
import re
import sys
from itertools import zip_longest
from pathlib import Path

NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]\d+)?(?![\w.])")
ROUNDING, TIMES = 1e-12, 10.0


def main() -> None:
    """Run the published draws and compare; ends with status 1 where the page says something else."""
    from cotrain_bench.special_cases.study import run

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--page", default="docs/special-cases.md")
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--out", default="runs/special-cases")
    asked = parser.parse_args()
    rows = run(asked.out, draws=asked.draws)["rows"]
    wrong = differences(Path(asked.page).read_text(), (Path(asked.out) / "special-cases.md").read_text())
    print("\n".join(wrong))
    holds = sum(row["holds"] for row in rows)
    told = f"{len(wrong)} lines of the page differ" if wrong else "the page says the same"
    print(f"{holds} of {len(rows)} hold; {told}.")
    sys.exit(bool(wrong) or holds < len(rows))


def differences(page: str, run: str) -> list[str]:
    """The lines of a page that a run does not confirm, each beside the run's."""
    lines = zip_longest(page.splitlines(), run.splitlines(), fillvalue="")
    return [f"{one!r} against {other!r}" for one, other in lines if not _agree(one, other)]


def _agree(one: str, other: str) -> bool:
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    pairs = zip(map(float, NUMBER.findall(one)), map(float, NUMBER.findall(other)), strict=True)
    return all(max(a, b) < ROUNDING or TIMES * min(a, b) >= max(a, b) for a, b in pairs)


if __name__ == "__main__":
    main()
