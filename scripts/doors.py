"""Test with the clients and engines of others, each in an environment of its own: build/doors/<name>.

tests/doors/test_<name>.py runs in an environment made of requirements/doors/<name>.txt. Where that lock has hatchling,
which builds them, the kit and the models are in it too, from their sources.

  python scripts/doors.py                # all
  python scripts/doors.py mlflow spark   # some

exit status: 0 all tests passed; 1 one failed, or an environment could not be made; 2 there is no such door
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from environment import SetUpError, find_packages, locked, make_environment
from processes import script
from project import ROOT, ScriptError, say

TESTS = ROOT / "tests/doors"
ENVIRONMENTS = ROOT / "build/doors"


def doors(root: Path = TESTS) -> list[str]:
    """Return the names of all doors."""
    return sorted(path.stem.removeprefix("test_") for path in root.glob("test_*.py"))


def environment(name: str) -> Path:
    """Make the environment of a door, or leave it alone if it is what its lock says; returns its Python.

    Raises:
        ScriptError: it could not be made.
    """
    lock = ROOT / f"requirements/doors/{name}.txt"
    has_ours = re.search(r"^hatchling==", lock.read_text("utf-8"), re.MULTILINE)
    packages = find_packages(ROOT / "packages") if has_ours else []
    try:
        with locked(ENVIRONMENTS):
            make_environment(ENVIRONMENTS / name, lock, packages, Path(sys.executable))
    except SetUpError as error:
        raise ScriptError(str(error)) from error
    return ENVIRONMENTS / name / "bin/python"


@script("doors")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("doors.py", description=__doc__, formatter_class=layout)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which (default: all)")
    known = doors()
    names = parser.parse_args(arguments).names or known
    if unknown := sorted(set(names) - set(known)):
        raise ScriptError(f"there is no tests/doors/test_{unknown[0]}.py; there are: {', '.join(known)}", 2)
    failed = []
    for name in names:
        python = environment(name)
        say(f"== {name}")
        command = [str(python), "-m", "pytest", "-c", str(TESTS / "pytest.ini"), str(TESTS / f"test_{name}.py")]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(name)
    say(f"doors: {len(names) - len(failed)} of {len(names)} passed; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
