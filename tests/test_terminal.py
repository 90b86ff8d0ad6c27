"""Progress speaks where nobody can see a bar, and fits a narrow terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cotrain_losses.cli import progress as terminal


@pytest.fixture
def written(monkeypatch):
    def console(**how):
        monkeypatch.setattr(terminal, "console", Console(file=io.StringIO(), **how))
        return terminal.console.file

    return console


def test_a_piped_progress_says_a_line_for_every_tenth(written) -> None:
    file = written(force_terminal=False)
    with terminal.progress() as bars:
        task = bars.add_task("cells", total=40)
        for _ in range(40):
            bars.advance(task)
    lines = file.getvalue().splitlines()
    assert 10 <= len(lines) <= 11, lines
    assert lines[-1].startswith("cells: 40 of 40, ")


def test_lines_and_bars_fit_forty_eight_columns(written) -> None:
    file = written(force_terminal=False, width=48)
    with terminal.progress() as bars:
        bars.advance(bars.add_task("a description that is longer than any line may be at all", total=1))
    assert max(map(len, file.getvalue().splitlines())) <= 48
    file = written(force_terminal=True, width=48, height=10, color_system=None)
    with terminal.progress() as bars:
        bars.add_task("pick-place, gap visual", total=1000, completed=10)
        shown = bars.console.render_lines(bars.get_renderable(), bars.console.options)
    text = "".join(segment.text for segment in shown[0])
    assert len(shown) == 1 and "10/1000" in text and "left" in text, text
