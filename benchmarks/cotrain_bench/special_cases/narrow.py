"""Code as a page shows it: no line wider than the page."""

from __future__ import annotations

import re
from itertools import pairwise

STRING = re.compile(r"'[^']*'|\"[^\"]*\"")


def narrowed(code: str, width: int = 88) -> str:
    """Code whose lines fit a page: one that is wider is opened at its last bracket, and at commas inside.

    >>> print(narrowed("total = added(first, second)", 20))
    total = added(
        first, second
    )
    """
    return "\n".join(part for line in code.split("\n") for part in _opened(line, width))


def _opened(line: str, width: int) -> list[str]:
    pairs = _brackets(line)
    if len(line) <= width or not pairs:
        return [line]
    begin, end = max((pair for pair in pairs if not any(a < pair[0] and pair[1] < b for a, b in pairs)), key=max)
    indent = " " * (len(line) - len(line.lstrip()))
    inside = [f"{indent}    {line[begin + 1 : end].strip()}"]
    if len(inside[0]) > width:
        inside = [f"{indent}    {part}" for part in _parts(line[begin + 1 : end])]
    parts = [line[: begin + 1], *inside, indent + line[end:]]
    return [each for part in parts for each in _opened(part, width)]


def _parts(text: str) -> list[str]:
    """The parts of what stands in a bracket: its items, or what a comprehension makes and from what."""
    pairs = _brackets(text)
    free = "".join("_" if any(a < k < b for a, b in pairs) else c for k, c in enumerate(_without_strings(text)))
    pattern = r"\s+(?=for )" if " for " in free else r"(?<=,)\s+"
    cuts = [0, *(found.end() for found in re.finditer(pattern, free)), len(text)]
    return [text[a:b].strip() for a, b in pairwise(cuts)]


def _brackets(text: str) -> list[tuple[int, int]]:
    """Where each pair of brackets opens and closes, strings left out."""
    opened, pairs = list[int](), list[tuple[int, int]]()
    for k, c in enumerate(_without_strings(text)):
        if c in "([{":
            opened.append(k)
        elif c in ")]}" and opened:
            pairs.append((opened.pop(), k))
    return pairs


def _without_strings(text: str) -> str:
    return STRING.sub(lambda found: "_" * len(found[0]), text)
