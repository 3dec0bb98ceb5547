"""What a lock pins is all that its packages require, extras included: installing it asks no index what is newest."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import cast

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from environment import SCIKIT_LEARN_LOCK
from lock import LOCKS
from project import ROOT
from release_commit import missing_pins

RUNNING = default_environment()["python_version"]
#: The locks of other environments than that of the tests, which lacks some of their packages.
ELSEWHERE = {"requirements/bench.txt", "requirements/kubernetes.txt", "requirements/notebook.txt"}


def marker_environment(python: str) -> dict[str, str]:
    """Return this system's markers for a Python version."""
    here = cast("dict[str, str]", default_environment())
    if python == RUNNING:
        return here
    return here | {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_version": f"{python}.0",
    }


def requirements(text: str, markers: dict[str, str]) -> list[Requirement]:
    """Parse the lines of a requirements file that apply, without hashes, comments and options."""
    lines = re.findall(r"^[A-Za-z0-9][^\\\n]*", text, re.MULTILINE)
    return [line for line in map(Requirement, lines) if line.marker is None or line.marker.evaluate(markers)]


def direct(source: Path, markers: dict[str, str]) -> list[Requirement]:
    """Return what a .in file asks for, with what it includes by -r."""
    text = source.read_text("utf-8")
    included = re.findall(r"^-r (.+)$", text, re.MULTILINE)
    return [
        *requirements(text, markers),
        *(found for name in included for found in direct(source.parent / name, markers)),
    ]


def installed(pin: Requirement) -> Distribution | None:
    """Return the installed distribution of a pin, if it has the pinned version."""
    try:
        found = distribution(pin.name)
    except PackageNotFoundError:
        return None
    return found if pin.specifier.contains(found.version, prereleases=True) else None


def required(pin: Requirement, metadata: Distribution, markers: dict[str, str]) -> list[Requirement]:
    """Return what a locked package requires with the extras that its line names."""
    found = [Requirement(line) for line in metadata.requires or ()]
    return [
        requirement
        for requirement in found
        if requirement.marker is None
        or any(requirement.marker.evaluate(markers | {"extra": extra}) for extra in ("", *pin.extras))
    ]


def unsatisfied(requirement: Requirement, pins: dict[str, Requirement]) -> str:
    """Return why the pins do not satisfy a requirement; empty if they do."""
    pin = pins.get(canonicalize_name(requirement.name))
    if pin is None:
        return "not in the lock"
    version = next(iter(pin.specifier)).version
    if not requirement.specifier.contains(version, prereleases=True):
        return f"the lock has {version}"
    missing = set(map(canonicalize_name, requirement.extras)) - set(map(canonicalize_name, pin.extras))
    return f"the lock lacks the extras {sorted(missing)}" if missing else ""


def faults(source: Path, lock: str, python: str, *, may_be_absent: bool) -> list[str]:
    """Return every requirement of a lock's source and packages that the lock does not satisfy on a Python."""
    markers = marker_environment(python)
    pins: dict[str, Requirement] = {canonicalize_name(pin.name): pin for pin in requirements(lock, markers)}
    wanted = [(source.name, requirement) for requirement in direct(source, markers)]
    found = []
    for name, pin in pins.items():
        metadata = installed(pin)
        if metadata is not None:
            wanted += [(name, requirement) for requirement in required(pin, metadata, markers)]
        elif not may_be_absent:
            found.append(f"{pin} is not installed, so that its requirements are unknown")
    reasons = [(requester, requirement, unsatisfied(requirement, pins)) for requester, requirement in wanted]
    return found + [
        f"{requester} requires {requirement}: {reason}" for requester, requirement, reason in reasons if reason
    ]


def test_platform_gets_scikit_learn_beside_what_serves_and_no_package_twice() -> None:
    """Where it serves a model; pip refuses a package that is given twice."""
    serving, other = ((ROOT / name).read_text("utf-8") for name in ("requirements.txt", SCIKIT_LEARN_LOCK))
    markers = marker_environment(RUNNING)
    both = [pin.name for pin in requirements(serving + missing_pins(serving, other), markers)]
    assert sorted(set(both)) == sorted(both)
    assert {"skops", "scikit-learn", "pandas", "flask"} <= set(both)
    assert {pin.name for pin in requirements(other, markers)} <= set(both)
    assert missing_pins(serving, serving) == ""


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize(("source", "lock"), LOCKS)
def test_every_requirement_of_a_locked_package_is_in_the_lock(source: str, lock: str, python: str) -> None:
    """Extras included; read from the metadata of what is installed here.

    That is every package which requirements.txt, train.txt and dev.txt pin for the running Python; CI runs all three
    Pythons. Pins for another Python (numpy's, for one) are read there. Of the packages that only
    another environment has (such as fastapi, granian, uvicorn of bench.txt), the lines are checked here and
    the requirements by scripts/environment.py, without an index, whenever that environment is made.
    """
    may_be_absent = python != RUNNING or lock in ELSEWHERE
    assert faults(ROOT / source, (ROOT / lock).read_text("utf-8"), python, may_be_absent=may_be_absent) == []


@pytest.mark.parametrize(
    ("lock", "pattern", "replacement", "fault"),
    [
        ("requirements/dev.txt", r"^coverage\[toml\]", "coverage", "pytest-cov requires coverage[toml]"),
        ("requirements/train.txt", r"^pypiserver\[passlib\]", "pypiserver", "train.in requires pypiserver[passlib]"),
        ("requirements/bench.txt", r"^uvicorn\[standard\]", "uvicorn", "bench.in requires uvicorn[standard]"),
        ("requirements/train.txt", r"^passlib==.*$", "", "pypiserver requires passlib"),
        ("requirements/dev.txt", r"^ruff==.*$", "", "dev.in requires ruff: not in the lock"),
        ("requirements.txt", r"^flatbuffers==.*$", "", "onnxruntime requires flatbuffers: not in the lock"),
        ("requirements.txt", r"^werkzeug==[\d.]+", "werkzeug==2.0", "flask requires werkzeug>=3.1.0: the lock has 2.0"),
    ],
)
def test_a_dropped_pin_or_extra_is_noticed(lock: str, pattern: str, replacement: str, fault: str) -> None:
    source = next(source for source, target in LOCKS if target == lock)
    text, changes = re.subn(pattern, replacement, (ROOT / lock).read_text("utf-8"), flags=re.MULTILINE)
    assert changes == 1
    assert any(found.startswith(fault) for found in faults(ROOT / source, text, RUNNING, may_be_absent=True))


def test_locks_are_hashed_share_their_pins_and_name_no_server() -> None:
    pins = {}
    for _, name in LOCKS:
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--index" not in text
        lines = [line for line in text.split("\n") if "==" in line]
        assert lines
        assert text.count("==") <= text.count("--hash=sha256:")
        # An extra that only a package of development requests is in its lock alone.
        pins[name] = {re.sub(r"\[.*\]", "", line.split(" ")[0]) for line in lines}
    ours = {"model-kit", "model_kit", "regression-model", "regression_model"}
    assert not {pin.split("==")[0] for pin in pins["requirements.txt"]} & (ours | {"pandas", "scikit-learn", "onnx"})
    for name in ("requirements/dev.txt", "requirements/bench.txt", "requirements/notebook.txt"):
        assert pins["requirements.txt"] <= pins[name]
        assert pins["requirements/train.txt"] <= pins[name]
