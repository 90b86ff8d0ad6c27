"""The lines that docs/codebases.md shows for the real libraries run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
PAGE = Path(__file__).parents[2] / "docs" / "codebases.md"


def test_the_pages_lines_for_real_libraries_run() -> None:
    blocks = re.findall(r"```py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
