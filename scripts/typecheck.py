"""Check types: mypy, strictly, over everything, with the sources of every package under packages/ on its path.

Arguments are passed on to mypy.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from project import Project

#: Two runs: packages/ml_api/tests and tests would both be called tests.
RUNS = (("packages",), ("scripts", "tests", "benchmarks", "conftest.py"))


def main(arguments: Sequence[str], project: Project | None = None) -> int:
    """Run the command."""
    project = project or Project()
    sources = os.pathsep.join(str(package.folder / "src") for package in project.packages)
    environ = os.environ | {"MYPYPATH": sources}
    runs = [
        subprocess.run([sys.executable, "-m", "mypy", *arguments, *run], cwd=project.root, env=environ, check=False)
        for run in RUNS
    ]
    return max(run.returncode for run in runs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
