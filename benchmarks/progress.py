"""Progress bars with the time that is left, on standard error; silent when nobody watches."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True)


def progress() -> Progress:
    """A set of bars, to be used as a context:

    with progress() as bars:
        for item in bars.track(items, description="cells"):
            ...
    """
    return Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]left[/dim]"),
        TimeRemainingColumn(),
        console=console,
    )


def say(sentence: str) -> None:
    """One line to the person watching, without disturbing the bars."""
    console.print(sentence, highlight=False, soft_wrap=True)
