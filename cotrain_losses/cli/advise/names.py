"""Names of datasets and of dimensions: data, whatever they hold."""

from __future__ import annotations

import os
from pathlib import Path

LONGEST = 60


def printable(text: str) -> str:
    """A name that every terminal, JSON reader and page can show: no control characters, no bytes that are not text.

    >>> printable("a" + chr(27) + "[31m" + chr(0xDCFF))
    'a\\\\x1b[31m\\\\udcff'
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST // 2]}...{shown[-LONGEST // 2 + 3 :]}"


def decoded(path: str | Path) -> str:
    """A path as text that JSON can hold: bytes that are not UTF-8 are written as they are numbered."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
