"""The notes of a release, and that a tag is the version of the API."""

from __future__ import annotations

import pytest

import release_notes
from package_index import PackageIndex
from project import Project
from release_notes import section
from wheels import make_wheels


def test_the_notes_list_each_model_and_another_tag_is_refused(
    project: Project, index: PackageIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = make_wheels(project, index)
    stated = (project.root / "packages/ml_api/ml_api/__init__.py").read_text()
    version = stated.split('__version__ = "')[1].split('"')[0]
    assert release_notes.main(["--tag", f"v{version}"], project) == 0
    notes = project.notes.read_text()
    assert f"ml_api {version}, commit `None`, serves:" in notes
    assert f"\n| regression | 0.3.0 | `{manifest.models[0].artifact_sha256}` |\n" in notes
    assert f"\n| model-kit | {manifest.wheels[0].version} |  |\n" in notes
    project.notes.unlink()
    for tag in (version, "v9.9.9"):
        assert release_notes.main(["--tag", tag], project) == 2
        assert f"the tag is {tag}, and ml_api's version {version}: tag v{version}" in capsys.readouterr().err
    assert not project.notes.exists()


def test_a_section_of_a_changelog() -> None:
    changelog = "# Changelog\n\n## 0.2.0\n\n- New.\n- More.\n\n## 0.1.0\n\n- First.\n"
    assert section(changelog, "0.2.0") == "- New.\n- More."
    assert section(changelog, "0.1.0") == "- First."
    assert section(changelog, "0.3.0") == ""
