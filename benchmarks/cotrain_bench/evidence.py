"""What the studies support, measured from their committed rows: `python -m cotrain_bench.evidence` in a clone.

    difference = mean over pairs of (success of `one` - success of `other`), with its 95 % t interval

Each entry of `choices` in cotrain_losses/cli/advise/evidence.json names the rows that speak for it.  This command
writes what they say into the entry, and the table of all entries into docs/which-method.md.  An entry is added by hand,
without its numbers; one whose rows are of the toy has a factor on the loss for a difference of success.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cotrain_losses.cli.report import as_markdown
from cotrain_losses.cli.which import choices_table

from .paired import Weighted, contrast
from .results import Row, write
from .toy.bands import BANDS, outcome

DATA, PAGE = Path("cotrain_losses/cli/advise/evidence.json"), Path("docs/which-method.md")
BEGIN, END = "<!-- the table of evidence.json -->", "<!-- its end -->"


def measured(rows: Mapping[str, Any], root: Path) -> Row:
    """What the rows that an entry names say."""
    if "toy" in rows:
        path, band, arm, scale = rows["toy"]
        of = outcome(_toy(root / path), arm, scale, BANDS[band])
        low, mean, high = (10**x for x in (of.low, of.difference, of.high))
        return {"factor": mean, "low": low, "high": high, "pairs": of.seeds, "solved": of.solved}
    sides = [selected(root / path, wanted) for path, wanted in (rows["one"], rows["other"])]
    of_pairs = paired(*sides, by=rows["pairs"])
    if len(of_pairs) < 2:
        raise ValueError(f"an entry's rows make two pairs or more, got {len(of_pairs)} for {rows}.")
    found = contrast(of_pairs)
    return {"difference": found.mean, "low": found.low, "high": found.high, "pairs": found.pairs}


def selected(path: Path, wanted: Mapping[str, Any]) -> list[Row]:
    """The rows of a study's file that have the wanted values; a list is any of its values.

    `scale` reads the success at a guidance scale, `side` that of the seen or the unseen half of the episodes.
    """
    scale, side = wanted.get("scale"), wanted.get("side")
    if scale is not None and side is not None:
        raise ValueError(f"an entry names a guidance scale or a side, got both: {scale} and {side}.")
    rows = []
    for row in csv.DictReader(path.read_text("utf-8").splitlines()):
        if all(row[name] in _texts(value) for name, value in wanted.items() if name not in ("scale", "side")):
            success = float(row[side or "success"] if scale is None else json.loads(row["scales"])[scale])
            episodes = int(row["episodes"]) // (2 if side else 1)
            rows.append({**row, "success": success, "episodes": episodes, "successes": round(success * episodes)})
    return rows


def paired(one: Sequence[Row], other: Sequence[Row], *, by: Sequence[str]) -> list[Weighted]:
    """One side minus the other, a pair for each value of `by` that both have."""
    pairs: list[Weighted] = []
    for key in sorted({_key(row, by) for row in one} & {_key(row, by) for row in other}):
        sides = [[row for row in side if _key(row, by) == key] for side in (one, other)]
        pairs.append([(sign / len(side), row) for sign, side in zip((1.0, -1.0), sides, strict=True) for row in side])
    return pairs


def update(root: Path) -> None:
    """Write every entry's numbers, and the page's table."""
    data = json.loads((root / DATA).read_text("utf-8"))
    for entry in data["choices"]:
        if "rows" in entry:
            entry["measured"] = {name: float(f"{value:.5g}") for name, value in measured(entry["rows"], root).items()}
    write(root / DATA, (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())
    write(root / PAGE, with_table((root / PAGE).read_text("utf-8"), data["choices"]).encode())


def with_table(page: str, choices: Sequence[Mapping[str, Any]]) -> str:
    """The page with the table of these entries between its two marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{as_markdown(choices_table(choices))}\n\n{END}{rest.split(END)[1]}"


def _texts(value: Any) -> list[str]:
    return [str(each) for each in (value if isinstance(value, list) else [value])]


def _key(row: Row, by: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in by)


def _toy(path: Path) -> list[Row]:
    rows: list[Row] = []
    for row in csv.DictReader(path.read_text("utf-8").splitlines()):
        numbers = {name: float(row[name]) for name in ("dz", "ratio", "loss")}
        scale = float(row["scale"]) if row["scale"] else None
        rows.append({"arm": row["arm"], "scale": scale, "seed": int(row["seed"]), **numbers})
    return rows


if __name__ == "__main__":
    update(Path.cwd())
