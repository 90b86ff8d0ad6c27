"""Where a line breaks: not in a word of code that fits, in an arrow, a date or an interval, or before a percent sign.

A cell of a table says how much text it holds, so that pages.css keeps it wide enough to be read.
"""

from __future__ import annotations

import html
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

LONG, WIDE = 24, 44
"""letters: a longer word of code may be broken in a table, and on a narrow window, at its joints"""
CELLS = {"sentences": 110, "sentence": 55, "phrase": 24}
"""letters from which on a cell has the class"""
CODE = re.compile(r"<code\b.*?</code>", re.S)
WORD = re.compile(r'<span class="pre">([^<]*)</span>')
JOINT = re.compile(r"(?<=\w)(?!\.\w{1,4}$)[./_=,(:\[-]+(?=\w|&quot;)")
HUMP = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
NUMBER = r"[+-]?[\d.]+"
GLUED = [
    (re.compile(r"^ -- $"), " \u2013 "),  # between an argument and what is said of it
    (re.compile(r"->"), "-\u2060>"),
    (re.compile(r"(?<=[\de])-(?=\d)"), "-\u2060"),
    (re.compile(rf"(?<=\d) (?=%)|(?<=\d,) (?={NUMBER}\])"), "\u00a0"),
]
KEPT = (nodes.literal, nodes.FixedTextElement, nodes.math, nodes.math_block, nodes.raw)


def word(found: re.Match[str]) -> str:
    """A word of code with its class and its joints.

    >>> word(WORD.match('<span class="pre">tests/integration/conftest.py</span>'))
    '<span class="pre long">tests/<wbr>integration/<wbr>conftest.py</span>'
    """
    text = found.group(1)
    letters = len(html.unescape(text))
    if letters <= LONG:
        return found.group()
    kind = "long wide" if letters > WIDE else "long"
    joint = JOINT if JOINT.search(text) else HUMP
    return f'<span class="pre {kind}">{joint.sub(lambda at: at.group() + "<wbr>", text)}</span>'


def joints(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Mark the long words of code on a page."""
    if "body" in context:
        context["body"] = CODE.sub(lambda code: WORD.sub(word, code.group()), context["body"])


def glue(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Keep together what is one sign, and say how much each cell holds."""
    for text in list(doctree.findall(nodes.Text)):
        glued = str(text)
        for sign, whole in GLUED:
            glued = sign.sub(whole, glued)
        if glued != text and not isinstance(text.parent, KEPT):
            text.parent.replace(text, nodes.Text(glued))
    for cell in doctree.findall(nodes.entry):
        cell["classes"] += [name for name, least in CELLS.items() if len(cell.astext()) >= least][:1]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", joints)
    app.connect("doctree-resolved", glue)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
