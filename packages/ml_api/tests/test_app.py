from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from model_kit.testing import GOLDEN_ROW

from ml_api.app import API, MAX_MATCHES, MAX_PATH, create_app
from ml_api.models import registry
from ml_api.settings import SettingsError

FOLDER = Path(__file__).parents[1]


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    paths = {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=FOLDER,
        env={**os.environ, **paths, **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_factory_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    monkeypatch.setenv("MAX_BODY_BYTES", "4")
    response = create_app().test_client().post("/v1/predict/rides", json=[])
    assert response.status_code == 404
    monkeypatch.setenv("MAX_BODY_BYTES", "four")
    with pytest.raises(SettingsError, match="^MAX_BODY_BYTES is 'four'"):
        create_app()


def test_wsgi_module_holds_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    from ml_api.wsgi import app

    assert app.test_client().get("/health").status_code == 200
    assert app.test_client().get("/health/ready").status_code == 503


def test_nothing_of_training_is_imported() -> None:
    code = (
        "import sys, ml_api.app, ml_api.models.registry;"
        "print(sorted({'pandas', 'sklearn', 'skl2onnx', 'onnxruntime', 'scipy'} & set(sys.modules)))"
    )
    assert run("-c", code).stdout == "[]\n"


def test_models_know_no_flask() -> None:
    code = "import sys, ml_api.models.registry; print(sorted({'flask', 'werkzeug', 'ml_api.views'} & set(sys.modules)))"
    assert run("-c", code).stdout == "[]\n"


def test_import_does_nothing() -> None:
    code = (
        "import logging, threading, ml_api.app;"
        "print(logging.getLogger('ml_api').handlers, threading.active_count(), logging.root.handlers)"
    )
    result = run("-c", code, PORT="bad")
    assert (result.stdout, result.stderr) == ("[] 1 []\n", "")


def test_development_server_finds_the_factory() -> None:
    result = run("-m", "flask", "--app", "ml_api.app", "routes")
    assert result.returncode == 0, result.stderr
    assert "/v1/predict/<name>" in result.stdout
    assert "static" not in result.stdout


def test_version_is_in_one_place() -> None:
    assert "__version__" in (FOLDER / "ml_api" / "__init__.py").read_text()
    pyproject = (FOLDER / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in pyproject
    assert 'path = "ml_api/__init__.py"' in pyproject


def test_matches_of_paths_are_kept_and_bounded(app: API, client: FlaskClient) -> None:
    def asked() -> list[tuple[int, str | None]]:
        answers = [client.post("/v1/predict/rides", json=[GOLDEN_ROW]), client.get("/v1/predict/rides")]
        answers += [client.post("/v1/predict/none", json=[]), client.get("/v1/models/rides"), client.get("/none")]
        return [(answer.status_code, answer.headers.get("Allow")) for answer in answers]

    first = asked()
    assert [status for status, _ in first] == [200, 405, 404, 200, 404]
    assert asked() == first
    kept = app.matches["POST", "/v1/predict/rides"]
    assert kept[0].rule == "/v1/predict/<name>"
    assert kept[1] == {"name": "rides"}
    assert not {path for _, path in app.matches} & {"/none"}
    for number in range(3 * MAX_MATCHES):
        client.get(f"/v1/models/{number}")
    assert len(app.matches) <= MAX_MATCHES
    client.get(f"/v1/models/{'x' * MAX_PATH}")
    assert max(len(path) for _, path in app.matches) <= MAX_PATH
    assert asked() == first
