"""The expert's gate: under which (task, gap) there can be demonstrations.

    passes  <=>  the noiseless expert solves at least 9 of 10 episodes (of box-close 7)

    python -m cotrain_bench.sim2sim.gates --out results/gates --by-knob

The episodes are those of the gate in `demos`, so a pair that fails here is refused there.  A preset is not changed for
a task that it breaks; `--by-knob` tells which of its knobs, alone, breaks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cotrain_losses.cli.progress import progress
from cotrain_losses.cli.report import Table

from ..executors import executor
from ..results import Row, write_results
from ..terminal import cli_errors, show_table
from .demos import GATE_SEEDS, attempt
from .gaps import GAPS, Gap
from .tasks import TASKS, meta_world

NOISE, NOISY_SEEDS = 0.1, range(10**9 + 100, 10**9 + 112)


def gate(task: str, gap: Gap) -> Row:
    """What the expert does under a gap: episodes solved without noise and with it, and how long they take."""
    clean, noisy = (attempt(task, gap, seeds, noise) for seeds, noise in ((GATE_SEEDS, 0.0), (NOISY_SEEDS, NOISE)))
    solved, kept = (sum(episode is not None for episode in episodes) for episodes in (clean, noisy))
    lengths = [len(episode[0]) for episode in noisy if episode is not None]
    passes, steps = bool(solved >= TASKS[task].gate * len(clean)), float(np.median(lengths)) if lengths else None
    counts = {"solved": solved, "of": len(clean), "kept": kept, "of_noisy": len(noisy)}
    return {**counts, "median_steps": steps, "passes": passes}


def knobs(gap: Gap) -> dict[str, Gap]:
    """Each knob of a gap alone.

    >>> knobs(Gap(mass=1.5, lag=0.03))["mass"].differences()
    {'mass': 1.5}
    """
    return {knob: Gap(**{knob: value}) for knob, value in gap.differences().items()}  # type: ignore[arg-type]


def gates(
    out: Annotated[Path, typer.Option(help="Folder for results.json and results.csv.")] = Path("results/gates"),
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 2,
    by_knob: Annotated[bool, typer.Option("--by-knob", help="Try each knob of a gap that fails alone.")] = False,
) -> None:
    """Try the scripted expert on every task under every gap."""
    with cli_errors(out):
        rows = _tried({(task, name): gap for task in meta_world() for name, gap in GAPS.items()}, workers)
        if by_knob:
            failed = [(row["task"], row["gap"]) for row in rows if not row["passes"]]
            rows += _tried({(t, f"{n}: {k}"): g for t, n in failed for k, g in knobs(GAPS[n]).items()}, workers)
        tasks = {name: {"gate": task.gate, "horizon": task.horizon} for name, task in meta_world().items()}
        write_results(out, {"noise": NOISE, "tasks": tasks}, rows)
        show_table(_table(rows))


def _tried(pairs: Mapping[tuple[str, str], Gap], workers: int) -> list[Row]:
    with progress() as bars, executor("local", workers) as pool:
        bar = bars.add_task("expert", total=len(pairs))
        futures = {pair: pool.submit(gate, pair[0], gap) for pair, gap in pairs.items()}
        for future in futures.values():
            future.add_done_callback(lambda _: bars.advance(bar))
        return [{"task": task, "gap": gap, **future.result()} for (task, gap), future in futures.items()]


def _table(rows: list[Row]) -> Table:
    lines = []
    for row in rows:
        steps = "" if row["median_steps"] is None else f"{row['median_steps']:.0f}"
        solved, kept = f"{row['solved']} / {row['of']}", f"{row['kept']} / {row['of_noisy']}"
        lines.append((row["task"], row["gap"], solved, kept, steps, "yes" if row["passes"] else "**no**"))
    return Table(("task", "gap", "solved", f"kept, noise {NOISE}", "median steps", "passes"), lines)


if __name__ == "__main__":
    typer.run(gates)
