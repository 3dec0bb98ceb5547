"""GitHub's workflows on this machine: every step is run, what is passed on arrives; ours are pinned and sound."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import pipeline
from deployable import commit, git
from pipelines.actions import read
from pipelines.flow import faults
from pipelines.jobs import ConfigError, Trigger
from project import ROOT, Project

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
FOLDER = Path(".github/workflows")
SHA = "0123456789abcdef0123456789abcdef01234567"
TAG = Trigger("", SHA, tag="v1.2.3")
CALLED = f"""
name: check
on: {{push: {{branches: ["**"]}}, workflow_call: }}
permissions: {{}}
jobs:
  unit:
    strategy: {{matrix: {{python: ["{VERSION}"]}}}}
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@{SHA}
      - uses: actions/setup-python@{SHA}
        with: {{python-version: "${{{{ matrix.python }}}}"}}
      - run: python3 --version
"""
WORKFLOW = f"""
name: deliver
on: {{push: {{tags: ["v[0-9]+.[0-9]+.[0-9]+"]}}}}
permissions: {{}}
jobs:
  checks:
    uses: ./.github/workflows/check.yml
  build:
    needs: checks
    runs-on: ubuntu-24.04
    env: {{COLOUR: "${{{{ vars.COLOUR }}}}"}}
    outputs: {{word: "${{{{ steps.say.outputs.word }}}}"}}
    steps:
      - uses: actions/checkout@{SHA}
      - id: say
        run: |
          mkdir -p out/more
          echo "$COLOUR $GITHUB_REF_NAME $(git rev-parse HEAD)" > out/said.txt
          echo deep > out/more/deep.txt
          echo "word=$COLOUR-$GITHUB_ACTOR" >> "$GITHUB_OUTPUT"
      - uses: actions/upload-artifact@{SHA}
        with: {{name: said, path: "out/said.txt out/more"}}
      - uses: actions/attest@{SHA}
        with: {{subject-digest: "${{{{ steps.say.outputs.word }}}}"}}
  deploy:
    needs: [build]
    runs-on: ubuntu-24.04
    environment: production
    steps:
      - uses: actions/download-artifact@{SHA}
        with: {{name: said, path: there}}
      - name: Deploy
        env:
          WORD: "${{{{ needs.build.outputs.word }}}}"
          TOKEN: "${{{{ secrets.TOKEN }}}}"
          TICKET: "${{{{ github.token }}}}"
        run: |
          cat there/said.txt there/more/deep.txt
          echo "$WORD, $TICKET"
          test "$TOKEN" = secret -a -z "$COLOUR"
      - if: failure()
        run: echo going back
"""


def read_text(text: str, trigger: Trigger = TAG) -> Any:
    return read(text, trigger, lambda _: CALLED)


def run(tmp_path: Path, *arguments: str, token: str = "secret") -> tuple[int, Any, Path]:
    """Exit status, outcome and folder of a run of the workflow above."""
    root = tmp_path / "repository"
    (root / FOLDER).mkdir(parents=True)
    (root / FOLDER / "deliver.yml").write_text(WORKFLOW)
    (root / FOLDER / "check.yml").write_text(CALLED)
    git(Project(root), "init", "--quiet")
    commit(Project(root))
    contexts = {"repository": "GITHUB_TOKEN=ticket\nGITHUB_ACTOR=ada\nCOLOUR=blue\n", "production": f"TOKEN={token}\n"}
    command = ["--config", str(FOLDER / "deliver.yml"), "--keep", str(tmp_path / "kept"), *arguments]
    for name, text in contexts.items():
        (tmp_path / f"{name}.env").write_text(text)
        command += ["--context", f"{name}={tmp_path / name}.env"]
    status = pipeline.main(command, root)
    outcome = tmp_path / "kept/outcome.json"
    return status, json.loads(outcome.read_text()) if outcome.exists() else None, tmp_path / "kept"


def test_a_tag_runs_every_step_and_passes_files_values_and_secrets_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, outcome, folder = run(tmp_path, "--tag", "v1.2.3")
    assert status == 0, capsys.readouterr().out
    assert {name: job["status"] for name, job in outcome["jobs"].items()} == {
        f"checks-unit-{VERSION}": "success",
        "build": "success",
        "deploy": "success",
    }
    head = git(Project(tmp_path / "repository"), "rev-parse", "HEAD")
    said = (folder / "logs/deploy.txt").read_text()
    assert said == f"--- download_artifact\n--- Deploy\nblue v1.2.3 {head}\ndeep\nblue-ada, ticket\n"
    assert f"Python {VERSION}." in (folder / f"logs/checks-unit-{VERSION}.txt").read_text()
    assert outcome["not_run"] == ["actions/attest"]
    assert "Not all as the CI runs it: not run here: actions/attest." in capsys.readouterr().out


def test_a_step_for_failures_runs_after_one_alone_and_a_branch_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, outcome, folder = run(tmp_path, "--tag", "v1.2.3", token="other")
    assert (status, outcome["jobs"]["deploy"]["status"]) == (1, "failed")
    assert (folder / "logs/deploy.txt").read_text().endswith("exit status 1\n--- echo going back\ngoing back\n")
    command = ["--config", str(FOLDER / "deliver.yml")]
    assert pipeline.main([*command, "--tag", "v1.2"], tmp_path / "repository") == 2
    assert pipeline.main([*command, "--branch", "main"], tmp_path / "repository") == 2
    said = capsys.readouterr().err
    assert "deliver.yml is not started by v1.2\n" in said
    assert "deliver.yml is not started by main\n" in said


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (f"actions/attest@{SHA}", "actions/attest@v4", "actions/attest@v4 is not pinned by its commit"),
        ("actions/attest@", "somebody/attest@", "the action somebody/attest is not understood"),
        ("secrets.TOKEN }}", "secrets.TOKEN || 1 }}", "the expression secrets.TOKEN || 1 is not understood"),
        ('test "$TOKEN"', 'test "${{ secrets.TOKEN }}"', "an expression in run would be code; pass it by env"),
        ("needs: checks", "needs: check", "there is no job check"),
        ("needs: [build]", "needs: [checks]", "needs.build: there is no such one before"),
        ('subject-digest: "${{ steps.say', 'subject-digest: "${{ steps.sai', "steps.sai: there is no such one before"),
        ("if: failure()", "if: cancelled()", "if: cancelled() is not understood"),
        ("environment: production", "container: x", "container: not understood"),
        ("./.github", "somebody/else/.github", "is not of this repository"),
        ("permissions: {}", "defaults: {}", "the file: defaults: not understood"),
        ("name: said, path: there", "name: said, path: there, pattern: x", "pattern: not understood"),
    ],
)
def test_what_is_not_understood_ends_the_run_before_a_step(old: str, new: str, words: str) -> None:
    assert old in WORKFLOW
    with pytest.raises(ConfigError) as error:
        read_text(WORKFLOW.replace(old, new))
    assert words in str(error.value)


def load(path: str) -> str:
    return (ROOT / path).read_text()


def jobs(name: str, trigger: Trigger) -> Any:
    (found,) = read(load(str(FOLDER / name)), trigger, load).values()
    return found


def test_our_workflows_are_sound_and_a_tag_deploys_what_was_tried_and_pushed() -> None:
    tests = ["lint", "test-3.11", "test-3.12", "test-3.13"]
    assert [job.name for job in jobs("test.yml", Trigger("idea", SHA))] == tests
    assert read(load(str(FOLDER / "test.yml")), TAG, load) == {}, "a tag is release.yml's"
    assert read(load(str(FOLDER / "release.yml")), Trigger("main", SHA), load) == {}, "main is CircleCI's"
    release = jobs("release.yml", TAG)
    assert faults(release) == []
    requires = {job.name: set(job.requires) for job in release}
    assert requires["image"] == {*(f"tests-{name}" for name in tests), "wheels"}
    assert "staging" in requires["production"]
    assert {name: job.contexts for name, job in ((job.name, job) for job in release) if job.contexts} == {
        "wheels": ("package-index",),
        "image": ("package-index",),
        "staging": ("staging",),
        "production": ("production",),
    }


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("run: make released", "run: 'true'", "job wheels: `make test-wheel` needs build/wheels, which"),
        ("run: make smoke-image", "run: 'true'", "job image: `make push-image`, and no job runs smoke-image"),
        ("needs: [tests, wheels]", "needs: [wheels]", "`make push-image` does not wait for tests-test-3.12"),
        ("            build/published.txt\n", "", "job image: `make image` needs build/published.txt"),
        ("make push-image", "echo push-image", "`make deploy-kubernetes`, and no job runs push-image"),
    ],
)
def test_what_is_taken_out_of_the_release_is_missed(old: str, new: str, words: str) -> None:
    text = load(str(FOLDER / "release.yml"))
    assert old in text
    (found,) = read(text.replace(old, new), TAG, load).values()
    assert any(words in fault for fault in faults(found)), faults(found)


def test_every_job_has_the_least_permissions_and_a_limit() -> None:
    for name in ("test.yml", "release.yml"):
        text = load(str(FOLDER / name))
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {}
        assert workflow["concurrency"]["group"]
        for job in workflow["jobs"].values():
            assert "permissions" in job
            assert "uses" in job or job["timeout-minutes"] <= 60
        # A commit for the machine, the release that it is for people.
        uses = re.findall(r"uses: ([^.].*)", text)
        assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", found) for found in uses), uses
    writing = {name for name, job in workflow["jobs"].items() if "write" in str(job["permissions"])}
    assert writing == {"image", "notes"}
