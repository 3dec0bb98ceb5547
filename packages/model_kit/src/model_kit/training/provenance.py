"""The git commit of a package's code."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

#: Variables by which git names another repository than that of the folder it works in, as in a hook.
REPOSITORY_VARIABLES: Final = {"GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"}


def git_commit(folder: Path, report: Callable[[str], object] | None = None) -> str | None:
    """The commit that ``folder`` is checked out at, with ``-dirty`` if files differ from it; ``None`` if unknown.

    Args:
        folder: any folder of the checkout. It may belong to another user, because its code is already being run.
        report: called with the reason if the commit is unknown.
    """
    command = ["git", "-c", "safe.directory=*", "-C", str(folder)]
    command += ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    # Nothing is written: the owner may be another user.
    environ = {name: value for name, value in os.environ.items() if name not in REPOSITORY_VARIABLES} | {
        "GIT_OPTIONAL_LOCKS": "0"
    }
    try:
        return subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout.strip()
    except OSError as error:
        reason = f"git: {error.strerror}"
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().removeprefix("fatal: ").partition("\n")[0]
    if report:
        report(f"The git commit of {folder} is not recorded: {reason}")
    return None
