"""Runs with robosuite, whose environment is its own.

`make robosuite` (pytest -m robosuite) collects this folder, nothing else does; it fails where robosuite is missing.
"""

from __future__ import annotations

import pytest


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return None if config.option.markexpr == "robosuite" else True


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "robosuite: runs with robosuite; run by `make robosuite`")
    if config.option.markexpr == "robosuite":  # its own deprecations are not this project's errors
        config.addinivalue_line("filterwarnings", "ignore")
