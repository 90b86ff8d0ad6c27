"""The report of a run, and its table for a terminal or a README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cotrain_losses.cli.report import Code, Figure, Section, Table, Text, as_markdown

from ..paired import Interval, mcnemar
from ..results import Row, write, write_report
from .methods import METHODS

CAVEAT = (
    "Intervals are Wilson's 95 % over the episodes of ONE trained policy a method. They leave out what another "
    "training seed or another draw of demonstrations would give, so a difference between two rows is a finding about "
    "these two policies, not yet about the methods."
)


def write_summary(out: Path, results: Row, pictures: Sequence[tuple[str, Path]]) -> None:
    """Write report.html and table.md."""
    table = success_table(results["rows"])
    write(out / "table.md", (as_markdown(table) + "\n").encode())
    first, *others = [Figure(path, caption) for caption, path in pictures]
    settings = results["settings"]
    title = f"Co-training between two simulators: {settings['task']}, gap {settings['gap']}"
    every = {name: value for name, value in settings.items() if not isinstance(value, dict)}
    every |= settings["budget"] | results["versions"]
    sections = [
        Section("Success", [first, table, Text(CAVEAT)]),
        Section("Episode by episode", [paired_table(results["rows"])]),
        Section("What the policies do, and what they encode", others),
        Section("What was compared", _compared(settings)),
        Section("Every setting", [settings_table(every), Text("Run again with"), Code(command(settings))]),
    ]
    write_report(out / "report.html", title, sections, lead=headline(results["rows"]))


def headline(rows: Sequence[Row]) -> str:
    """The finding in one sentence: target only against plain co-training."""
    done = {row["method"]: row for row in rows if "error" not in row}
    lost = [METHODS[name].title for name, row in done.items() if "diverged" in row]
    counted = f" Diverged, which counts as 0: {', '.join(lost)}." if lost else ""
    if not {"real_only", "cotraining"} <= set(done):
        return ", ".join(f"{METHODS[name].title} {_rate(row)}" for name, row in done.items()) + "." + counted
    alone, both = done["real_only"], done["cotraining"]
    apart = not Interval(alone["low"], alone["high"]).overlaps(Interval(both["low"], both["high"]))
    return (
        f"Target only solves {_rate(alone)}, plain co-training {_rate(both)}: "
        f"the intervals {'do not overlap' if apart else 'overlap'}.{counted}"
    )


def success_table(rows: Sequence[Row]) -> Table:
    """Success with its interval, one row a method; cells that failed are listed with their reason."""
    lines = []
    for row in sorted(rows, key=lambda row: "error" in row):
        if "error" in row:
            values = [None, "failed", row["error"], None, None]
        else:
            solved, seconds = f"{row['successes']} / {row['episodes']}", row["train_cpu_s"] + row["evaluation_cpu_s"]
            solved += ", diverged" if "diverged" in row else ""
            interval = f"{row['low']:.0%} to {row['high']:.0%}"
            values = [f"{row['ratio']:.3g}", solved, f"{row['success']:.0%}", interval, f"{seconds:.1f}"]
        lines.append([METHODS[row["method"]].title, *values])
    return Table(["method", "ratio", "solved", "success", "95 % interval", "CPU s"], lines)


def paired_table(rows: Sequence[Row]) -> Table:
    """Each method against plain co-training (else the first) on the same episodes."""
    done = {row["method"]: row for row in rows if "error" not in row}
    base = "cotraining" if "cotraining" in done else next(iter(done))
    outcomes = {name: row["outcomes"] for name, row in done.items()}
    return Table(
        ["method", "only it solves", f"only {METHODS[base].title} solves", "p"],
        [[METHODS[name].title, *mcnemar(own, outcomes[base])] for name, own in outcomes.items() if name != base],
        "All methods meet the same starts, goals and sampling noise. p is McNemar's exact test over episodes, not "
        "corrected for the number of rows; like the intervals it speaks of these policies.",
    )


def command(settings: Mapping[str, Any]) -> str:
    """The command that repeats a run, every setting spelled out."""
    return (
        f"cotrain bench sim2sim --task {settings['task']} --gap {settings['gap']} "
        f"--methods {','.join(settings['methods'])} --ratio {settings['ratio']} --seed {settings['seed']} "
        f"--target-demos {settings['target_demos']} --source-demos {settings['source_demos']} "
        f"--steps {settings['budget']['steps']} --episodes {settings['episodes']} --policy {settings['policy']} "
        f"--device {settings['device']}"
    )


def _compared(settings: Row) -> list[Text | Table]:
    of_domains = {domain: settings[domain] for domain in ("source", "target")}
    demos = [[n, d["demos"], d["frames"], d["tried"], f"{d['expert']:.0%}"] for n, d in of_domains.items()]
    return [
        Text(
            "Two domains of one MuJoCo task (Meta-World). Observations are keypoints seen through two virtual cameras; "
            f"no images are involved. The policy, {settings['policy']!r}, gives chunks of 8 commands; it is the same "
            "for all methods, starts from the same weights, is trained for the same steps on the same demonstrations, "
            "and is given no domain label unless the method brings one."
        ),
        Text(f"The target domain differs from the source in: {knobs(settings['gap_knobs'])}."),
        Table(["domain", "demonstrations", "frames", "expert episodes tried", "expert without noise"], demos),
    ]


def knobs(differences: Mapping[str, Any]) -> str:
    """A gap's knobs in words."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in differences.items()) or "nothing"


def settings_table(settings: Mapping[str, Any]) -> Table:
    """One line a setting."""
    texts = {name: ", ".join(map(str, v)) if isinstance(v, list) else str(v) for name, v in settings.items()}
    texts = {name: "none" if text in ("", "None") else text for name, text in texts.items()}
    return Table(["setting", "value"], [list(line) for line in texts.items()])


def _rate(row: Row) -> str:
    return f"{row['success']:.0%} [{row['low']:.0%}, {row['high']:.0%}]"
