"""A picture wider than the text column is marked `broad`, so that a narrow window scrolls it and keeps it legible."""

from __future__ import annotations

import struct
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

COLUMN = 900
"""pixels: at most this, a picture's letters are made to be read at half of it"""


def width(png: Path) -> int:
    """The width of a PNG, from its first chunk."""
    return struct.unpack(">I", png.read_bytes()[16:20])[0]


def mark(app: Sphinx, doctree: nodes.document) -> None:
    """Wide pictures of this site get the class, and the paragraph that holds one scrolls."""
    for image in doctree.findall(nodes.image):
        path = Path(app.srcdir, image["uri"])
        if path.suffix == ".png" and path.is_file() and width(path) > COLUMN:
            image["classes"].append("broad")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", mark)
    return {"parallel_read_safe": True}
