"""The script that runs the CircleCI config: what it understands means what it means there, the rest ends the run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pipeline
from pipelines.circleci import CONFIG as PATH
from pipelines.circleci import CircleJob, read
from pipelines.jobs import ConfigError, Job, Trigger
from pipelines.running import Runner
from project import ScriptError

CONFIG = """
version: 2.1
parameters:
  word:
    type: string
    default: hello
executors:
  python:
    parameters: {version: {type: string, default: "VERSION"}}
    docker: [{image: "cimg/python:<< parameters.version >>"}]
commands:
  say:
    parameters: {text: {type: string}}
    steps: [run: {name: Say, command: "echo << parameters.text >> >> said.txt"}]
jobs:
  build:
    executor: python
    environment: {COLOUR: blue}
    steps:
      - checkout
      - say: {text: "<< pipeline.parameters.word >> $COLOUR"}
      - persist_to_workspace: {root: ., paths: [said.txt]}
  check:
    parameters: {version: {type: string}}
    executor: {name: python, version: << parameters.version >>}
    steps:
      - checkout
      - attach_workspace: {at: .}
      - run: grep "hello blue" said.txt
      - run: echo << parameters.version >> > result.txt
      - store_artifacts: {path: result.txt}
  deploy:
    executor: python
    steps:
      - attach_workspace: {at: .}
      - run: test "$TOKEN" = secret && cp said.txt ~/deployed.txt
      - store_artifacts: {path: ~/deployed.txt}
workflows:
  main:
    when: {not: {equal: [scheduled_pipeline, << pipeline.trigger_source >>]}}
    jobs:
      - build
      - check: {matrix: {parameters: {version: ["VERSION"]}}, requires: [build]}
      - deploy: {requires: [check-VERSION], context: production, filters: {branches: {only: main}}}
  nightly:
    when: {equal: [scheduled_pipeline, << pipeline.trigger_source >>]}
    jobs: [build]
""".replace("VERSION", f"{sys.version_info.major}.{sys.version_info.minor}")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
MAIN = Trigger("main", "0" * 40)


def git(root: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.com", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *settings, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def run(tmp_path: Path, config: str = CONFIG, *arguments: str, secret: str = "TOKEN=secret") -> tuple[int, Any, Path]:
    """Exit status, outcome and folder of a run of ``config``."""
    root = tmp_path / "repository"
    (root / ".circleci").mkdir(parents=True)
    (root / PATH).write_text(config)
    (root / "lock.txt").write_text("one")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "first")
    (root / "untracked.txt").write_text("never seen by a job")
    (tmp_path / "production.env").write_text(f"# of production\n{secret}\n")
    folder = tmp_path / "kept"
    command = [*arguments, "--context", f"production={tmp_path}/production.env", "--keep", str(folder)]
    status = pipeline.main(command, root)
    outcome = folder / "outcome.json"
    return status, json.loads(outcome.read_text())["jobs"] if outcome.exists() else None, folder


def statuses(outcome: dict[str, Any]) -> dict[str, str]:
    return {name: job["status"] for name, job in outcome.items()}


def test_main_runs_from_build_to_deployment(tmp_path: Path) -> None:
    status, outcome, folder = run(tmp_path)
    assert status == 0
    assert statuses(outcome) == {"build": "success", f"check-{VERSION}": "success", "deploy": "success"}
    assert (folder / "artifacts/deploy/deployed.txt").read_text() == "hello blue\n"
    assert (folder / f"artifacts/check-{VERSION}/result.txt").read_text() == f"{VERSION}\n"


def test_branch_stops_before_the_deployment(tmp_path: Path) -> None:
    status, outcome, _ = run(tmp_path, CONFIG, "--branch", "idea")
    assert (status, list(outcome)) == (0, ["build", f"check-{VERSION}"])


def test_schedule_starts_its_own_workflow(tmp_path: Path) -> None:
    status, outcome, _ = run(tmp_path, CONFIG, "--scheduled")
    assert (status, list(outcome)) == (0, ["build"])


def test_pipeline_parameter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, outcome, _ = run(tmp_path, CONFIG, "--parameter", "word=bye")
    assert status == 1
    assert statuses(outcome) == {"build": "success", f"check-{VERSION}": "failed", "deploy": "not run"}
    assert "exit status 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("removed", "failed"),
    [
        (", requires: [build]}", f"check-{VERSION}"),
        ("\n      - persist_to_workspace: {root: ., paths: [said.txt]}", f"check-{VERSION}"),
        (f"requires: [check-{VERSION}], ", "deploy"),
    ],
)
def test_without_what_passes_files_on_it_fails(tmp_path: Path, removed: str, failed: str) -> None:
    assert removed in CONFIG
    status, outcome, _ = run(tmp_path, CONFIG.replace(removed, "}" if removed.startswith(",") else ""))
    assert (status, outcome[failed]["status"]) == (1, "failed")


def test_wrong_secret_is_what_the_job_sees(tmp_path: Path) -> None:
    status, outcome, _ = run(tmp_path, secret="TOKEN=other")
    assert (status, outcome["deploy"]["status"]) == (1, "failed")


def test_job_sees_nothing_of_its_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "sings")
    monkeypatch.setenv("PASSED", "on")
    look = 'test -z "$CANARY" -a "$PASSED" = on -a "$CIRCLE_BRANCH" = main -a "$(git status -s)" = "?? said.txt"'
    config = CONFIG.replace('grep "hello blue" said.txt', look)
    status, _, _ = run(tmp_path, config, "--pass", "PASSED")
    assert status == 0


def test_a_job_s_own_variables_count_more_than_a_context(tmp_path: Path) -> None:
    look = """test "$COLOUR" = blue -a "$TOKEN" = secret && cp"""
    config = CONFIG.replace('test "$TOKEN" = secret && cp', look)
    config = config.replace("  deploy:\n", "  deploy:\n    environment: {COLOUR: blue}\n")
    status, _, _ = run(tmp_path, config, secret="TOKEN=secret\nCOLOUR=red\nCIRCLE_BRANCH=other")
    assert status == 0


def test_job_that_is_left_out_is_told_and_what_requires_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, outcome, folder = run(tmp_path, CONFIG, "--skip", f"check-{VERSION}")
    assert status == 0
    assert (folder / "artifacts/deploy/deployed.txt").read_text() == "hello blue\n", "passed on from before it"
    assert statuses(outcome) == {"build": "success", f"check-{VERSION}": "skipped", "deploy": "success"}
    assert f"Not all as the CI runs it: left out: check-{VERSION}." in capsys.readouterr().out
    # A second run begins anew, and keeps nothing of the first.
    arguments = ["--context", f"production={tmp_path}/production.env", "--keep", str(folder), "--skip", "deploy"]
    assert pipeline.main(arguments, tmp_path / "repository") == 0
    assert not (folder / "artifacts/deploy").exists()
    assert pipeline.main(["--skip", "biuld"], tmp_path / "repository") == 2
    assert "--skip biuld: no such job" in capsys.readouterr().err


def test_failed_step_ends_the_job_but_for_what_always_runs(tmp_path: Path) -> None:
    steps = "\n      - run: {command: echo no > result.txt, when: always}\n      - run: echo never >> result.txt"
    place = "\n      - store_artifacts: {path: result.txt}"
    config = CONFIG.replace('grep "hello blue" said.txt', "false | true").replace(place, steps + place)
    status, outcome, folder = run(tmp_path, config)
    assert (status, outcome[f"check-{VERSION}"]["status"]) == (1, "failed")
    assert (folder / f"artifacts/check-{VERSION}/result.txt").read_text() == "no\n"


def test_cache_is_found_by_what_its_key_depends_on(tmp_path: Path) -> None:
    cached = """
      - checkout
      - restore_cache: {keys: ['v1-{{ checksum "lock.txt" }}']}
      - run: test ! -e ~/store/made || cp ~/store/made found.txt
      - run: mkdir -p ~/store && date +%N > ~/store/made
      - save_cache: {key: 'v1-{{ checksum "lock.txt" }}', paths: [~/store]}
      - store_artifacts: {path: found.txt}
      - say:"""
    _, _, folder = run(tmp_path, CONFIG.replace("\n      - checkout\n      - say:", cached))
    root, found = tmp_path / "repository", folder / "artifacts/build/found.txt"
    command = ["--context", f"production={tmp_path}/production.env", "--keep", str(folder)]
    assert not found.exists()
    pipeline.main(command, root)
    assert found.exists()
    found.unlink()
    (root / "lock.txt").write_text("two")
    git(root, "commit", "--quiet", "--all", "--message", "second")
    pipeline.main(command, root)
    assert not found.exists()


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("version: 2.1", "version: 2.1\norbs: {x: y/z@1}", "the file: orbs: not understood"),
        ("version: 2.1", "version: 2", "version: 2, not 2.1"),
        ("version: 2.1", "version: [2.1", "not YAML"),
        ("- checkout", "- add_ssh_keys", "job build: step add_ssh_keys is not understood"),
        ("executor: python\n    env", "shell: x\n    executor: python\n    env", "job build: shell"),
        ("requires: [build]", "requires: [biuld]", "there is no job biuld"),
        ("- build\n", "- build: {requires: [deploy]}\n", "jobs require each other"),
        ("- build\n", "- build\n      - build\n", "two jobs are called build"),
        ("- build\n", "- built\n", "there is no such job"),
        ("only: main", "only: /ma.*/", "a filter of more than one plain branch is not understood"),
        ("<< pipeline.parameters.word >>", "<< pipeline.parameters.wrod >>", "<< pipeline.parameters.wrod >>"),
        ('{text: "<<', '{txt: "<<', "job build, say: txt: not understood"),
        ("{not: {equal: [scheduled_pipeline, << pipeline.trigger_source >>]}}", "{or: []}", "condition"),
        ("environment: {COLOUR: blue}", "environment: {}\n    environment: {}", "environment is given twice"),
        ("type: string\n", "type: boolean\n", "type boolean is not understood"),
        ("run: grep", "run: {shell: sh, command: grep", "shell"),
        ("matrix: {parameters: {version", "matrix: {exclude: [], parameters: {version", "exclude"),
        ("name: python, version: << parameters.version >>", "name: pithon", "there is no executor pithon"),
    ],
)  # fmt: skip
def test_what_is_not_understood_ends_the_run_before_a_step(old: str, new: str, where: str) -> None:
    assert old in CONFIG
    config = CONFIG.replace(old, new)
    if "shell" in new:
        config = config.replace("said.txt\n      - run: echo <<", "said.txt}\n      - run: echo <<")
    with pytest.raises(ConfigError) as error:
        read(config, MAIN)
    assert where in str(error.value)
    assert error.value.status == 2


def test_parameter_without_a_value() -> None:
    with pytest.raises(ConfigError, match="parameter text has no value"):
        read(CONFIG.replace('{text: "<< pipeline.parameters.word >> $COLOUR"}', "{}"), MAIN)
    with pytest.raises(ConfigError, match="parameter version has no value"):
        read(CONFIG.replace(f'matrix: {{parameters: {{version: ["{VERSION}"]}}}}, ', ""), MAIN)


def test_unknown_pipeline_parameter() -> None:
    with pytest.raises(ScriptError, match="no pipeline parameter wrod"):
        read(CONFIG, Trigger("main", "0" * 40, parameters={"wrod": "x"}))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--commit", "nowhere"], "--commit nowhere: no such commit"),
        (["--context", "staging=/nowhere"], "--context staging=/nowhere: No such file"),
    ],
)
def test_unusable_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    assert run(tmp_path, CONFIG, *arguments)[0] == 2
    assert text in capsys.readouterr().err


def test_missing_context_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, CONFIG.replace("context: production", "context: [staging]"))[0] == 2
    assert "job deploy needs the context staging" in capsys.readouterr().err


def test_list_says_what_would_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, CONFIG, "--list")[0] == 0
    assert f"  deploy  after check-{VERSION}" in capsys.readouterr().out.splitlines()


def test_a_job_s_python_hides_no_other_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, programs in {"first": ["tool"], "second": ["tool", "python3", f"python{VERSION}"]}.items():
        (tmp_path / name).mkdir()
        for program in programs:
            told = f'exec "{sys.executable}" "$@"' if program.startswith("python") else f"echo {name}"
            (tmp_path / name / program).write_text(f"#!/bin/sh\n{told}\n")
            (tmp_path / name / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/first:{tmp_path}/second:{os.environ['PATH']}")
    look = 'echo $(tool) $(python -c "import sys; print(sys.executable)") > result.txt'
    status, _, folder = run(tmp_path, CONFIG.replace("echo << parameters.version >> > result.txt", look))
    assert status == 0
    assert (folder / f"artifacts/check-{VERSION}/result.txt").read_text() == f"first {sys.executable}\n"


def test_missing_python_is_named(tmp_path: Path) -> None:
    trigger = Trigger("main", "0" * 40)
    runner = Runner(tmp_path, trigger, tmp_path / "kept", {}, {}, lambda _: None, CircleJob)
    with pytest.raises(ScriptError, match=r"there is no Python 3\.12 here"):
        runner.run(Job("old", (), "cimg/python:3.12", {}, (), ()))


def config_of_the_project() -> str:
    return (Path(__file__).parents[1] / PATH).read_text()


def test_config_fits_the_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.circle-ci"]
    done = subprocess.run(
        [*command, str(Path(__file__).parents[1] / PATH)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("source", ["webhook", "scheduled_pipeline"])
def test_only_main_publishes_and_deploys(source: str) -> None:
    ((_, main),) = read(config_of_the_project(), Trigger("main", "0" * 40, source)).items()
    ((_, branch),) = read(config_of_the_project(), Trigger("idea", "0" * 40, source)).items()
    tests = ["test-3.11", "test-3.12", "test-3.13"]
    assert [job.name for job in branch] == ["lint", "site", *tests, "plan", "model", "held-back"]
    assert [job.name for job in main] == [*(job.name for job in branch), "publish", "image", "staging", "production"]
    requires = {job.name: set(job.requires) for job in main}
    assert requires["publish"] == {"lint", *tests, "model"}
    assert not any("held-back" in required for required in requires.values()), "what was good is delivered meanwhile"
    assert not any("heroku" in job.contexts for job in branch)


def test_pictures_that_the_browsers_tests_take_are_kept() -> None:
    (jobs,) = read(config_of_the_project(), MAIN).values()
    tests = [job for job in jobs if job.name.startswith("test-")]
    assert len(tests) == 3
    assert all(("store_artifacts", {"path": "build/screenshots"}) in job.steps for job in tests)
    browser = (Path(__file__).parents[1] / "packages/ml_api/tests/test_page_browser.py").read_text()
    assert '/ "build" / "screenshots"' in browser


def test_every_target_of_the_config_exists() -> None:
    (jobs,) = read(config_of_the_project(), MAIN).values()
    commands = [options["command"] for job in jobs for kind, options in job.steps if kind == "run"]
    targets = {word for command in commands for word in re.findall(r"^make ([a-z -]+?)(?= [A-Z]|$)", command)}
    assert len(targets) > 5
    known = (Path(__file__).parents[1] / "Makefile").read_text()
    for target in " ".join(targets).split():
        assert re.search(rf"^{target}:", known, re.MULTILINE), target
