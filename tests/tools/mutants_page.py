"""The table of `make mutants`: how many were killed in each room, and the survivors."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import Any

EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")
"""a mutant a line, `path | before | after | why it changes no result`"""


def page(results: list[dict[str, Any]], *, seed: int, commit: str) -> str:
    """The page, from what each mutant came to."""
    why = reasons()
    rows = [row | {"why": why.get(identity(row), "")} for row in results]
    killed, same = sum(row["killed"] for row in rows), sum(not row["killed"] and bool(row["why"]) for row in rows)
    left = len(rows) - same
    return "\n".join(
        [
            "# Mutants",
            "",
            "Written by `make mutants`. Each mutant is one change of one line; it is killed when a test fails.",
            f"The library is that of commit {commit}; run on {datetime.now(timezone.utc):%F}. Seed {seed}, "
            f"{len(rows)} mutants: {killed} killed, "
            f"{same} equivalent (no result changes), "
            f"{left - killed} survive. Killed of those that change something: {100 * killed / max(left, 1):.1f} %.",
            "",
            *_rooms(rows),
            "",
            "## Survivors",
            "",
            *_survivors([row for row in rows if not row["killed"]]),
            "",
        ]
    )


def _rooms(rows: list[dict[str, Any]]) -> list[str]:
    table = ["| Room | Mutants | Killed | Equivalent | Survive |", "|---|---:|---:|---:|---:|"]
    for room, group in groupby(sorted(rows, key=lambda row: str(row["room"])), lambda row: row["room"]):
        each = list(group)
        killed, same = sum(row["killed"] for row in each), sum(not row["killed"] and bool(row["why"]) for row in each)
        table.append(f"| {room} | {len(each)} | {killed} | {same} | {len(each) - killed - same} |")
    return table


def _survivors(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["None."]
    table = ["| Place | Is | Was made | Why no result changes |", "|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: (row["path"], row["line"])):
        place = f"{str(row['path']).removeprefix('cotrain_losses/')}:{row['line']}"
        table.append(
            f"| {place} | `{_cell(row['before'])}` | `{_cell(row['after'])}` | {row['why'] or '**survives**'} |"
        )
    return table


def _cell(text: str) -> str:
    text = text.replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= 70 else text[:67] + "..."


def identity(row: dict[str, Any]) -> tuple[str, str, str]:
    """What names a mutant in the list of those that change no result."""
    return row["path"], row["before"], row["after"]


def reasons() -> dict[tuple[str, str, str], str]:
    """Why each mutant of that list changes none."""
    if not EQUIVALENT.exists():
        return {}
    lines = [line.split(" | ") for line in EQUIVALENT.read_text().splitlines() if " | " in line]
    return {(path, before, after): why for path, before, after, why in lines}
