"""What git knows of the project."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from project import ScriptError


def git(root: Path, *arguments: str, environ: Mapping[str, str] | None = None, stdin: bytes | None = None) -> bytes:
    """What a git command prints.

    Raises:
        ScriptError: it failed; the text has its words.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            env=os.environ | (environ or {}),
            input=b"" if stdin is None else stdin,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise ScriptError("git is not here; install it") from error
    if done.returncode:
        raise ScriptError(f"git {arguments[0]} failed in {root}:\n{done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout


def commit_of(root: Path) -> str | None:
    """The commit that is checked out, with ``-dirty`` if tracked files differ from it; ``None`` outside git."""
    try:
        head = git(root, "rev-parse", "--verify", "HEAD").decode().strip()
        changed = git(root, "status", "--porcelain", "--untracked-files=no")
    except ScriptError:
        return None
    return f"{head}-dirty" if changed else head
