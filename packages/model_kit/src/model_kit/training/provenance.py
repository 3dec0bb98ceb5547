"""Which code this is: a digest of a package's own sources, and its git commit."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path


def source_digest(package: Path) -> str:
    """sha256 over the names and contents of all Python and TOML files below ``package``, in order of their names."""
    digest = hashlib.sha256()
    paths = [path for path in package.rglob("*") if path.suffix in {".py", ".toml"}]
    for path in sorted(paths, key=lambda path: path.relative_to(package).as_posix()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def git_commit(folder: Path) -> str | None:
    """The commit that ``folder`` is checked out at, with ``-dirty`` if files differ from it; ``None`` outside git."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
