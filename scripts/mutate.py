"""Change the code in small ways, one at a time, and see whether a test notices: `make mutate`.

Each package is copied to build/mutation, because mutmut reads its settings beside the code and writes there. Prints,
for each module, how many mutants there were and how many were noticed, and names those that were not; red below FLOOR.
`cd build/mutation/model_kit && python -m mutmut show NAME` shows one; `make mutate MUTATE="model_kit --modules spec"`
looks at single modules.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "mutation"
#: Share of mutants that must be noticed.
FLOOR = 0.85
#: What mutmut says of a mutant that a test noticed.
NOTICED = {"killed", "timeout", "suspicious", "segfault", "caught by type check"}


@dataclass(frozen=True)
class Target:
    """Code to change and the tests that should notice.

    Attributes:
        package: folder under packages/.
        sources: folder of the code in it.
        mutate: patterns of the files to change.
        spare: patterns of those among them to leave alone.
        skip: patterns of test files that are left out: what they start runs in another process, on the real code.
    """

    package: str
    sources: str
    mutate: tuple[str, ...]
    spare: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()


TARGETS = {
    "model_kit": Target(
        "model_kit",
        "src",
        ("src/model_kit/*",),
        # What runs models in processes of their own, and what only shows what these say.
        spare=(
            "src/model_kit/testing.py",
            *(f"src/model_kit/comparison/{name}.py" for name in ("html", "run", "scorer", "sources", "text", "worker")),
        ),
        skip=("test_comparison_run*", "test_comparison_sources*"),
    ),
    "views": Target(
        "ml_api",
        "ml_api",
        ("ml_api/views/*",),
        skip=("test_gunicorn*", "test_browser*"),
    ),
}


def narrowed(target: Target, modules: list[str]) -> Target:
    """Return the target with these modules alone, by name; the name of a folder stands for all that is in it.

    Raises:
        SystemExit: it has no such module.
    """
    package = ROOT / "packages" / target.package
    files = []
    for module in modules:
        folders = [(package / pattern).parent for pattern in target.mutate]
        found = [path for folder in folders for name in (module, f"{module}/*") for path in folder.rglob(f"{name}.py")]
        if not found:
            raise SystemExit(f"{target.package}: {module} is no module of the code to change")
        files += [str(path.relative_to(package)) for path in found]
    return replace(target, mutate=tuple(files))


def bare(code: str) -> str:
    """Code whose context managers are made such at its end: mutmut leaves decorated functions alone."""
    names = re.findall(r"^@contextmanager\ndef (\w+)", code, re.MULTILINE)
    code = re.sub(r"^@contextmanager\n(?=def )", "", code, flags=re.MULTILINE)
    return code + "".join(f"\n\n{name} = contextmanager({name})\n" for name in names)


def settings(folder: Path, target: Target, tests: list[str]) -> str:
    """setup.cfg for mutmut and pytest."""
    lines = {
        "source_paths": [target.sources],
        "only_mutate": target.mutate,
        "do_not_mutate": target.spare,
        "also_copy": sorted(path.name for path in folder.iterdir() if path.is_file() or path.name == "helpers"),
        "pytest_add_cli_args_test_selection": tests,
    }
    text = "[mutmut]\nuse_git_change_detection=false\ntrack_dependencies=false\n"
    for key, values in lines.items():
        if values:
            text += "\n    ".join([f"{key}=", *values]) + "\n"
    options = "--import-mode=importlib -p no:cacheprovider --hypothesis-seed=0"
    return text + f"[tool:pytest]\npythonpath = helpers\naddopts = {options}\n"


def run(name: str, target: Target, jobs: int) -> dict[str, str]:
    """Return the outcome of each mutant, by its name."""
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    package = ROOT / "packages" / target.package
    shutil.copytree(package / target.sources, folder / target.sources, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(package / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__", *target.skip))
    shutil.copytree(ROOT / "tests" / "helpers", folder / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "conftest.py", folder)
    for other in (*package.glob("*.py"), *package.glob("*.md"), package / "pyproject.toml"):
        shutil.copy(other, folder)
    for path in (folder / target.sources).rglob("*.py"):
        path.write_text(bare(path.read_text()))
    tests = sorted(str(path.relative_to(folder)) for path in folder.glob("tests/test_*.py"))
    (folder / "setup.cfg").write_text(settings(folder, target, tests))
    # mutmut waits for the processes that it forks, and trips over those that joblib leaves behind.
    environ = os.environ | {"JOBLIB_MULTIPROCESSING": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "mutmut"]
    subprocess.run([*command, "run", "--max-children", str(jobs)], cwd=folder, env=environ, check=True)
    result = subprocess.run(
        [*command, "results", "--all", "true"], cwd=folder, env=environ, check=True, capture_output=True, text=True
    )
    pairs = (line.strip().rpartition(": ") for line in result.stdout.splitlines() if "__mutmut_" in line)
    return {mutant: status for mutant, _, status in pairs}


def report(results: dict[str, str]) -> float:
    """Print a line for each module and each survivor; returns the share that was noticed."""
    modules: dict[str, Counter[bool]] = defaultdict(Counter)
    for mutant, status in results.items():
        modules[mutant.rpartition(".")[0]][status in NOTICED] += 1
    for module, counts in sorted(modules.items()):
        print(f"{module:32}{counts.total():5} mutants {counts[True] / counts.total():7.1%}")
    for mutant, status in sorted(results.items()):
        if status not in NOTICED:
            print(f"  {status}: {mutant}")
    return sum(counts[True] for counts in modules.values()) / len(results)


def main() -> int:
    """Run the targets named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all unless given")
    parser.add_argument(
        "--modules", default="", metavar="NAMES", help="change only these, separated by commas: tables,jsonlines"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    options = parser.parse_args()
    low = False
    for name in options.targets or TARGETS:
        target = TARGETS[name]
        if options.modules:
            target = narrowed(target, options.modules.split(","))
        share = report(run(name, target, options.jobs))
        print(f"{name}: {share:.1%} noticed, at least {FLOOR:.0%} are wanted")
        low |= share < FLOOR
    return int(low)


if __name__ == "__main__":
    sys.exit(main())
