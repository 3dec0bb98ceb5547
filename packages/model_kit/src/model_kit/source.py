"""Which code this is: a digest of a package's own sources."""

from __future__ import annotations

import hashlib
from pathlib import Path


def source_digest(package: Path) -> str:
    """sha256 over the names and contents of all Python files below ``package``, in order of their names."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).as_posix()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
