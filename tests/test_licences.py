"""Licences of what the image may contain."""

from __future__ import annotations

from pathlib import Path

import pytest

import licences
from project import ScriptError


def test_list_is_what_the_locks_say_and_everything_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    assert licences.main([]) == 0
    assert capsys.readouterr().out.endswith(" packages, 0 under a licence that is not allowed\n")
    lines = licences.LIST.read_text().splitlines()
    assert "| flask | BSD-3-Clause | requirements.txt |" in lines
    assert "| packaging | Apache-2.0 OR BSD-2-Clause | requirements.txt, scikit-learn.txt, operations.txt |" in lines
    assert "| opentelemetry-sdk | Apache-2.0 | otel.txt |" in lines
    (driver,) = [line for line in lines if line.startswith("| psycopg |")]
    assert driver.startswith("| psycopg | LGPL-3.0-only: imported as a library, ")


@pytest.mark.parametrize(
    ("name", "expression", "allowed"),
    [
        ("a", "MIT", True),
        ("a", "Apache-2.0 OR GPL-3.0-only", True),
        ("a", "MIT AND (BSD-2-Clause OR Apache-2.0)", True),
        ("a", "GPL-3.0-or-later", False),
        ("a", "MIT AND AGPL-3.0-only", False),
        ("a", "MIT AND (BSD-2-Clause OR GPL-2.0-only)", False),  # not without a look
        ("a", "Other/Proprietary License", False),
        ("a", "unknown", False),
        ("a", "LGPL-3.0-only", False),
        ("psycopg", "LGPL-3.0-only", True),
        ("psycopg", "GPL-3.0-only", False),
    ],
)
def test_copyleft_and_the_unknown_are_refused(name: str, expression: str, allowed: bool) -> None:
    assert licences.is_allowed(name, expression) is allowed


def test_package_under_another_licence_fails_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "site" / "viral-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "site/viral-1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: viral\nVersion: 1.0\n"
        "Classifier: License :: OSI Approved :: GNU Affero General Public License v3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    lock = tmp_path / "more.txt"
    lock.write_text("flask==3.1.0 \\\n    --hash=sha256:00\nviral==1.0\n")
    monkeypatch.setattr(licences, "SERVING", [str(lock)])
    monkeypatch.setattr(licences, "LIST", tmp_path / "list.md")
    assert licences.main(["--write"]) == 1
    assert "viral is under GNU Affero General Public License v3, which" in capsys.readouterr().err
    assert "| viral | GNU Affero General Public License v3 | more.txt |" in (tmp_path / "list.md").read_text()
    lock.write_text("never-installed==1.0\n")
    with pytest.raises(ScriptError, match="^never-installed is not installed"):
        licences.licence("never-installed")


def test_list_that_is_out_of_date_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(licences, "LIST", tmp_path / "list.md")
    monkeypatch.setattr(licences, "is_image_python", lambda: True)
    (tmp_path / "list.md").write_text("# Licences\n")
    assert licences.main([]) == 1
    assert "docs/licences.md is not what the locks say" in capsys.readouterr().err
