"""What setup.cfg cannot say: how the README reads on a package index, with no file of the project beside it."""

import re
from pathlib import Path

from setuptools import setup

text = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
text = re.sub(r"!\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1.", text)  # a picture is what it shows, in words
text = re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", text)  # a page is its name
text += "\nThe pages named here are in the source distribution, in `docs`.\n"

setup(long_description=text, long_description_content_type="text/markdown")
