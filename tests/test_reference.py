"""The reference names every public object, and nothing that is not there."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import cotrain_losses

PAGES = Path(__file__).parent.parent / "docs" / "reference"
ELSEWHERE = {
    "advice": "docs/advise.md",
    "alignments": "docs/reference/mixing.md",
    "CoTrain": "docs/reference/policy.md",
    "diagnosis": "docs/diagnostics.md",
    "dtw_distances": "docs/reference/mixing.md",
    "diagnose": "docs/reference/datasets.md",
    "register": "docs/adding/format.md",
}
"""objects whose example is a block of a page: it takes long, registers something, or is a command"""
DIRECTIVE = re.compile(r"^\.\. auto(class|function|data|module):: (\S+)(\n   :members:)?", re.M)


def public() -> dict[str, object]:
    """Every name in the `__all__` of a module whose path has no underscore."""
    names = [found.name for found in walk_packages(cotrain_losses.__path__, "cotrain_losses.")]
    modules = [import_module(name) for name in names if "._" not in name and "__main__" not in name]
    every = [cotrain_losses, *modules]
    return {f"{module.__name__}.{name}": getattr(module, name) for module in every for name in _all(module)}


def _all(module: object) -> list[str]:
    return [name for name in getattr(module, "__all__", ()) if not name.startswith("__")]


def documented() -> dict[str, object]:
    """The objects that a directive of a page stands for."""
    found: dict[str, object] = {}
    for kind, path, members in DIRECTIVE.findall("\n".join(page.read_text() for page in sorted(PAGES.glob("*.md")))):
        if kind != "module":
            home, _, name = path.rpartition(".")
            found[path] = getattr(import_module(home), name)
        elif members:
            found |= {f"{path}.{name}": getattr(import_module(path), name) for name in _all(import_module(path))}
    return found


def test_every_public_object_is_in_the_reference() -> None:
    there = documented()
    identities = {id(value) for value in there.values()}
    missing = [n for n, value in public().items() if not inspect.ismodule(value) and id(value) not in identities]
    assert not missing, "add to docs/reference: " + ", ".join(missing)


def test_no_line_of_an_example_is_wider_than_a_page() -> None:
    texts = {name: inspect.getdoc(value) or "" for name, value in documented().items()}
    lines = [(name, line) for name, text in texts.items() for line in text.splitlines()]
    assert [(name, line) for name, line in lines if re.match(r"(>>>|\.\.\.) ", line.strip()) and len(line) > 88] == []


def test_the_page_of_the_wrapper_shows_every_argument_of_it() -> None:
    blocks = "".join(re.findall(r"```python\n(.*?)```", (PAGES / "policy.md").read_text(), re.S))
    arguments = list(inspect.signature(cotrain_losses.CoTrain).parameters)[2:]
    assert [name for name in arguments if f" {name}=" not in blocks] == []


def test_every_public_class_and_function_has_an_example_that_the_tests_run() -> None:
    there = {name: value for name, value in public().items() if inspect.isclass(value) or inspect.isfunction(value)}
    lacking = {id(value): name for name, value in there.items() if ">>> " not in (value.__doc__ or "")}
    assert {name.rpartition(".")[2] for name in lacking.values()} == set(ELSEWHERE), sorted(lacking.values())
    for name, page in ELSEWHERE.items():
        code = re.findall(
            r"^```(?:python|py|console|bash)\n(.*?)^```", (PAGES.parent.parent / page).read_text(), re.M | re.S
        )
        assert any(name in block for block in code), f"{page} has no code with {name}"
