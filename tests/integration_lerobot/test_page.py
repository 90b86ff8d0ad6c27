"""The lines that docs/codebases.md shows for LeRobot run as they stand, with LeRobot 0.6.1."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration_lerobot
PAGE = Path(__file__).parents[2] / "docs" / "codebases.md"


def test_the_pages_lines_for_lerobot_run() -> None:
    blocks = [block for block in re.findall(r"```py\n(.*?)```", PAGE.read_text(), re.DOTALL) if "lerobot" in block]
    assert len(blocks) == 2
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
