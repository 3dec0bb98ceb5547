"""The project's own config is sound, and each thing that is taken out of it is missed by name."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import pipeline
from pipelines.circleci import CONFIG, read
from pipelines.flow import AFTER, MAKES, NEEDS, TESTS, faults, targets
from pipelines.jobs import Trigger
from project import ROOT

SOURCE = (ROOT / CONFIG).read_text()
MAIN, IDEA = Trigger("main", "0" * 40), Trigger("idea", "0" * 40)


def found(config: Any, trigger: Trigger = MAIN) -> list[str]:
    (jobs,) = read(json.dumps(config), trigger).values()
    return faults(jobs)


def without_one() -> Iterator[Any]:
    """The config without each single `requires`, workspace, passed path and judging step; and what is then said."""
    whole = yaml.safe_load(SOURCE)
    for number, entry in enumerate(whole["workflows"]["delivery"]["jobs"]):
        if isinstance(entry, str):
            continue
        (name,) = entry
        for required in entry[name].get("requires", []):
            config = copy.deepcopy(whole)
            config["workflows"]["delivery"]["jobs"][number][name]["requires"].remove(required)
            yield pytest.param(config, name, id=f"{name} requires {required}")
    for name, job in whole["jobs"].items():
        for number, step in enumerate(job["steps"]):
            kind, options = next(iter(step.items())) if isinstance(step, dict) else (step, {})
            config = copy.deepcopy(whole)
            if kind in {"attach_workspace", "persist_to_workspace"}:
                del config["jobs"][name]["steps"][number]
                yield pytest.param(config, "", id=f"{name} {kind}")
            for path in options.get("paths", []) if kind == "persist_to_workspace" else []:
                config = copy.deepcopy(whole)
                config["jobs"][name]["steps"][number][kind]["paths"].remove(path)
                yield pytest.param(config, "", id=f"{name} persists {path}")
            if kind == "run" and name not in {"held-back", "site", "staging", "production"}:
                del config["jobs"][name]["steps"][number]
                yield pytest.param(config, "", id=f"{name} runs step {number}")


def test_the_config_is_sound() -> None:
    assert found(yaml.safe_load(SOURCE)) == []
    assert found(yaml.safe_load(SOURCE), IDEA) == []


@pytest.mark.parametrize(("config", "name"), list(without_one()))
def test_what_is_taken_out_is_missed(config: Any, name: str) -> None:
    said = found(config)
    assert said
    assert all(re.match(r"job [a-z0-9.-]+: (`make |passes on )", fault) for fault in said)
    if name:
        # The job that no longer waits, or one that relied on it.
        downstream = {"model", "held-back", "publish", "image", "staging", "production"}
        assert {fault.split()[1].rstrip(":") for fault in said} <= downstream | {name}


def test_why_a_file_is_missing_is_told() -> None:
    config = yaml.safe_load(SOURCE.replace("model: {requires: [plan], ", "model: {"))
    (first, *_) = found(config)
    assert first == "job model: `make model` needs build/plan.json, which plan passes on; model does not require it"
    config = yaml.safe_load(SOURCE)
    config["jobs"]["model"]["steps"].remove({"persist_to_workspace": {"root": ".", "paths": ["build/wheels"]}})
    assert "job publish: `make release` needs build/wheels, and no job persists it to the workspace" in found(config)
    config = yaml.safe_load(SOURCE)
    config["jobs"]["held-back"]["steps"].remove({"attach_workspace": {"at": "."}})
    (only,) = found(config)
    assert (
        only == "job held-back: `make held-back` needs build/wheels, and the job does not attach the workspace before"
    )
    config = yaml.safe_load(SOURCE.replace("requires: [lint, test-3.11, test-3.12,", "requires: [lint, test-3.11,"))
    (only,) = found(config)
    assert only == "job publish: `make release` does not wait for test-3.12, which runs .ci/run"


def repository(root: Path, config: str, **files: str) -> Path:
    """A repository with a config and files, committed."""
    for name, text in {str(CONFIG): config, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git = ["git", "-C", str(root), "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "first"]):
        subprocess.run([*git, *command], check=True)
    return root


def test_run_refuses_an_unsound_config_before_a_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = repository(tmp_path, SOURCE.replace("requires: [publish]", "requires: [model]"))
    kept = tmp_path / "kept"
    assert pipeline.main(["--keep", str(kept)], root) == 2
    said = capsys.readouterr().err
    assert "is not sound:" in said
    assert "job image: `make image` needs build/published.txt, which publish passes on" in said
    assert not kept.exists()
    assert pipeline.main(["--list"], ROOT) == 0


UNSOUND = f"""
version: 2.1
executors: {{python: {{docker: [image: "cimg/python:{sys.version_info.major}.{sys.version_info.minor}"]}}}}
jobs:
  plan:
    executor: python
    steps:
      - checkout
      - run: make data plan
      - persist_to_workspace: {{root: ., paths: [data]}}
  model:
    executor: python
    steps:
      - checkout
      - attach_workspace: {{at: .}}
      - run: ls data
      - run: make model
workflows: {{delivery: {{jobs: [plan, model: {{requires: [plan]}}]}}}}
"""
MAKEFILE = """
data:
\tmkdir $@ && touch $@/rides.csv
plan:
\tmkdir build && touch build/plan.json
model:
\tcat build/plan.json
.PHONY: data plan model
"""


def test_unchecked_an_unsound_config_is_run_until_a_job_misses_what_is_not_passed_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, kept = repository(tmp_path / "project", UNSOUND, Makefile=MAKEFILE), tmp_path / "kept"
    assert pipeline.main(["--keep", str(kept)], root) == 2
    missing = "job model: `make model` needs build/plan.json, and no job persists it to the workspace"
    assert missing in capsys.readouterr().err
    assert pipeline.main(["--keep", str(kept), "--unchecked"], root) == 1
    said = capsys.readouterr().out
    assert "Not all as the CI runs it: the config was not checked." in said
    jobs = json.loads((kept / "outcome.json").read_text())["jobs"]
    assert {name: job["status"] for name, job in jobs.items()} == {"plan": "success", "model": "failed"}
    log = (kept / "logs/model.txt").read_text()
    assert "rides.csv\n" in log, "the control: what is persisted is there"
    assert "build/plan.json: No such file" in log


def test_targets_of_a_command() -> None:
    assert targets("make lint typecheck") == ["lint", "typecheck"]
    assert targets('make data DATA_URL="$URL" plan\nmake plan') == ["data", "plan"]
    assert targets(".ci/run") == [TESTS]
    assert targets("echo make lint") == []


def test_what_is_said_of_targets_is_about_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in {*MAKES, *NEEDS, *AFTER, *(judge for judges in AFTER.values() for judge in judges)} - {TESTS}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
