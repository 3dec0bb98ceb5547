"""Write the locks anew: every package that serving, training and development need, with its sha256.

Universal: one lock for Python 3.11 to 3.13 on Linux and macOS, with markers where they differ. They share their pins.
Each package is written with the extras that others request of it, for platforms that resolve dependencies while
installing (`pip install -r`). Needs the network; respects UV_* and pip's index variables, and writes no index's name.
What scripts/doors.py tests with, and what builds the documentation, have locks of their own, requirements/doors/*.txt
and requirements/site.txt, which share no pins. The environments for conda are made of the notebooks' lock, see
scripts/conda.py.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import conda
from processes import script
from project import ROOT, ScriptError

#: Source and lock, each with the pins of those before it.
LOCKS = (
    ("requirements/serve.in", "requirements.txt"),
    ("requirements/train.in", "requirements/train.txt"),
    ("requirements/scikit-learn.in", "requirements/scikit-learn.txt"),
    ("requirements/operations.in", "requirements/operations.txt"),
    ("requirements/log.in", "requirements/log.txt"),
    ("requirements/otel.in", "requirements/otel.txt"),
    ("requirements/tables.in", "requirements/tables.txt"),
    ("requirements/dev.in", "requirements/dev.txt"),
    ("requirements/bench.in", "requirements/bench.txt"),
    ("requirements/kubernetes.in", "requirements/kubernetes.txt"),
    ("requirements/notebook.in", "requirements/notebook.txt"),
)
LOWEST_PYTHON = "3.11"


def separate_locks(root: Path) -> list[tuple[str, str]]:
    """Return source and lock of each environment of its own: the doors', see scripts/doors.py, and the site's."""
    sources = [*sorted((root / "requirements/doors").glob("*.in")), *(root / "requirements").glob("site.in")]
    names = [source.relative_to(root).as_posix() for source in sources]
    return [(name, f"{name.removesuffix('.in')}.txt") for name in names]


def lock(root: Path, *, upgrade: bool, only: Sequence[str] = ()) -> None:
    """Write all locks, or ``only`` some, or none.

    Raises:
        ScriptError: they can't be resolved, the reason is above; or there is no such lock.
    """
    separate = separate_locks(root)
    locks = [(source, target) for source, target in (*LOCKS, *separate) if not only or target in only]
    if unknown := set(only) - {target for _, target in locks}:
        raise ScriptError(f"there is no lock {min(unknown)}", 2)
    with tempfile.TemporaryDirectory(prefix="lock-") as temporary:
        copy = Path(temporary)
        (copy / "requirements/doors").mkdir(parents=True)
        for source, target in (*LOCKS, *separate):
            for name in (source, target):
                if (root / name).exists():
                    (copy / name).write_bytes((root / name).read_bytes())
        for source, target in locks:
            command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
            command += ["--python-version", LOWEST_PYTHON, "--no-header", "--no-emit-index-url", "--no-emit-find-links"]
            # With hashes, pip refuses to resolve `coverage[toml]` if the lock only has `coverage`.
            command += ["--no-strip-extras"]
            command += ["--output-file", target, source, *(["--upgrade"] if upgrade else [])]
            environ = os.environ | {"UV_PYTHON_DOWNLOADS": "never"}
            if subprocess.run(command, cwd=copy, env=environ, check=False).returncode:
                raise ScriptError(f"{source} could not be locked; the reason is above, and no lock was changed")
        for source, target in locks:
            heading = f"# Made from {source} by `make lock`; not to be edited.\n"
            (root / target).write_text(heading + (copy / target).read_text("utf-8"), "utf-8")
    if conda.LOCK in [target for _, target in locks]:
        for name, text in conda.environments(root).items():
            (root / name).write_text(text, "utf-8")


@script("lock")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser("lock.py", description=__doc__)
    parser.add_argument("locks", nargs="*", metavar="LOCK", help="only these, such as requirements/doors/mlflow.txt")
    parser.add_argument("--keep", action="store_true", help="keep the pins that still fit instead of the newest")
    options = parser.parse_args(arguments)
    lock(ROOT, upgrade=not options.keep, only=options.locks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
