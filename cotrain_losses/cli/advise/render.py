"""The advice on a terminal and as one page that needs no other file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..report import Figure, Points, Section, Table, console, page, print_table
from .views import listed

DIFFERS = "What differs"
CAPTION = (
    "Top left: the target's share of the optimal score at its own noised actions. Top right: how far noised actions "
    "of both domains overlap. Bottom left: the largest shifts of action means, in deviations within a domain. Bottom "
    "right: how much one target frame counts beside one source frame. The upper curves are of one draw of at most {} "
    "frames of each domain, without intervals."
)
RATIOS = "natural: every frame counts equally. crossing: a target frame counts as sqrt(source / target) source frames."
BATCHES = "too few: the share of batches with fewer than {} target rows."
SHIFTS = "shift: source mean - target mean, in deviations within a domain. scale: source std / target std."
CLASSIFIER = (
    "classifier: how often a linear one recognises the domain, in fitted and in unseen episodes (by chance: 50%)."
)


def text(report: dict[str, Any]) -> None:
    """Print the tables, then the advice."""
    from rich.padding import Padding
    from rich.text import Text

    terminal = console()
    for title, table in tables(report).items():  # what differs comes last, beside the advice
        print_table(table, title=title, most=40)
    terminal.print(Text("Advice", style="bold"))
    for number, item in enumerate(report["advice"], 1):
        terminal.print(Text(f"{number}. {item['do']}"), Padding(Text(item["because"], style="dim"), (0, 0, 0, 3)))


def html(report: dict[str, Any], png: Path) -> str:
    """The advice first, then what differs, the figure, and every other table."""
    points = Points([(item["do"], item["because"]) for item in report["advice"]])
    caption = CAPTION.format(report["settings"]["sample"])
    own = {title: Section(title, [table]) for title, table in tables(report).items()}
    first = [Section("Advice", [points]), *([own.pop(DIFFERS)] if DIFFERS in own else [])]
    return page("Before co-training", [*first, Section("In pictures", [Figure(png, caption)]), *own.values()])


def tables(report: dict[str, Any]) -> dict[str, Table]:
    """Every table under its title."""
    settings, ratio = report["settings"], report["ratio"]
    drawn = ["ratio", "target rows", "too few: drawn alone", "too few: MixedBatchSampler"]
    drawn += ["batches per epoch", "uses of a target frame"]
    sizes = ["role", "name", "format", "episodes", "frames", "frames per episode"]
    guideline = [f"{ratio[name]:.4f}" for name in ("natural", "lower", "upper", "crossing")]
    named = {
        "Datasets": Table(sizes, list(map(_dataset, report["datasets"]))),
        "Ratio (share of target samples)": Table(
            ["natural", "search from", "search to", "crossing"], [guideline], RATIOS
        ),
        f"Batches of {settings['batch_size']}": Table(
            drawn, list(map(_batch, report["batches"])), BATCHES.format(settings["enough"])
        ),
    }
    for what in ("action", "state"):
        if report[f"{what}_shift"]:
            named[f"{what.capitalize()}s: target against source"] = _shifts(report, what)
    if report["density_ratio"] is not None:
        named["Density ratio"] = _density_ratio(report["density_ratio"])
    if rows := [*map(_finding, report["findings"]), *map(_alone, report["alone"])]:
        named[DIFFERS] = Table(["kind", "where", "dimensions", "sure"], rows)
    return named


def _finding(f: dict[str, Any]) -> list[str]:
    return [f["kind"], f"{f['what']}s of {f['source']}", listed(f["dimensions"]) or "all", f"{f['certainty']:.0%}"]


def _alone(row: dict[str, Any]) -> list[str]:
    told = "constants differ" if row["constant"] else "shows the domain alone"
    return [told, f"{row['what']}s of {row['source']}", row["name"], f"{row['accuracy']:.0%}"]


def _dataset(d: dict[str, Any]) -> list[str | int]:
    span = f"{d['episode_frames']['min']} to {d['episode_frames']['max']}"
    return [d["role"], d["name"], d["format"], d["episodes"], d["frames"], span]


def _batch(b: dict[str, Any]) -> list[str | int]:
    few = [f"{b['too_few_independent']:.1%}", f"{b['too_few_exact']:.1%}"]
    return [f"{b['ratio']:.4g}", f"{b['rows']:.2f}", *few, b["batches_per_epoch"], f"{b['target_passes']:.1f}"]


def _shifts(report: dict[str, Any], what: str) -> Table:
    moments = [f"{side}_{part}" for side in ("target", "source", "pooled") for part in ("mean", "std")]
    columns = ["target mean", "std", "source mean", "std", "pooled mean", "std", "shift", "scale"]
    rows = [
        [r["source"], r["name"], *("-" if r[key] is None else f"{r[key]:.3g}" for key in (*moments, "shift", "scale"))]
        for r in report[f"{what}_shift"]
    ]
    return Table(["source", what, *columns], rows, SHIFTS)


def _density_ratio(ratio: dict[str, Any]) -> Table:
    held = ratio["held_out_accuracy"]
    read = [f"{ratio['domain_accuracy']:.0%}", "-" if held is None else f"{held:.0%}"]
    row = [ratio["on"], f"{ratio['ess']:.0f} of {ratio['samples']}", *read]
    return Table(
        ["weights on", "effective source samples", "classifier, fitted", "classifier, unseen"], [row], CLASSIFIER
    )
