"""What the person watching a command sees: progress on standard error, as bars or as lines."""

from __future__ import annotations

from math import inf
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

console = Console(stderr=True)


class Spoken(Progress):
    """Bars on a terminal; elsewhere a line for every tenth of a task, or every half minute."""

    said: dict[TaskID, tuple[float, float]] | None = None
    """the share and the time, in seconds, of each task's last line"""

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._say(task_id)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._say(task_id)

    def _say(self, task_id: TaskID) -> None:
        task = next(task for task in self.tasks if task.id == task_id)
        if not self.disable or not task.total or not task.completed:
            return
        self.said = self.said or {}
        share, last = self.said.get(task_id, (0.0, -inf))
        reached, now = task.completed / task.total, task.elapsed or 0.0
        if reached > share and (reached - share >= 0.1 or reached == 1 or now - last >= 30):
            self.said[task_id] = reached, now
            done = f"{task.completed:.0f} of {task.total:.0f}, {now:.0f} s"
            say(f"{task.description[: 46 - len(done)]}: {done}")


def progress(*, transient: bool = False) -> Progress:
    """A set of bars, to be used as a context:

    with progress() as bars:
        for item in bars.track(items, description="cells"):
            ...
    """
    return Spoken(
        TextColumn(
            "{task.description}", table_column=Column(max_width=max(10, min(28, console.width - 38)), no_wrap=True)
        ),
        BarColumn(bar_width=max(2, min(40, console.width - 64))),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]left[/dim]"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=transient,
    )


def say(sentence: str) -> None:
    """One line to the person watching, without disturbing the bars."""
    console.print(sentence, highlight=False, soft_wrap=True)
