"""The project's own config is sound, and each thing that is taken out of it is missed by name."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import pipeline
from pipeline import CONFIG, Trigger, read
from pipeline_flow import AFTER, MAKES, NEEDS, TESTS, faults, targets
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
            if kind == "run" and name not in {"staging", "production"}:
                del config["jobs"][name]["steps"][number]
                yield pytest.param(config, "", id=f"{name} runs step {number}")


def test_the_config_is_sound() -> None:
    assert found(yaml.safe_load(SOURCE)) == []
    assert found(yaml.safe_load(SOURCE), IDEA) == []


@pytest.mark.parametrize(("config", "name"), list(without_one()))
def test_what_is_taken_out_is_missed(config: Any, name: str) -> None:
    said = found(config)
    assert said
    assert all(re.match(r"job [a-z0-9.-]+: (`make |persists )", fault) for fault in said)
    if name:
        # The job that no longer waits, or one that relied on it.
        downstream = {"model", "compare", "publish", "image", "staging", "production"}
        assert {fault.split()[1].rstrip(":") for fault in said} <= downstream | {name}


def test_why_a_file_is_missing_is_told() -> None:
    config = yaml.safe_load(SOURCE.replace("model: {requires: [plan], ", "model: {"))
    (first, *_) = found(config)
    assert first == "job model: `make model` needs build/plan.json, which plan passes on; model does not require it"
    config = yaml.safe_load(SOURCE)
    config["jobs"]["model"]["steps"].remove({"persist_to_workspace": {"root": ".", "paths": ["build/wheels"]}})
    assert "job compare: `make compare` needs build/wheels, and no job persists it to the workspace" in found(config)
    config = yaml.safe_load(SOURCE)
    config["jobs"]["compare"]["steps"].remove({"attach_workspace": {"at": "."}})
    (only,) = found(config)
    assert only == ("job compare: `make compare` needs build/wheels, and the job does not attach the workspace before")
    config = yaml.safe_load(SOURCE.replace("requires: [lint, test-3.11, test-3.12,", "requires: [lint, test-3.11,"))
    (only,) = found(config)
    assert only == "job publish: `make release` does not wait for test-3.12, which runs .ci/run"


def test_run_refuses_an_unsound_config_before_a_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / CONFIG).parent.mkdir()
    (tmp_path / CONFIG).write_text(SOURCE.replace("requires: [publish]", "requires: [compare]"))
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "first"]):
        subprocess.run([*git, *command], check=True)
    kept = tmp_path / "kept"
    assert pipeline.main(["--keep", str(kept)], tmp_path) == 2
    said = capsys.readouterr().err
    assert "is not sound:" in said
    assert "job image: `make image` needs build/published.txt, which publish passes on" in said
    assert not kept.exists()
    assert pipeline.main(["--list"], ROOT) == 0


def test_targets_of_a_command() -> None:
    assert targets("make lint typecheck") == ["lint", "typecheck"]
    assert targets('make data DATA_URL="$MODEL_DATA" plan\nmake plan') == ["data", "plan"]
    assert targets(".ci/run") == [TESTS]
    assert targets("echo make lint") == []


def test_what_is_said_of_targets_is_about_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in {*MAKES, *NEEDS, *AFTER, *(judge for judges in AFTER.values() for judge in judges)} - {TESTS}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
