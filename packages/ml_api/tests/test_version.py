from __future__ import annotations

import json
from pathlib import Path

from flask.testing import FlaskClient
from model_kit.testing import load_rides

import ml_api
from ml_api.app import create_app
from ml_api.settings import Settings


def test_version_tells_where_each_model_comes_from(client: FlaskClient, bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    response = client.get("/version")
    assert response.status_code == 200
    assert response.json == {
        "model_version": "1.2.3",
        "api_version": ml_api.__version__,
        "git_commit": None,
        "models": {
            "rides": {
                "version": "1.2.3",
                "artifact_sha256": manifest["artifact_sha256"],
                "files": manifest["files"],
                "data": {"name": "rides by hand", "sha256": "0" * 64, "rows": 100, "synthetic": True},
                "evaluated": True,
                "metrics": {"r2": 0.9},
                "libraries": {"numpy": "2"},
                "git_commit": None,
                "trained_at": "2026-01-01T00:00:00+00:00",
            }
        },
    }


def test_broken_model_shows_its_reason(bundle: Path) -> None:
    models = {"gone": lambda: load_rides(bundle / "nowhere"), "rides": lambda: load_rides(bundle)}
    document = create_app(Settings(), models).test_client().get("/version").get_json()
    assert list(document["models"]["gone"]) == ["error"]
    assert document["models"]["gone"]["error"].startswith("manifest.json: cannot be read")
    assert document["models"]["rides"]["version"] == "1.2.3"
    assert document["model_version"] is None


def test_default_model_is_a_setting(bundle: Path) -> None:
    models = {"a": lambda: load_rides(bundle, "1.0.0"), "b": lambda: load_rides(bundle, "2.0.0")}
    client = create_app(Settings(default_model="b"), models).test_client()
    assert client.get("/version").get_json()["model_version"] == "2.0.0"


def test_without_a_model_the_version_is_null() -> None:
    document = create_app(Settings(), {}).test_client().get("/version").get_json()
    assert document == {
        "model_version": None,
        "api_version": ml_api.__version__,
        "git_commit": None,
        "models": {},
    }


def test_version_tells_the_commit_that_the_api_was_built_from() -> None:
    settings = Settings.from_environ({"GIT_COMMIT": "97be0ea"})
    document = create_app(settings, {}).test_client().get("/version").get_json()
    assert document["git_commit"] == "97be0ea"
