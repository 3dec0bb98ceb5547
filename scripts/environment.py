"""Make a virtual environment of exactly what a lock names, or leave it alone if it is that already.

Called by the Makefile with the Python that the environment is for. Third-party packages come from wherever pip's own
configuration says; every file must have a sha256 of the lock. Dependencies are not resolved while installing, so that
the result doesn't depend on what others release; a check afterwards finds what the lock lacks. An environment whose
making was interrupted, whose lock or Python has changed or that was moved is made anew. Of two set-ups at once, one
waits for the other.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
#: Lowest and highest Python that the locks and tests are for.
LOWEST, HIGHEST = (3, 11), (3, 13)
#: In the environment: what it was made of, for as long as it is complete.
STAMP = ".ready.json"
#: In the folder of packages: what all models import, what callers install, and the group in which a package announces
#: its model.
KIT, CLIENT, ENTRY_POINT_GROUP = "model_kit", "ml_client", "ml_api.models"
#: A dependency of the kit's extra for models that scikit-learn serves, and the lock of what that needs.
_SCIKIT_LEARN = re.compile(r"model[-_.]kit\s*\[[^]]*\bscikit-learn\b", re.IGNORECASE)
SCIKIT_LEARN_LOCK = "requirements/scikit-learn.txt"
#: Lines of pip that are shown when it fails.
_LAST_LINES = 30
#: Settings of pip, in variables or files, that would change what is installed; where packages come from is the user's.
_PIP_SETTINGS = {
    "PIP_CONSTRAINT": os.devnull,
    "PIP_DRY_RUN": "0",
    "PIP_IGNORE_INSTALLED": "0",
    "PIP_NO_BINARY": ":none:",
    "PIP_REQUIRE_HASHES": "0",
    "PIP_REQUIRE_VIRTUALENV": "0",
}


class SetUpError(Exception):
    """Setting up failed; the text says what to do."""


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold a folder for the block, after waiting for another set-up that holds it.

    The lock is the operating system's and is inherited by pip, which may go on writing when this process was killed: it
    ends with the last of them, however that ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another set-up that works in {folder.resolve()}", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_environment(
    folder: Path,
    lock: Path,
    editable: list[Path],
    pip: Path | None,
    *,
    tests: bool = True,
    allow_incomplete: bool = False,
) -> bool:
    """Make ``folder`` the environment of ``lock``; ``False`` if it is that already.

    Args:
        folder: the environment.
        lock: requirements with a sha256 each. Locks share their pins, so that a second one adds to the first.
        editable: packages of this project to install from their sources, without dependencies.
        pip: the Python whose pip installs; without it the environment gets a pip of its own.
        tests: whether the packages keep their own tests.
        allow_incomplete: print what the lock lacks instead of failing, and check again the next time.

    Raises:
        SetUpError: Python lacks something, pip failed, or the lock lacks something.
    """
    stamp = folder / STAMP
    state = read_stamp(stamp)
    if state["made of"] != foundation(folder) or any(sha(Path(name)) != old for name, old in state["locks"].items()):
        create(folder, with_pip=pip is None)
        state = {"made of": foundation(folder), "locks": {}, "editable": {}}
    locks = state["locks"] | {str(lock): sha(lock)}
    packages = {str(package): sha(package / "pyproject.toml") for package in editable}
    gone = [Path(name).name for name in state["editable"] if not Path(name, "pyproject.toml").exists()]
    if locks == state["locks"] and packages == state["editable"]:
        return False
    python = folder / "bin/python"
    command = [str(pip or python), "-m", "pip", "--python", str(python)]
    install = [*command, *install_into(folder)]
    if locks != state["locks"]:
        stamp.unlink(missing_ok=True)
        start = time.monotonic()
        run_pip([*install, "--require-hashes", "--requirement", str(lock)], count(lock), folder)
        missing = find_missing(command, lock, folder)
        if missing and not allow_incomplete:
            raise SetUpError(missing)
        if not tests:
            leave_out_tests(folder)
        print(f"{folder}: {lock.name} installed in {time.monotonic() - start:.0f} s", flush=True)
        if missing:
            print(missing, flush=True)
        else:
            state = state | {"locks": locks}
            write_stamp(stamp, state)
    if packages != state["editable"]:
        # Until they are installed, none is the one that was.
        write_stamp(stamp, state | {"editable": dict.fromkeys(state["editable"] | packages, "")})
        if gone:
            run_pip([*command, "uninstall", "--yes", *gone], len(gone), folder)
        run_pip([*install, *from_sources(editable)], len(packages), folder)
        write_stamp(stamp, state | {"editable": packages})
    return True


def find_missing(pip: list[str], lock: Path, folder: Path) -> str:
    """Return what a package of the lock requires, extras included, and the environment lacks; empty if nothing.

    pip resolves the lock against the environment alone, without an index. `pip check` would ignore extras.
    """
    # Without pip's configuration, which may name other places to find packages in or to put them.
    command = [*pip, "--isolated", "install", "--no-index", "--dry-run", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--requirement", str(lock)]
    environ = os.environ | {"PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    words = (done.stdout + done.stderr).strip()
    return f"{lock} is not complete; pip's check of {folder}:\n{words}\nRun `make lock`, which adds what is missing."


def find_packages(folder: Path) -> list[Path]:
    """Return the kit, the client if it is there, and every package that announces a model in ``folder``, in this order.

    Raises:
        SetUpError: a ``pyproject.toml`` cannot be read.
    """
    clients = [path.parent for path in folder.glob(f"{CLIENT}/pyproject.toml")]
    return [folder / KIT, *clients, *announced(folder)]


def announced(folder: Path) -> dict[Path, dict[str, Any]]:
    """Return every package in ``folder`` that announces a model, with its ``[project]``.

    Raises:
        SetUpError: a ``pyproject.toml`` cannot be read.
    """
    import tomllib  # noqa: PLC0415 - a Python that lacks it is told first which ones will do

    found = {}
    for path in sorted(folder.glob("*/pyproject.toml")):
        try:
            project = tomllib.loads(path.read_text("utf-8")).get("project", {})
        except (OSError, ValueError) as error:
            raise SetUpError(f"{path}: {error}") from error
        if project.get("entry-points", {}).get(ENTRY_POINT_GROUP):
            found[path.parent] = project
    return found


def needs_scikit_learn(project: Mapping[str, Any]) -> bool:
    """Whether scikit-learn serves the model of a package, by the dependencies of its ``[project]``."""
    return any(_SCIKIT_LEARN.match(dependency) for dependency in project.get("dependencies", ()))


def install_into(folder: Path) -> list[str]:
    """Return pip's command that installs into ``folder`` alone, whatever its configuration says."""
    elsewhere = ["--no-user", "--target=", f"--prefix={folder.absolute()}", "--root=/"]
    return ["install", *elsewhere, "--no-input", "--disable-pip-version-check", "--no-deps"]


def from_sources(packages: list[Path]) -> list[str]:
    """Options of pip that install packages from their sources, without a network."""
    return ["--no-build-isolation", *(part for package in packages for part in ("--editable", str(package)))]


def leave_out_tests(folder: Path) -> None:
    """Delete the packages' own tests: numpy's are a tenth of what serves (17 of 154 MB)."""
    for tests in sorted(folder.glob("lib/python*/site-packages/**/tests/")):
        shutil.rmtree(tests, ignore_errors=True)  # one may have gone with the one around it


def read_stamp(path: Path) -> dict[str, dict[str, str]]:
    """Return what the environment was made of; nothing if it is not complete."""
    nothing: dict[str, dict[str, str]] = {"made of": {}, "locks": {}, "editable": {}}
    try:
        found: dict[str, dict[str, str]] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return nothing
    return nothing | found


def write_stamp(path: Path, state: dict[str, dict[str, str]]) -> None:
    """Write the stamp atomically."""
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(state, indent=1), "utf-8")
    os.replace(unfinished, path)


def foundation(folder: Path) -> dict[str, str]:
    """Return what makes everything in an environment invalid when it changes."""
    base = getattr(sys, "_base_executable", sys.executable)
    return {"python": sys.version, "executable": os.path.realpath(base), "folder": str(folder.resolve())}


def create(folder: Path, *, with_pip: bool) -> None:
    """Make an empty environment in place of what is there.

    Raises:
        SetUpError: this Python can't make one.
    """
    print(f"{folder}: making an environment with Python {sys.version.split()[0]}", flush=True)
    if folder.exists():
        (folder / STAMP).unlink(missing_ok=True)  # first: deleting may be interrupted as well
        shutil.rmtree(folder)
    command = [sys.executable, "-m", "venv", *([] if with_pip else ["--without-pip"]), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stdout + done.stderr).strip()
        raise SetUpError(
            f"{sys.executable} cannot make a virtual environment:\n{words}\n"
            "On Debian and Ubuntu: apt-get install python3-venv. Elsewhere: name another Python, make PYTHON=..."
        )


def count(lock: Path) -> int:
    """Return how many packages a lock names."""
    return sum("==" in line for line in lock.read_text("utf-8").splitlines())


def run_pip(command: list[str], total: int, folder: Path) -> None:
    """Run pip, showing one line that changes instead of hundreds.

    Raises:
        SetUpError: pip failed; the text has its last words.
    """
    words: list[str] = []
    collected = 0
    moving = sys.stdout.isatty()
    with subprocess.Popen(
        command,
        env=os.environ | _PIP_SETTINGS,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        close_fds=False,  # see locked()
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            for line in process.stdout:
                words.append(line)
                verb, _, rest = line.strip().partition(" ")
                if verb == "Collecting":
                    collected += 1
                    text = f"{folder}: {collected} of {total} packages, {rest.split('==')[0]}"
                    show(text, moving, always=collected % 20 == 0)
                elif verb == "Installing":
                    show(f"{folder}: unpacking", moving, always=True)
        except BaseException:
            process.terminate()
            raise
    if moving:
        print("\r\033[K", end="", flush=True)
    if process.returncode:
        raise SetUpError(
            f"pip failed in {folder}; its last words:\n{''.join(words[-_LAST_LINES:])}"
            "Set-up is what needs the network; pip's configuration (mirror, proxy) is respected. Run make again."
        )


def show(text: str, moving: bool, *, always: bool) -> None:
    """Show progress: a line that changes in a terminal, a line now and then elsewhere."""
    if moving:
        print(f"\r\033[K{text}", end="", flush=True)
    elif always:
        print(text, flush=True)


def sha(path: Path) -> str:
    """Digest of a file; empty if there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser("environment.py", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="the virtual environment (default: this Python's own)")
    parser.add_argument("--lock", type=Path, help="requirements file with a sha256 for each package")
    parser.add_argument("--packages", type=Path, help="folder; its kit and models are taken from their sources")
    parser.add_argument(
        "--models", type=Path, help="folder; if scikit-learn serves one of its models, that is installed"
    )
    parser.add_argument("--pip", type=Path, help="Python whose pip installs (default: one in the environment)")
    parser.add_argument("--without-tests", action="store_true", help="delete the packages' own tests")
    parser.add_argument("--allow-incomplete", action="store_true", help="only print what the lock lacks")
    options = parser.parse_args(arguments)
    if not LOWEST <= sys.version_info[:2] <= HIGHEST:
        lowest, highest = (".".join(map(str, version)) for version in (LOWEST, HIGHEST))
        found = ".".join(map(str, sys.version_info[:3]))
        print(
            f"This project runs on Python {lowest} to {highest}; {sys.executable} is {found}. "
            f"Name another one: make PYTHON=python{highest}",
            file=sys.stderr,
        )
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    if bool(options.folder) != bool(options.lock):
        parser.error("a folder and a --lock belong together; without both, --packages are installed into this Python")
    try:
        packages = find_packages(options.packages) if options.packages else []
        locks = [options.lock]
        if options.models and any(map(needs_scikit_learn, announced(options.models).values())):
            locks.append(options.lock.parent / SCIKIT_LEARN_LOCK)
        if options.folder is None:
            prefix = Path(sys.prefix)
            run_pip(
                [sys.executable, "-m", "pip", *install_into(prefix), *from_sources(packages)], len(packages), prefix
            )
        else:
            with locked(options.folder.parent):
                for lock in locks:
                    make_environment(
                        options.folder,
                        lock,
                        packages,
                        options.pip,
                        tests=not options.without_tests,
                        allow_incomplete=options.allow_incomplete,
                    )
    except (SetUpError, OSError) as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: stopped; run make again to finish", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
