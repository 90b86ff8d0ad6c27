"""Names are data: files, their fields and dimensions may be called anything, and are shown as text.

shown(name)               bytes that are no text and escape sequences written out, very long names cut in the middle
distinct(names)           dimensions that never share a name
told_apart(paths)         paths by as many of their last parts as tell them apart
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

MOST = 80


def shown(name: object, most: int = MOST) -> str:
    """A name as printable text of at most `most` characters; paths, which must be found again, are not cut.

    >>> shown("arm[left].x"), shown("a\\x1b[31m"), shown(b"caf\\xe9".decode("utf8", "surrogateescape"))
    ('arm[left].x', 'a\\\\x1b[31m', 'caf\\\\udce9')
    """
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))
    if isinstance(name, Path) or len(text) <= most:
        return text
    return f"{text[: most - 13]}...{text[-10:]}"


def decoded(path: str | Path) -> str:
    """A path as text that JSON can hold: bytes that are not UTF-8 are written as they are numbered."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def listed(names: Iterable[object], most: int = 12) -> str:
    """Names in a sentence, the first of very many."""
    every = [shown(name) for name in names]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return (", ".join(every[:most]) or "none") + more


def distinct(names: Sequence[object]) -> tuple[str, ...]:
    """Names as they are shown, those that occur more than once with their place.

    >>> distinct(["x", "y", "x"])
    ('x[0]', 'y', 'x[2]')
    """
    texts = [shown(name) for name in names]
    often = Counter(texts)
    return tuple(text if often[text] == 1 else f"{text}[{place}]" for place, text in enumerate(texts))


def told_apart(paths: Sequence[str | Path]) -> tuple[str, ...]:
    """A short name for each path: its stem, with as many folders before it as tell the paths apart.

    >>> told_apart(["can/ph/low_dim.hdf5", "lift/ph/low_dim.hdf5", "real"])
    ('can/ph/low_dim', 'lift/ph/low_dim', 'real')
    """
    parts = [(*Path(path).parts[:-1], Path(path).stem) for path in paths]
    return tuple(shown(_shortest(own, {*parts} - {own})) for own in parts)


def _shortest(own: tuple[str, ...], others: Iterable[tuple[str, ...]]) -> str:
    alike = [other for other in others if other[-1] == own[-1]]
    for count in range(1, len(own) + 1):
        if not any(other[-count:] == own[-count:] for other in alike):
            return "/".join(own[-count:])
    return "/".join(own)


def places(key: str, width: int) -> list[str]:
    """Names of the dimensions of one field.

    >>> places("eef", 2), places("grip", 1)
    (['eef[0]', 'eef[1]'], ['grip'])
    """
    return [key] if width == 1 else [f"{key}[{i}]" for i in range(width)]
