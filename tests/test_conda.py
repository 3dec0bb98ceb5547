"""The environments for conda are what the lock of the notebooks says. conda itself is not asked: it is not here."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import conda
from project import ROOT

#: Name on conda-forge -> on PyPI.
ON_PYPI = {there: here for here, there in conda.NAMES.items()}


def read(name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Name on PyPI -> what stands behind it, of conda's part of a file and of pip's."""
    document: dict[str, Any] = yaml.safe_load((ROOT / name).read_text("utf-8"))
    assert document["channels"] == ["conda-forge", "nodefaults"]
    *lines, by_pip = document["dependencies"]
    parts = [
        dict(re.fullmatch(r"([\w.-]+)(.*)", line).groups() for line in part)  # type: ignore[union-attr,misc]
        for part in (lines, by_pip["pip"])
    ]
    assert [len(part) for part in parts] == [len(lines), len(by_pip["pip"])], "a package is there twice"
    ours, others = ({ON_PYPI.get(there, there): text for there, text in part.items()} for part in parts)
    return ours, others


def locked() -> dict[str, list[str]]:
    """Name -> versions of every package that the lock has for Linux on x86-64, read as the tests of locks do."""
    markers = default_environment() | {"python_version": "3.11", "python_full_version": "3.11.0"}
    markers |= {"sys_platform": "linux", "platform_machine": "x86_64"}
    text = (ROOT / conda.LOCK).read_text("utf-8")
    found: dict[str, list[str]] = {}
    for line in map(Requirement, re.findall(r"^[a-z0-9][^\\\n]*", text, re.MULTILINE)):
        if line.marker is None or line.marker.evaluate(markers):  # type: ignore[arg-type]
            found.setdefault(line.name, []).append(str(line.specifier).removeprefix("=="))
    return found


@pytest.mark.parametrize("name", [conda.PINNED, conda.LOOSE])
def test_files_are_what_make_lock_writes(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == conda.environments(ROOT)[name]


def test_every_package_of_the_lock_is_there_once_with_its_version() -> None:
    ours, by_pip = read(conda.PINNED)
    assert ours.pop("python") == f"={(ROOT / '.python-version').read_text().strip()}"
    versions = {name: [text.removeprefix("=")] for name, text in ours.items()}
    versions |= {name: [text.split()[0].removeprefix("==")] for name, text in by_pip.items()}
    assert versions == locked()
    assert {"flask", "scikit-learn", "httpx", "jupyterlab", "matplotlib", "offapi"} <= set(versions)
    text = (ROOT / conda.LOCK).read_text("utf-8")
    for name, line in by_pip.items():
        hashes = re.findall(r"--hash=sha256:[0-9a-f]{64}", line)
        assert hashes
        assert all(re.search(rf"^{name}==(?:.*\n)+?.*{one}", text, re.MULTILINE) for one in hashes)


def test_loose_one_has_what_was_asked_for_in_versions_that_the_lock_has_too() -> None:
    ours, by_pip = read(conda.LOOSE)
    assert SpecifierSet(ours.pop("python")).contains("3.11.0")
    assert ours.pop("pip") == ""
    assert set(by_pip) == {"offapi"}
    asked = {line.name for line in conda.asked(ROOT / conda.SOURCE)}
    assert set(ours) | set(by_pip) == asked
    assert {"jupyterlab", "flask", "lightgbm"} <= asked
    for name, bound in (ours | by_pip).items():
        assert "==" not in bound
        assert all(SpecifierSet(bound).contains(version) for version in locked()[name]), name
    assert (ours["gunicorn"], ours["pandas"], ours["jupyterlab"]) == (">=27,<28", ">=2", "")
    assert ours["pyarrow"] == ">=18"


def test_conda_s_names_are_of_packages_that_are_locked() -> None:
    assert set(conda.NAMES) | conda.BY_PIP <= set(locked())
    assert not set(conda.NAMES) & conda.BY_PIP
