"""One table: each figure, the worst of its values, what is wanted, and everything that did not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .machine import Row


def table(machine: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Markdown: what the figures are measured on, each figure, times beside the peers, and what is missing."""
    lines = [", ".join(f"{name} {value}" for name, value in machine.items()), ""]
    lines += ["| figure | worst | wanted | met | where |", "|---|---|---|---|---|"]
    lines += [_figure(name, list(of)) for name, of in _by_figure(rows).items()]
    lines += ["", "| loss | peer | least ms | most ms | worst gradient error |", "|---|---|---|---|---|"]
    lines += list(_times(rows))
    missing = [row for row in rows if row["status"] != "ok"]
    lines += ["", f"{len(missing)} rows without a figure", "", "| part | what | why |", "|---|---|---|"]
    lines += [f"| {row['part']} | {_plain(row['what'])} | {_plain(row['status'])} |" for row in missing]
    return "\n".join(lines) + "\n"


def _by_figure(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows that a figure is wanted of; a step's by policy."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if "wanted" in row and row["status"] == "ok":
            name = f"{row['figure']}, {row['what'].split(',')[0]}" if row["part"] == "overhead" else row["figure"]
            found.setdefault(f"{name} (<= {row['wanted']})" if row["figure"] == "gradient error" else name, []).append(
                row
            )
    return found


def _figure(name: str, of: list[Row]) -> str:
    least = name == "bad batches told"
    worst = (min if least else max)(of, key=lambda row: row["value"])
    met = worst["value"] >= worst["wanted"] if least else worst["value"] <= worst["wanted"]
    kept = sum(row["value"] >= row["wanted"] if least else row["value"] <= row["wanted"] for row in of)
    where = f"{kept} of {len(of)}; {_plain(worst['what'])}"
    return f"| {name} | {worst['value']:.3g} | {worst['wanted']:g} | {'yes' if met else 'no'} | {where} |"


def _times(rows: Sequence[Row]) -> Sequence[str]:
    timed: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if str(row.get("figure", "")).startswith("ms, ") and row["status"] == "ok":
            timed.setdefault((row["figure"].removeprefix("ms, "), row["peer"]), []).append(row)
    lines = []
    for (loss, peer), of in timed.items():
        times, errors = [row["value"] for row in of], [row["gradient error"] for row in of if "gradient error" in row]
        error = f"{max(errors):.1e}" if errors else ""
        lines.append(f"| {loss} | {peer} | {min(times):.3f} | {max(times):.3f} | {error} |")
    return lines


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
