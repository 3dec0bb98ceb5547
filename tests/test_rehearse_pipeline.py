"""The stages of the rehearsal fit our configs; each can be run alone; one that fails does not keep others from it."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest
import rehearse_pipeline
from heroku_standin import heroku
from rehearse import Clone, require
from rehearse_pipeline import (
    COMMIT_JOBS,
    PREPARE,
    PRODUCTION,
    STAGES,
    TAG_COMMIT_JOBS,
    Rehearsal,
    choose_rows,
    is_deployed,
    make_key,
    run_all,
    steps,
)

import pipeline
from package_index import PackageIndex
from pipelines import actions, circleci
from pipelines.jobs import Trigger
from project import ROOT
from wheels import Manifest, Wheel

IDEA, TAG = Trigger("idea", "0" * 40), Trigger("", "0" * 40, tag="v1.2.0")


def test_jobs_that_stages_leave_out_are_those_of_the_configs_that_look_at_the_commit_alone() -> None:
    (branch,) = circleci.read((ROOT / circleci.CONFIG).read_text(), IDEA).values()
    assert {job.name for job in branch} == {*COMMIT_JOBS, "plan", "model", "held-back"}
    workflow = (ROOT / pipeline.ACTIONS_FOLDER / "release.yml").read_text()
    (tag,) = actions.read(workflow, TAG, lambda path: (ROOT / path).read_text()).values()
    assert {job.name for job in tag if job.name.startswith("tests-")} == {f"tests-{name}" for name in TAG_COMMIT_JOBS}


@pytest.mark.parametrize(
    ("stages", "run"),
    [
        (["tag"], [PREPARE, "tag"]),
        (["branch", "honest"], ["branch", "honest"]),
        (["branch", "several", "sick"], ["branch", PREPARE, "several", "sick"]),
        (STAGES, list(STAGES)),
    ],
)
def test_stages_are_run_after_what_they_need_of_main(stages: list[str], run: list[str]) -> None:
    assert [name for name, _ in steps(stages)] == run


@pytest.mark.parametrize("stages", [["tags"], ["tag", "tag"], ["tag", "container"], ["main", "tag", "container"]])
def test_stages_that_cannot_be_run_are_refused(stages: list[str]) -> None:
    with pytest.raises(ValueError, match=r"each once, of branch, main|container"):
        steps(stages)


def test_deployed_is_what_a_server_needs_of_the_tested_wheels() -> None:
    kit, client = (
        Wheel(name, "1.0.0", f"{name}.whl", digit * 64, "built", is_client=name == "ml-client")
        for name, digit in (("model-kit", "1"), ("ml-client", "2"))
    )
    manifest = Manifest("0" * 40, (kit, client))
    assert is_deployed(asdict(manifest), manifest.pins())
    assert not is_deployed(asdict(manifest), manifest.pins().replace("1" * 64, "3" * 64))
    assert not is_deployed(asdict(manifest), manifest.pins() + manifest.client_pins())


def test_few_rows_have_a_value_of_each_column_that_has_one() -> None:
    lines = [f"{number},{'Ex' if number == 7 else 'NA'}" for number in range(20)]
    assert choose_rows("\n".join(["Id,PoolQC", *lines]), 4) == "Id,PoolQC\n0,NA\n5,NA\n7,Ex\n10,NA\n"


def test_a_key_is_made_by_the_api_of_a_checkout(tmp_path: Path) -> None:
    key = make_key(ROOT / "packages/ml_api", tmp_path / "keys")
    assert hashlib.sha256(key.encode()).hexdigest() in (tmp_path / "keys").read_text()


def test_after_a_stage_that_fails_the_next_one_runs_from_the_commit_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    origin = tmp_path / "origin"
    subprocess.run(["git", "init", "--quiet", str(origin)], check=True)
    found: list[str] = []

    def failing(this: Rehearsal) -> None:
        (this.clone.root / "file").write_text("")
        found.append(this.clone.commit("A change"))
        require(condition=False, text="it fails")

    def passing(this: Rehearsal) -> None:
        found.append(this.clone.git("rev-parse", "HEAD"))

    with heroku(tmp_path / "heroku", pip_environ={}) as platform:
        platform.create(PRODUCTION)
        clone = Clone(tmp_path / "clone", {}, origin)
        clone.git("commit", "--quiet", "--allow-empty", "--message", "The first one")
        first = clone.git("rev-parse", "HEAD")
        this = Rehearsal(
            clone, tmp_path, PackageIndex("http://index/", "http://index/", "user", "token"), platform, None, tmp_path
        )
        for name, run in {"main": passing, "sick": failing, "api": passing}.items():
            monkeypatch.setitem(rehearse_pipeline.RUN, name, run)
        assert run_all(this, ["main", "sick", "api"]) == ["sick"]
        assert found == [first, found[1], first]
        assert found[1] != first
        assert "NOT as it should be: sick: it fails" in capsys.readouterr().out

        monkeypatch.setitem(rehearse_pipeline.RUN, "main", failing)
        assert run_all(this, ["main", "api"]) == ["main"]
        assert len(found) == 4
