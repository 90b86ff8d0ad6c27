"""Every Python block of the README and of each page runs, top to bottom, in one namespace a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("**/*.md"))]
NUMBER = re.compile(r"\d+\.\d+")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_and_print_what_it_says(page, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    namespace: dict[str, object] = {"__name__": page.stem}
    for block in BLOCK.finditer(text):
        line = text[: block.start()].count("\n") + 1
        exec(compile("\n" * line + block.group(1), str(page), "exec"), namespace)
    assert text.startswith("#"), "a page begins with its title"
    printed = capsys.readouterr().out.splitlines()
    for said in re.findall(r"It prints `([^`]+)`", text):
        assert any(alike(line, said) for line in printed), f"{page.name} says {said!r}"


def alike(line: str, said: str) -> bool:
    """The same words; numbers may differ by what another machine's arithmetic changes."""
    words = [NUMBER.sub("#", text) for text in (line, said)]
    numbers = [[float(x) for x in NUMBER.findall(text)] for text in (line, said)]
    return words[0] == words[1] and numbers[0] == pytest.approx(numbers[1], abs=0.02)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page) -> None:
    for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_no_line_of_code_of_the_gallery_is_wider_than_a_page() -> None:
    for example in (ROOT / "examples").glob("plot_*.py"):
        code = example.read_text().split('"""\n', 2)[2]
        wide = [line for line in code.splitlines() if not line.startswith("# ") and len(line) > 88]
        assert not wide, "\n".join([example.name, *wide])


def test_every_picture_of_the_readme_says_its_numbers_in_words() -> None:
    """An index of packages shows the words alone."""
    pictures = re.findall(r"!\[([^\]]*)\]\(", (ROOT / "README.md").read_text())
    assert pictures
    for words in pictures:
        assert len(re.findall(r"\d+ %", words)) >= 2, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_line_of_code_is_wider_than_a_page(page) -> None:
    fences = re.findall(r"^```([^\n]*)\n(.*?)^```", page.read_text(), re.M | re.S)
    wide = [
        line
        for kind, code in fences
        if kind not in ("math", "{eval-rst}")
        for line in code.splitlines()
        if len(line) > 88
    ]
    assert not wide, "\n".join(wide)
