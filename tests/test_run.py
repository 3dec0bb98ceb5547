from __future__ import annotations

import base64
import csv
import hashlib
import http.client
import json
import math
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

import run as command
from build_wheels import read_trained
from local_index import free_port
from ml_api.settings import Settings
from project import ROOT, Package, Project, ScriptError
from run import curl_line, provenance, require_free, wait_until_ready
from small_project import add_model, add_third_party, make_environment, train
from train_models import quiet_environment

PROGRAM = (
    "import sys, pathlib, run, project; sys.exit(run.main(sys.argv[2:], project.Project(pathlib.Path(sys.argv[1]))))"
)


def start(project: Project, port: int, *options: str, output: Path, **environ: str) -> subprocess.Popen[bytes]:
    with output.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(project.root), *options],
            env=os.environ | {"PORT": str(port), "PYTHONPATH": str(ROOT / "scripts"), "WEB_CONCURRENCY": "1"} | environ,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )


def wait_for(text: str, output: Path, process: subprocess.Popen[bytes]) -> str:
    for _ in range(600):
        found = output.read_text()
        if text in found:
            return found
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(f"{text!r} did not appear:\n{output.read_text()}")


def get(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    document = json.loads(connection.getresponse().read())
    connection.close()
    return document


def test_publishes_installs_serves_and_ends_in_order(project: Project, model: Package, tmp_path: Path) -> None:
    train(model, data={"name": "made-up rides", "sha256": "0" * 64, "rows": 100, "synthetic": True})
    make_environment(project.serving)
    add_third_party(project.serving)
    port, output = free_port(), tmp_path / "output"
    process = start(project, port, output=output)
    try:
        text = wait_for("Ctrl-C stops it.", output, process)
        assert f"Serving on http://127.0.0.1:{port}" in text
        assert "trained on made-up rides (100 rows)" in text
        assert "*** SYNTHETIC DATA" in text

        # The line that is shown works as it stands.
        line = re.search(r"^  (curl .*)$", text, re.MULTILINE)
        assert line is not None
        assert '{"distance": 3.5, "zone": "A"}' in line.group(1)
        answer = subprocess.run(shlex.split(line.group(1)), capture_output=True, check=True).stdout
        assert json.loads(answer)["errors"] is None
        assert json.loads(answer)["predictions"] == pytest.approx([math.exp(3)])

        # What was uploaded is what is installed is what is served, to the byte.
        version = get(port, "/version")["models"]["regression"]
        served = version["files"]
        wheel = next(project.index.glob("regression_model-*.whl"))
        assert version["version"] == wheel.name.split("-")[1]
        with zipfile.ZipFile(wheel) as archive:
            uploaded = {
                name: hashlib.sha256(archive.read(f"regression_model/bundle/{name}")).hexdigest() for name in served
            }
        assert served == uploaded
        assert len(served) == 5
        record = next(project.serving.glob("lib/python*/site-packages/regression_model-*.dist-info/RECORD"))
        with record.open(newline="") as stream:
            installed = {
                Path(name).name: base64.urlsafe_b64decode(stated.removeprefix("sha256=") + "=").hex()
                for name, stated, _ in csv.reader(stream)
                if "/bundle/" in name and not name.endswith("manifest.json")
            }
        assert installed == served

        # No path into the sources.
        where = "import sys, model_kit, regression_model; print(sys.path, model_kit, regression_model)"
        python = project.serving / "bin/python"
        paths = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
        assert str(ROOT) not in paths
        assert str(model.folder) not in paths

        # Somebody else who wants the port is told so, at once.
        assert "PORT" in refused(project, port, tmp_path)
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(40)
    assert status == 0
    assert "Traceback" not in output.read_text()
    assert output.read_text().endswith("Stopped.\n")
    require_free(Settings(port=port))

    # Once more, at another address and from a checkout that has lost the run bit; SIGTERM ends it as well.
    (project.root / "run.sh").chmod(0o644)
    began = time.monotonic()
    process = start(project, port, output=output, HOST="::1")
    try:
        text = wait_for("Ctrl-C stops it.", output, process)
        assert f"Serving on http://[::1]:{port}" in text
        line = re.search(r"^  (curl .*)$", text, re.MULTILINE)
        assert line is not None
        answer = subprocess.run(shlex.split(line.group(1)), capture_output=True, check=True).stdout
        assert json.loads(answer)["predictions"] == pytest.approx([math.exp(3)])
        assert text.count("nothing to publish") == 2
        assert "Installed" not in text
        assert time.monotonic() - began < 20
    finally:
        process.terminate()
        status = process.wait(40)
    assert status == 0
    require_free(Settings(port=port))


def refused(project: Project, port: int, tmp_path: Path) -> str:
    process = start(project, port, output=tmp_path / "refused")
    assert process.wait(20) == 1
    return (tmp_path / "refused").read_text()


def test_development_server_serves_the_sources(project: Project, tmp_path: Path) -> None:
    """With flask's own server; here it serves whatever models are installed beside the tests, or none."""
    port, output = free_port(), tmp_path / "output"
    code = "import sys, run, pathlib, project; run.wait_until_ready = lambda *_: None; "
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", code + PROGRAM, str(project.root), "--development"],
            env=os.environ | {"PORT": str(port), "PYTHONPATH": str(ROOT / "scripts")},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for("Debugger is active", output, process)
        assert get(port, "/health") == {"status": "ok"}
    finally:
        process.terminate()
        assert process.wait(40) == 0
    require_free(Settings(port=port))


def test_a_port_that_is_taken_is_told_with_what_to_do() -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ScriptError, match=rf"PORT is {port}, which another .*make run PORT={port + 1}") as caught:
            require_free(Settings(port=port))
    assert caught.value.status == 1


def test_settings_that_make_no_sense_end_with_status_2(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in {"PORT": "five", "WEB_CONCURRENCY": "auto", "HOST": "192.0.2.1"}.items():
        with monkeypatch.context() as patch:
            patch.setenv(name, text)
            assert command.main([], project) == 2
        assert capsys.readouterr().err.startswith(f"run: {name} is {text!r}")
    monkeypatch.setenv("PORT", str(free_port()))
    monkeypatch.setenv("PACKAGE_INDEX_TOKEN", "s3cret")
    assert command.main([], project) == 2
    assert "PACKAGE_INDEX_URL is not set" in capsys.readouterr().err


def test_a_missing_model_is_trained_on_the_sample_and_says_so(
    project: Project, model: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    command.train_if_missing(project, told.append)
    assert told == []

    trainer = tmp_path / "model-kit"
    trainer.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\nexit 3\n')
    trainer.chmod(0o755)
    monkeypatch.setattr("train_models.MODEL_KIT", (trainer,))
    model.bundle.rename(tmp_path / "bundle")
    with pytest.raises(ScriptError, match="training regression on the sample failed"):
        command.train_if_missing(project, told.append)
    assert (tmp_path / "arguments").read_text() == "train --model regression --sample\n"
    assert "synthetic sample" in told[0]


def test_whose_data_it_is_is_said(model: Package) -> None:
    assert provenance(model, read_trained(model)).startswith(
        "Model regression: trained on rides by hand (100 rows), artefact "
    )
    assert "SYNTHETIC" not in provenance(model, read_trained(model))
    assert "has changed since" not in provenance(model, read_trained(model))
    (model.source / "extra.py").write_text("")
    assert "The code in regression_model has changed since; `make train MODEL=regression DATA" in provenance(
        model, read_trained(model)
    )


def test_curl_line_has_the_required_fields_only_and_survives_a_shell(model: Package) -> None:
    line = curl_line("http://127.0.0.1:1", model.model, read_trained(model))
    words = shlex.split(line)
    assert words[2] == "http://127.0.0.1:1/v1/predict/regression"
    assert json.loads(words[-1]) == [{"distance": 3.5, "zone": "A"}]


def test_the_server_is_told_neither_index_nor_other_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PACKAGE_INDEX_TOKEN", "PIP_INDEX_URL", "PYTHONPATH"):
        monkeypatch.setenv(name, "x")
    assert not {"PACKAGE_INDEX_TOKEN", "PIP_INDEX_URL", "PYTHONPATH"} & set(quiet_environment())


def test_a_server_that_ends_or_is_not_ready_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as ended:
        ended.wait()
        with pytest.raises(ScriptError, match="ended with status 3"):
            wait_until_ready(ended, "127.0.0.1:9")
    monkeypatch.setattr(command, "PATIENCE", 0.3)
    monkeypatch.setattr(command, "ask", lambda *_: (503, "rides: the golden row scores 2.0"))
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as alive:
        with pytest.raises(ScriptError, match="not ready after 0 s: rides: the golden row scores"):
            wait_until_ready(alive, "127.0.0.1:9")
        alive.kill()


def test_a_server_that_stops_by_itself_is_an_error(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.root / "run.sh").write_text("#!/bin/sh\nexit 4\n")
    monkeypatch.setattr(command, "wait_until_ready", lambda *_: None)
    with pytest.raises(ScriptError, match="the server ended with status 4"):
        command.serve(project, Settings(port=9), development=False, say=lambda _: None)


def test_every_model_with_a_bundle_is_served(project: Project, tmp_path: Path) -> None:
    train(add_model(project, "fares"), metrics={"r2": 0.7})
    add_model(project, "tips")
    make_environment(project.serving)
    add_third_party(project.serving)
    port, output = free_port(), tmp_path / "output"
    process = start(project, port, output=output)
    try:
        text = wait_for("Ctrl-C stops it.", output, process)
        assert "Left out: tips has no bundle; make train MODEL=tips DATA=path.csv" in text
        assert "Model fares: trained on rides by hand" in text
        for line in re.findall(r"^  (curl .*)$", text, re.MULTILINE):
            answer = subprocess.run(shlex.split(line), capture_output=True, check=True).stdout
            assert json.loads(answer)["predictions"] == pytest.approx([math.exp(3)])
        assert sorted(get(port, "/version")["models"]) == ["fares", "regression"]
    finally:
        process.terminate()
        assert process.wait(40) == 0

    # The one that is named is served alone.
    process = start(project, port, "--model", "fares", output=output)
    try:
        wait_for("Ctrl-C stops it.", output, process)
        assert sorted(get(port, "/version")["models"]) == ["fares"]
    finally:
        process.terminate()
        assert process.wait(40) == 0


def test_where_nothing_can_be_served_it_is_said_what_to_do(
    project: Project, model: Package, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train_models.has_sample", lambda _: False)
    shutil.rmtree(model.bundle)
    assert command.main(["--port", str(free_port())], project) == 2
    assert (
        "run: regression has no synthetic sample; make train MODEL=regression DATA=path.csv" in capsys.readouterr().err
    )
    shutil.rmtree(model.folder)
    assert command.main(["--port", str(free_port())], project) == 1
    assert "run: there is no model package under packages/; make new-model NAME=" in capsys.readouterr().err
