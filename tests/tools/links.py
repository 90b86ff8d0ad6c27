"""`python -m tests.tools.links site`: every link within a built site leads to a file, and to a place in it."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of a page, and the places that links may lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.places.update(value for name in ("id", "name") if (value := given.get(name)))
        self.links += [value for name in ("href", "src") if tag != "link" and (value := given.get(name))]


def broken(site: Path) -> list[str]:
    """Each link that leads nowhere, with the page that has it."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if not parts.scheme and not parts.netloc and not _there(path, parts.path, parts.fragment, pages):
                found.append(f"{path.relative_to(site)} links to {link}")
    return found


def _there(page: Path, link: str, place: str, pages: dict[Path, Page]) -> bool:
    target = (page.parent / unquote(link)).resolve() if link else page
    if target.suffix != ".html" or not place:
        return target.exists()
    return target in pages and unquote(place) in pages[target].places


def main() -> int:
    found = broken(Path(sys.argv[1]).resolve())
    print("\n".join(found), file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
