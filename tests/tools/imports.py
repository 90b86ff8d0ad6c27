"""Who imports whom, read from the text: imports under TYPE_CHECKING and inside functions count like any other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

BY_TEXT = ("getattr", "setattr", "delattr", "hasattr", "attrgetter", "patch", "object")
"""calls that take the name of an attribute as text; the last is `patch.object`"""


@dataclass(frozen=True)
class Import:
    """One name that a module imports: `from module import name`, or `import module` (name is empty)."""

    by: str
    module: str
    name: str
    line: int
    relative: bool = False

    def __str__(self) -> str:
        return f"{self.by}:{self.line} imports {self.module}{'.' if self.name else ''}{self.name}"


class Tree:
    """The modules of one package below a folder, by their dotted names."""

    def __init__(self, folder: Path) -> None:
        self.name, self.folder = folder.name, folder
        self.paths = {self._dotted(path): path for path in sorted(folder.glob("**/*.py"))}

    def _dotted(self, path: Path) -> str:
        parts = path.relative_to(self.folder.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def parsed(self) -> dict[str, ast.Module]:
        """Each module's text, parsed."""
        return {name: ast.parse(path.read_text()) for name, path in self.paths.items()}

    @cached_property
    def imports(self) -> list[Import]:
        """Every import of every module, relative ones made absolute."""
        return [found for name, tree in self.parsed.items() for found in self._imports(name, tree)]

    def _imports(self, by: str, tree: ast.Module) -> Iterator[Import]:
        package = by if self.paths[by].name == "__init__.py" else by.rpartition(".")[0]
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (Import(by, alias.name, "", node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                module = ".".join([*above, *([node.module] if node.module else [])])
                yield from (Import(by, module, alias.name, node.lineno, node.level > 0) for alias in node.names)

    def target(self, found: Import) -> str | None:
        """The module of this tree that an import loads by its own name; None for another package's."""
        for module in (f"{found.module}.{found.name}", found.module):
            if module in self.paths:
                return module
        return None

    def arrows(self) -> dict[str, set[str]]:
        """Each module with the modules of the tree that it names."""
        arrows: dict[str, set[str]] = {name: set() for name in self.paths}
        for found in self.imports:
            if (target := self.target(found)) and target != found.by:
                arrows[found.by].add(target)
        return arrows

    def room(self, module: str) -> str:
        """The folder or file at the top of the package that a module is in; the package itself is ""."""
        return module.split(".")[1] if "." in module else ""


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that can each be reached from the others."""
    reached = {name: _reached(name, arrows) for name in arrows}
    groups = {frozenset({name, *(other for other in reached[name] if name in reached[other])}) for name in arrows}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _reached(start: str, arrows: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    ahead = [start]
    while ahead:
        new = arrows[ahead.pop()] - found
        found |= new
        ahead.extend(new)
    return found


def private(name: str) -> bool:
    """Whether a name is its owner's own: one leading underscore."""
    return name.startswith("_") and not name.startswith("__")


def own_names(tree: ast.Module) -> set[str]:
    """The private names that a module gives to its classes, functions, and their attributes."""
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _of_self(node)}
    names |= {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return {name for name in names if private(name)}


def private_reads(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Attributes `x._name` of something other than self, with their lines and texts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr) and not _of_self(node):
            yield node.lineno, node.attr, ast.unparse(node)


def private_strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Private names given as text to `getattr`, `setattr` and their kin, or looked up in `vars`, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in BY_TEXT:
            texts = [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
            yield from ((node.lineno, text) for text in texts if any(map(private, text.split("."))))
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value).startswith("vars("):
            text = node.slice.value if isinstance(node.slice, ast.Constant) else ""
            yield from [(node.lineno, str(text))] if private(str(text)) else []


def _of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
