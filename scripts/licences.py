"""List the licences of what the image may contain, from the packages' own metadata, and refuse what nobody allowed.

  python scripts/licences.py --write     # docs/licences.md anew, after `make lock`

exit status: 0 all are allowed and docs/licences.md is right, 1 one is not, or the list is not.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from lock import LOCKS
from processes import script
from project import ROOT, ScriptError, write_atomically

LIST = ROOT / "docs/licences.md"
#: Locks that the Dockerfile installs, all or by its arguments.
SERVING = [name for _, name in LOCKS if not re.search("train|dev|bench|kubernetes|notebook", name)]
#: SPDX. Everything may be done with these, if their text is kept; MPL-2.0 asks for the source of changes to itself.
ALLOWED = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MPL-2.0",
        "PSF-2.0",
        "Zlib",
    }
)
#: How metadata without an SPDX expression names them: classifiers first, then what packages write themselves.
NAMES = {
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Apache 2.0": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
}
#: Looked up by hand, because the metadata does not say it, or the package is not installed on every Python.
BY_HAND = {"async-timeout": "Apache-2.0", "skops": "MIT"}
#: Package -> licence that is allowed for it alone, and why.
EXCEPTIONS = {
    "psycopg": (
        "LGPL-3.0-only",
        "imported as a library, unmodified and replaceable, and installed on demand only",
    ),
    "psycopg-binary": ("LGPL-3.0-only", "as psycopg"),
}
#: The document down to its rows.
HEAD = """# Licences of what the image contains

Made by `scripts/licences.py --write` from the packages' own metadata; `make audit` refuses a licence that it does not
allow. `requirements.txt` is in every image, the other locks by its [build arguments](container.md). Libraries inside a
wheel (OpenBLAS in NumPy, libpq in psycopg-binary) have their licences in its `.dist-info`.

| package | licence | locked in |
| --- | --- | --- |"""


def licence(name: str) -> str:
    """Return the licence of a package as an SPDX expression, or its own words for it.

    Raises:
        ScriptError: it is not installed.
    """
    if name in BY_HAND:
        return BY_HAND[name]
    try:
        facts = metadata(name).json
    except PackageNotFoundError as error:
        raise ScriptError(f"{name} is not installed, so that its licence is unknown; `make tools-dev`") from error
    if expression := facts.get("license_expression"):
        return str(expression)
    classifiers = [text.rpartition(" :: ")[2] for text in facts.get("classifier", ()) if text.startswith("License ::")]
    own = str(facts.get("license", "unknown"))
    for text in [*classifiers, own]:
        if text in NAMES or text in ALLOWED:
            return NAMES.get(text, text)
    return ", ".join(classifiers) or own.splitlines()[0]


def is_allowed(name: str, expression: str) -> bool:
    """Return whether a licence is allowed for a package: of ``AND`` each part, of ``OR`` one."""
    if EXCEPTIONS.get(name, ("",))[0] == expression:
        return True
    # With brackets, each that is named has to be.
    separator = r" (?:AND|OR) " if "(" in expression else " AND "
    parts = [part.strip("()").split(" OR ") for part in re.split(separator, expression)]
    return all(ALLOWED & {name.strip("() ") for name in part} for part in parts)


def is_image_python() -> bool:
    """Return whether this Python is that of the image, but for its last number."""
    version = (ROOT / ".python-version").read_text("utf-8").split(".")
    return version[:2] == [str(number) for number in sys.version_info[:2]]


def packages(locks: Sequence[Path]) -> dict[str, list[str]]:
    """Return package -> names of the locks that pin it."""
    found: dict[str, list[str]] = {}
    for path in locks:
        for name in dict.fromkeys(re.findall(r"^([a-z0-9._-]+)(?:\[.*\])?==", path.read_text("utf-8"), re.MULTILINE)):
            found.setdefault(name, []).append(path.name)
    return dict(sorted(found.items()))


def document(found: dict[str, list[str]]) -> str:
    """Return the list as Markdown."""
    lines = [HEAD]
    for name, places in found.items():
        reason = f": {EXCEPTIONS[name][1]}" if name in EXCEPTIONS else ""
        lines.append(f"| {name} | {licence(name)}{reason} | {', '.join(places)} |")
    return "\n".join([*lines, ""])


@script("licences")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "licences.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write docs/licences.md")
    options = parser.parse_args(arguments)
    found = packages([ROOT / name for name in SERVING])
    refused = {name: text for name in found if not is_allowed(name, text := licence(name))}
    for name, text in refused.items():
        print(f"licences: {name} is under {text}, which scripts/licences.py does not allow", file=sys.stderr)
    if options.write:
        write_atomically(LIST, document(found))
    # Another Python than the image's may have other versions, and these other licences.
    elif is_image_python() and LIST.read_text("utf-8") != document(found):
        raise ScriptError("docs/licences.md is not what the locks say; python scripts/licences.py --write")
    print(f"licences: {len(found)} packages, {len(refused)} under a licence that is not allowed")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
