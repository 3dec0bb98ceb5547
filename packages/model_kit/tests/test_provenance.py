from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from model_kit.scoring.installed import source_digest
from model_kit.training.provenance import git_commit


def test_digest_changes_with_code_and_names_and_with_nothing_else(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "sub").mkdir(parents=True)
    (package / "a.py").write_text("1")
    (package / "sub" / "b.py").write_text("2")
    before = source_digest(package)
    (package / "bundle").mkdir()
    (package / "bundle" / "card.json").write_text("{}")
    assert source_digest(package) == before
    (package / "a.py").write_text("3")
    changed = source_digest(package)
    assert changed != before
    (package / "a.py").rename(package / "c.py")
    assert source_digest(package) not in (before, changed)
    (package / "levels.toml").write_text("4")
    with_data = source_digest(package)
    (package / "levels.toml").write_text("5")
    assert source_digest(package) != with_data


def test_files_come_in_the_order_of_their_names_on_every_system(tmp_path: Path) -> None:
    """As text, where "-" comes before "/"; by their parts, as paths compare, "a" would come before "a-b"."""
    for name in ("a/x.py", "a-b/x.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("1")
    assert source_digest(tmp_path) == hashlib.sha256(b"a-b/x.py\0001\0001a/x.py\0001\0001").hexdigest()


def test_git_commit_is_that_of_the_folder_and_says_if_files_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git("init", "--quiet")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "--quiet", "--message", "one")
    git("tag", "--annotate", "v1", "--message", "one")
    commit = git("rev-parse", "HEAD")
    assert git_commit(tmp_path) == commit
    (tmp_path / "file").write_text("2")
    assert git_commit(tmp_path) == f"{commit}-dirty"

    # In a hook, git's variables name the repository of the hook.
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert git_commit(tmp_path) == f"{commit}-dirty"
    monkeypatch.delenv("GIT_DIR")

    # A checkout of another user, which git refuses by default.
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(subprocess.CalledProcessError):
        git("rev-parse", "HEAD")
    assert git_commit(tmp_path) == f"{commit}-dirty"


def test_reason_why_a_git_commit_is_unknown_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[str] = []
    assert git_commit(tmp_path, reported.append) is None
    monkeypatch.setenv("PATH", "")
    assert git_commit(tmp_path, reported.append) is None
    prefix = f"The git commit of {tmp_path} is not recorded: "
    assert reported[0].startswith(f"{prefix}not a git repository")
    assert reported[1] == f"{prefix}git: No such file or directory"
