"""The pages of the documentation and their blocks of code.

A fence says after its language what a test does with the block (GitHub and Sphinx show none of it):

    ```sh                    the test that tests/test_pages.py names for the page runs it
    ```sh run by NAME        NAME does: a test file, or a target of make
    ```sh not run here       nothing does: it needs what a test has not. It is linted. The comment
                             `# not run here` in its first line says the same, to readers as well
    ```sh keeps running      it is started and left running, as in another terminal
    ```sh in NAME            it is run with the environment of requirements/doors/NAME.txt
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from project import ROOT

#: Languages of commands and of what programs read; other blocks show output, or are drawings.
SHELL = ("sh", "bash")
CODE = (*SHELL, "python", "json", "yaml", "toml", "ini")
NOT_RUN = "not run here"
_FENCE = re.compile(r"^( *)```(\S*) *(.*)$")
_PYTHON_FILE = re.compile(r"# (\S+\.py)\n")


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        place: page and line.
        language: as the fence has it; empty where it has none.
        note: what follows it on the fence.
        text: the code.
        shown: the output that the page shows right after it; empty if it shows none.
    """

    place: str
    language: str
    note: str
    text: str
    shown: str = ""

    @property
    def is_shell(self) -> bool:
        """Whether it has commands of a shell."""
        return self.language in SHELL

    @property
    def is_only_linted(self) -> bool:
        """Whether no test runs it."""
        return self.note == NOT_RUN or self.text.startswith(f"# {NOT_RUN}")

    @property
    def is_run(self) -> bool:
        """Whether the page's own test runs it."""
        return not self.is_only_linted and not self.note.startswith("run by ")

    @property
    def keeps_running(self) -> bool:
        """Whether its command does not end by itself."""
        return self.note.startswith("keeps running") or self.text == "make run\n"

    @property
    def environment(self) -> str | None:
        """Name of the environment that it is run in, if not the project's own."""
        found = re.search(r"\bin (\S+)$", self.note)
        return found[1] if found else None

    @property
    def file(self) -> str | None:
        """Name of the Python file that it is, by the comment in its first line."""
        found = _PYTHON_FILE.match(self.text) if self.language == "python" else None
        return found[1] if found else None


def pages() -> list[Path]:
    """Return every page that people read, README first."""
    others = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md"), ROOT / "benchmarks/README.md"]
    return [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted(others)


def name_of(page: Path) -> str:
    """Return the path of a page below the root."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in their order."""
    found = list(_blocks(page))
    shown = {number: after for number, after in enumerate(found[1:]) if not after[4].strip() and _is_output(after[1])}
    return [
        Block(place, language, note, text, shown[number][3] if number in shown and language in SHELL else "")
        for number, (place, language, note, text, _) in enumerate(found)
    ]


def _is_output(language: str) -> bool:
    return language in ("", "json")


def _blocks(page: Path) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield place, language, note and text of each block, and the text between it and the block before."""
    language: str | None = None
    note, indent, start = "", 0, 0
    inside: list[str] = []
    between: list[str] = []
    for number, line in enumerate(page.read_text("utf-8").splitlines(keepends=True), 1):
        fence = _FENCE.match(line.rstrip("\n"))
        if fence is None:
            (between if language is None else inside).append(line)
        elif language is None:
            indent, language, note, start = len(fence[1]), fence[2], fence[3].strip(), number
        else:
            text = "".join(one[indent:] if one[:indent].isspace() or not indent else one for one in inside)
            yield f"{name_of(page)}:{start}", language, note, text, "".join(between)
            language, inside, between = None, [], []
