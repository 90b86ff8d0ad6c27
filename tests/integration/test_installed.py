"""The real policy libraries are there, in the versions that were named."""

from __future__ import annotations

from importlib.metadata import version

import pytest

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("package, expected", [("lerobot", "0.4.4"), ("robomimic", "0.3.0"), ("torchvision", "0.28.0")])
def test_the_libraries_under_test_are_installed(package: str, expected: str) -> None:
    assert version(package) == expected
