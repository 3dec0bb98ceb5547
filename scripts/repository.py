"""Runs git in the project."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from model_kit.training.provenance import REPOSITORY_VARIABLES

from project import ScriptError


def git(root: Path, *arguments: str, environ: Mapping[str, str] | None = None, stdin: bytes | None = None) -> bytes:
    """Return what a git command prints.

    Raises:
        ScriptError: it failed; the text has its words.
    """
    try:
        done = subprocess.run(
            ["git", "-c", f"safe.directory={root.resolve()}", "-C", str(root), *arguments],
            env={n: v for n, v in os.environ.items() if n not in REPOSITORY_VARIABLES} | dict(environ or {}),
            input=b"" if stdin is None else stdin,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise ScriptError("git is not here; install it") from error
    if done.returncode:
        raise ScriptError(f"git {arguments[0]} failed in {root}:\n{done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout
