"""Check the site in build/site as its readers' browsers find it: every link and anchor, and nothing from another host.

Sphinx checks the links that the sources have; this checks those that were made of them, in generated pages too.

exit status: 0 all is there, 1 something is not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from processes import script
from project import ROOT, ScriptError, say

SITE = ROOT / "build/site"


class Page(HTMLParser):
    """The anchors of a page, what it links to, and what its browser loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what one element has."""
        given = {name: value for name, value in attrs if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and "href" in given and given.get("rel") not in ("canonical", "license"):
            self.loads.append(given["href"])
        elif "src" in given:
            self.loads.append(given["src"])


def faults(site: Path) -> Iterator[str]:
    """Yield what is wrong, page by page.

    Raises:
        ScriptError: there is no site.
    """
    pages = {path.resolve(): Page(path.read_text("utf-8")) for path in _pages(site)}
    if not pages:
        raise ScriptError(f"{site} has no page; `make site` builds it")
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for link in (*page.links, *page.loads):
            parts = urlsplit(link)
            if parts.scheme in ("data", "mailto"):
                continue
            if parts.scheme or parts.netloc:
                if link in page.loads:
                    yield f"{name}: loads {link}, from another host"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                yield f"{name}: {link} is not there"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{name}: {link} has no such anchor"


def _pages(site: Path) -> list[Path]:
    """The pages, without what the theme has for making some."""
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.relative_to(site).parts]


@script("check_site")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("check_site.py", description=__doc__, formatter_class=layout)
    parser.add_argument("site", type=Path, nargs="?", default=SITE, help="its folder (default: build/site)")
    site = parser.parse_args(arguments).site
    found = list(faults(site))
    for fault in found:
        print(fault, file=sys.stderr)
    say(f"{site}: {len(_pages(site))} pages, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
