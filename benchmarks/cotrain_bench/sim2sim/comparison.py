"""A comparison: demonstrations, one cell a method, results, pictures and a report in one folder.

Its presets were fixed before any result was seen.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..results import CannotContinue, Row, WrongSetting, check_one_of, write_results
from .batches import Budget
from .cell import Cell
from .demos import Demos
from .gaps import GAPS
from .run import Runner, compute_cells, record


@dataclass(frozen=True)
class Settings:
    """One comparison: its methods share all else.  WrongSetting for no method, one twice, or what cells refuse."""

    methods: tuple[str, ...] = ("real_only", "cotraining", "adda", "cfg", "cfg_adda")
    cell: Cell = field(default_factory=Cell)

    def __post_init__(self) -> None:
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise WrongSetting(f"a run compares one or more different methods, got {self.methods!r}.")
        self.cells()

    def cells(self) -> list[Cell]:
        return [replace(self.cell, method=method) for method in self.methods]


PRESETS = {
    "demo": Settings(),
    "smoke": Settings(
        ("real_only", "cotraining", "cfg_adda"), Cell(source_demos=12, episodes=5, budget=Budget(steps=100))
    ),
}


def settings(preset: str, **changes: Any) -> Settings:
    """A preset with changes; a change of None is none, `steps` is the budget's.

    Raises WrongSetting for an unknown preset, task, gap or method, or a number out of range, with what there is.

    >>> settings("demo", gap="hard", ratio=None).cell.gap
    'hard'
    """
    check_one_of("a preset", preset, PRESETS)
    chosen, given = PRESETS[preset], {name: value for name, value in changes.items() if value is not None}
    methods = given.pop("methods", chosen.methods)
    if (steps := given.pop("steps", None)) is not None:
        given["budget"] = replace(chosen.cell.budget, steps=steps)
    return Settings(methods, replace(chosen.cell, **given))


def compare(settings: Settings, out: str | Path, runner: Runner) -> Row:
    """Run what the settings say and write results.json, results.csv, figures and report.html into `out`.

    Cells that `out` holds already are not computed again.  Returns what results.json holds.

    Raises CannotContinue as `compute_cells` does, or for a cell that failed.
    """
    from . import figures
    from .summary import write_summary

    out, requests = Path(out), settings.cells()[0].requests()
    rows, demos = compute_cells(settings.cells(), out, runner)
    failed = {m: row["error"] for m, row in zip(settings.methods, rows, strict=True) if "error" in row}
    done = [row for row in rows if "error" not in row]
    listed = [{k: v for k, v in row.items() if k != "picture"} for row in done]
    listed += [{"method": method, "seed": settings.cell.seed, "error": error} for method, error in failed.items()]
    of_domains = {name: demos[requests[name]] for name in ("source", "target")}
    results = write_results(out, described(settings, of_domains), listed)
    if done:
        write_summary(out, results, figures.write_figures(out, done, settings.cell))
    if failed:
        reasons = "; ".join(f"{method}: {reason}" for method, reason in failed.items())
        raise CannotContinue(f"{len(failed)} of {len(rows)} cells failed and will be tried again next time. {reasons}")
    return results


def export_demonstrations(settings: Settings, form: str, out: str | Path, runner: Runner) -> Path:
    """Write the demonstrations of both domains in a format that policies are trained from; returns where they are."""
    from .export import FORMATS, export

    check_one_of("an export", form, FORMATS)  # before anything is recorded
    requests = settings.cells()[0].requests()
    demos = record([requests["source"], requests["target"]], runner)
    path = Path(out) / (form if form == "lerobot" else f"{form}.hdf5")
    return export({name: demos[requests[name]] for name in ("source", "target")}, form, path)


def described(settings: Settings, demos: dict[str, Demos]) -> dict[str, Any]:
    """The settings as results.json states them: knobs, demonstrations and the expert's success included."""
    stated: dict[str, Any] = {"gap_knobs": GAPS[settings.cell.gap].differences()}
    for name, side in demos.items():
        counts = {"demos": len(side), "frames": len(side.commands), "tried": side.tried}
        stated[name] = {**counts, "expert": side.expert}
    shared = {name: value for name, value in asdict(settings.cell).items() if name not in ("method", "label", "scales")}
    return {**shared, "methods": settings.methods, **stated}
