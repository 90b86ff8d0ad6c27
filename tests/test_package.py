"""The package as installed: what it brings, what importing it costs, what it needs nowhere."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import metadata, requires
from importlib.resources import files
from pathlib import Path

import pytest

import cotrain_losses

ROOT = Path(__file__).parent.parent
ADDED = {"cotrain_losses", "einops", "numpy", "cython_runtime"}
"""the packages that `import cotrain_losses` may load beside what `import torch` does, and the standard library's"""
WITHIN_TORCH = ("torch._dynamo", "torch._inductor", "torch._functorch", "torch.onnx", "torch.testing", "torch._numpy")
"""parts of torch that take long to load and that no import of ours needs"""


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    ).stdout.strip()


def loaded(code: str) -> set[str]:
    return set(python(f"import sys; {code}; print(*sys.modules)").split())


@pytest.fixture(scope="module")
def added() -> set[str]:
    """The modules that the library loads beside those that torch does."""
    return loaded("import cotrain_losses") - loaded("import torch")


def test_importing_the_library_brings_in_no_extra_and_no_heavy_requirement(added: set[str]) -> None:
    packages = {name.partition(".")[0] for name in added} - sys.stdlib_module_names
    assert {name for name in packages if not name.startswith("_")} - {"torch"} <= ADDED


def test_importing_the_library_brings_in_no_part_of_torch_that_takes_long(added: set[str]) -> None:
    assert not [name for name in added if name.startswith(WITHIN_TORCH)]


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


def test_nothing_below_the_recipes_knows_a_published_methods_name() -> None:
    names = re.compile(r"\b(def|class) \w*(adda|dann|cfg|jumbot|deepjdot|egobridge)", re.I)
    for path in (ROOT / "cotrain_losses").glob("**/*.py"):
        if "recipes" not in path.parts and path.name != "recipes.py":
            assert not names.search(path.read_text()), path


def test_the_plugin_is_of_the_librarys_version_and_asks_for_it() -> None:
    own = ConfigParser()
    own.read(ROOT / "setup.cfg")
    version = own["metadata"]["version"]
    plugin = (ROOT / "plugins" / "lerobot_policy_cotrain" / "pyproject.toml").read_text()
    assert f'version = "{version}"' in plugin and f'"cotrain-losses>={version}"' in plugin


def test_on_a_package_index_the_readme_leads_nowhere_that_is_not_there() -> None:
    text = (metadata("cotrain-losses").json["description"]).strip()
    assert text.startswith("# cotrain_losses") and "[Start here]" not in text and "**Start here**" in text
    assert all(target.startswith("http") for target in re.findall(r"\]\(([^)]*)\)", text))
