"""The package as installed: what it brings, what importing it costs, what it needs nowhere."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import requires
from importlib.resources import files
from pathlib import Path

import pytest

import cotrain_losses

ROOT = Path(__file__).parent.parent
HEAVY = (
    "ot",
    "geomloss",
    "matplotlib",
    "scipy",
    "sklearn",
    "typer",
    "rich",
    "metaworld",
    "mujoco",
    "torchvision",
    "h5py",
)


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    ).stdout.strip()


def test_importing_the_library_brings_in_no_extra_and_no_heavy_requirement() -> None:
    loaded = python(f"import sys, cotrain_losses; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded == "[]"


def test_the_benchmarks_are_part_of_the_package() -> None:
    assert Path(python("import cotrain_bench as b; print(b.__file__)")).name == "__init__.py"


def test_the_package_is_typed_and_every_public_name_is_there() -> None:
    assert files("cotrain_losses").joinpath("py.typed").is_file()
    assert all(hasattr(cotrain_losses, name) for name in cotrain_losses.__all__)


def test_the_runtime_requirements_are_the_four_named() -> None:
    base = {re.split(r"[<>=!\[; ]", r)[0].lower() for r in requires("cotrain-losses") or [] if "extra ==" not in r}
    assert base == {"torch", "einops", "geomloss", "pot"}


def test_every_folder_of_code_is_a_package_that_a_wheel_brings() -> None:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    listed = set(parser["options"]["packages"].split())
    own = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "cotrain_losses").glob("**/__init__.py")}
    suite = {
        ".".join(p.parent.relative_to(ROOT / "benchmarks").parts) for p in (ROOT / "benchmarks").glob("**/__init__.py")
    }
    assert listed == own | suite


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("**/*.py")), ids=lambda p: p.name)
def test_benchmarks_import_each_other_relatively_and_from_the_library_public_names_only(path) -> None:
    text = path.read_text()
    assert not re.search(r"from cotrain_bench|import cotrain_bench", text)
    private = re.findall(r"from cotrain_losses(?:\.\w+)* import .*\b(_\w+)|from cotrain_losses\.(_\w+)", text)
    assert not private


def test_nothing_below_the_recipes_knows_a_published_methods_name() -> None:
    names = re.compile(r"\b(def|class) \w*(adda|dann|cfg|jumbot|deepjdot|egobridge)", re.I)
    for path in (ROOT / "cotrain_losses").glob("**/*.py"):
        if "recipes" not in path.parts and path.name != "recipes.py":
            assert not names.search(path.read_text()), path
