"""Refuse what git should never hold: binaries, files over 1 MB, archives, models and rows of data.

Pictures are welcome in docs/images alone, as PNG up to 200 kB. Looks at every file that git tracks or would add.
Exit status: 0 all is well, 1 something is refused.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from processes import script
from project import ROOT, ScriptError

LARGEST = 1_000_000
#: The one place for pictures, how they begin, and how large they may be.
PICTURES, PNG, LARGEST_PICTURE = "docs/images", b"\x89PNG\r\n\x1a\n", 200_000
REFUSED = frozenset(
    f".{kind}"
    for kind in (
        *("csv", "parquet", "feather", "tsv", "xls", "xlsx"),
        *("joblib", "npy", "npz", "onnx", "pickle", "pkl"),
        *("db", "gz", "pyc", "sqlite", "tar", "whl", "zip"),
    )
)
#: A line with so many cells is a row of a table, not text.
MOST_COMMAS = 40


def faults(root: Path, names: Iterable[str]) -> list[str]:
    """Return the faults of the files ``names`` below ``root``, one sentence each."""
    found = []
    for name in names:
        path = root / name
        if path.is_symlink() or not path.is_file():
            continue
        reason = _picture_fault(path) if path.parent == root / PICTURES else _fault(path)
        if reason:
            found.append(f"{name}: {reason}")
    return found


def _fault(path: Path) -> str | None:
    if path.suffix.lower() in REFUSED:
        return f"{path.suffix} files are made or loaded, never committed"
    if path.stat().st_size > LARGEST:
        return f"{path.stat().st_size:,} bytes; the limit is {LARGEST:,}"
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return "binary"
    if "\0" in text:
        return "binary"
    for number, line in enumerate(text.splitlines(), 1):
        if line.count(",") > MOST_COMMAS:
            return f"line {number} looks like a row of data"
    return None


def _picture_fault(path: Path) -> str | None:
    if path.suffix != ".png" or not path.read_bytes().startswith(PNG):
        return f"{PICTURES} is for PNG files alone"
    if path.stat().st_size > LARGEST_PICTURE:
        return f"{path.stat().st_size:,} bytes; the limit of a picture is {LARGEST_PICTURE:,}"
    return None


def tracked(root: Path) -> list[str]:
    """Return the files that git tracks or would add.

    Raises:
        ScriptError: this is no git repository, or there is no git.
    """
    command = ["git", "-c", f"safe.directory={root}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ScriptError(f"{root}: git cannot list its files ({error}); this check needs a clone") from error
    return sorted(done.stdout.decode().rstrip("\0").split("\0"))


@script("check")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser("check_tracked.py", description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=ROOT, help="repository (default: this one)")
    root = parser.parse_args(arguments).root.resolve()
    names = tracked(root)
    found = faults(root, names)
    print("\n".join(found) or f"{len(names)} files: no binaries, nothing over 1 MB, no data")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
