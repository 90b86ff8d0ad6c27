"""Docstrings of this project as reStructuredText: equations are literal blocks, backticks are code, names are links.

The docstrings are plain text in Google's form.  An indented block outside of a section is an equation or a table.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from typing import Any

import cotrain_losses

SECTION = re.compile(r"(Args|Shape|Raises|Returns|Yields|Attributes|Note|Notes|Example|Examples):$")
COLON = re.compile(r":(?=\s|$)")
HIDDEN = "\ue000"
INHERITED = ("Alias for field number", "str(object='') -> str")
"""how Python's own words begin, for a field of a named tuple and for a text: they say nothing of this library"""
OPTION = re.compile(r"~?(?:typing\.)?Annotated\[(.*?), <typer\.[^>]*>\]")
CODE = re.compile(r"(`+[^`]+`+)")
EQUATION = ".. code-block:: text"
STRESSED = re.compile(r"(?<![\w*])(\*[a-z]+\*)(?![\w*])")


def public_modules() -> list[str]:
    """The library's modules whose path has no underscore."""
    found = pkgutil.walk_packages(cotrain_losses.__path__, "cotrain_losses.")
    return ["cotrain_losses", *(m.name for m in found if not re.search(r"\._|__", m.name))]


def public_names() -> dict[str, str]:
    """The name of each public object, with the shortest path that leads there."""
    names: dict[str, str] = {}
    for module in sorted(public_modules(), key=len):
        for name in getattr(importlib.import_module(module), "__all__", ()):
            names.setdefault(name, f"{module}.{name}")
    return names


NAMES = public_names()


def prose(line: str) -> str:
    """A line of text: code stays code, a stressed word is stressed, and nothing else is markup."""
    parts = CODE.split(line)
    after = [*(part[:1] for part in parts[1:]), ""]
    return "".join(_code(p, n) if p.startswith("`") else _text(p) for p, n in zip(parts, after, strict=True))


def _code(part: str, following: str) -> str:
    name = part.strip("`")
    text = f":py:obj:`{name} <{NAMES[name]}>`" if name in NAMES else f"``{name}``"
    return text + "\\ " if following.isalnum() else text


def _text(part: str) -> str:
    return "".join(each if STRESSED.fullmatch(each) else _escaped(each) for each in STRESSED.split(part))


def _escaped(part: str) -> str:
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", re.sub(r"([*|\\])", r"\\\1", part))


def restructured(lines: list[str]) -> list[str]:
    """A plain docstring as reStructuredText that napoleon reads on."""
    out: list[str] = []
    section = block = example = False
    for line in lines:
        indented, text = line.startswith(" "), line.strip()
        example = bool(text) and (example or text.startswith(">>>"))
        block = (block and (indented or not text)) or (not section and indented and not (out and out[-1].strip()))
        if not indented and text:
            section, block = bool(SECTION.match(text)), False
        if block and indented and not _within(out):
            out += [EQUATION, ""]
        out.append(line if block or example or (section and not indented) else _indent(line) + prose(text))
    return out


def _within(out: list[str]) -> bool:
    """Whether the last line that is not empty belongs to a literal block."""
    last = next((line for line in reversed(out) if line.strip()), "")
    return last.startswith(" ") or last == EQUATION


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def rewrite(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Before napoleon, which takes what stands before a colon in an attribute's docstring for its type."""
    lines[:] = [] if lines and lines[0].startswith(INHERITED) else restructured(lines)
    if what in ("attribute", "property", "data"):
        lines[:] = [COLON.sub(HIDDEN, line) for line in lines]


def signature(app: Any, what: str, name: str, obj: Any, asked: Any, text: str | None, returns: str | None) -> Any:
    """A signature without the addresses of a command's options, and a command's with short names.

    >>> signature(None, "", "", None, None, "(a: ~typing.Annotated[~types.~io.Path, <typer.Option at 7>] = 3)", None)
    ('(a: Path = 3)', None)
    """
    plain, options = OPTION.subn(r"\1", text or "")
    plain = re.sub(r"(?:~[\w.]*\.)+(?=\w)", "", plain) if options else plain
    return plain.replace("<factory>", "...") or None, returns


def uncover(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [line.replace(HIDDEN, ":") for line in lines]


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", rewrite, priority=100)
    app.connect("autodoc-process-docstring", uncover, priority=900)
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True}
