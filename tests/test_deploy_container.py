"""A release by container: what is pushed to the registry is what the API is asked to run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from heroku_standin import heroku
from registry import registry, write_client

import deploy
import live_service
from check_wheels import expected, install_files
from deployable import make_deployable
from heroku import Heroku, platform_from_environment
from local_index import serve_index
from project import ScriptError
from small_project import TOKEN, add_third_party, make_environment
from wheels import make_wheels

IMAGE, SICK = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def test_the_pushed_image_is_released_by_its_digest_verified_and_the_key_is_left_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_deployable(tmp_path / "project")
    with serve_index(project.index, TOKEN) as index:
        manifest = make_wheels(project, index)
    make_environment(project.serving)
    add_third_party(project.serving)
    install_files(project, manifest, project.serving)

    def run_image(app: str, image: str, port: int) -> list[str]:
        """What the image does; released is only what was pushed."""
        if port == 0 and images.image(app) != image:
            raise LookupError(image)
        if image == SICK:
            return ["sh", "-c", f'exec "{sys.executable}" -m http.server --directory /dev/null "$PORT"']
        return ["env", f"GIT_COMMIT={manifest.commit}", str(project.root / "run.sh")]

    with (
        heroku(tmp_path / "heroku", pip_environ={}, delay=1.0, image_command=run_image) as platform,
        registry(platform.key) as images,
    ):
        app = platform.create("rides", WEB_CONCURRENCY="1", HOST="127.0.0.1")
        client = write_client(tmp_path, sys.executable, {"ml-api": IMAGE, "sick": SICK})
        for name, value in {**platform.environ, "HEROKU_REGISTRY": images.host, "DOCKER": str(client)}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr(live_service, "ROUNDS", 2)

        assert deploy.main(["container", "--app", "rides", "--image", "unknown"], project) == 1
        assert "No such image: unknown" in capsys.readouterr().err
        with pytest.raises(ScriptError, match=r"/apps/rides/formation is answered with 404: Couldn't find that"):
            Heroku(platform_from_environment()).release_image("rides", IMAGE)
        assert len(app.releases) == 1

        assert deploy.main(["container", "--app", "rides", "--limit", "40"], project) == 0
        output = capsys.readouterr().out
        assert "latest: digest: pushed" in output
        assert f"rides: release v2 serves regression 0.3.0, artefact {manifest.models[0].artifact_sha256}" in output
        assert app.releases[-1].image == IMAGE

        # One that is not well is taken back, as with git; its answers are of another commit.
        meant = expected(project, manifest, commit="another")
        monkeypatch.setattr(deploy, "expected", lambda *_, **__: meant)
        assert deploy.main(["container", "--app", "rides", "--image", "sick", "--limit", "10"], project) == 1
        error = capsys.readouterr().err
        assert "/health/ready answers 404" in error
        assert "ROLLED BACK rides to release v2 (as release v4), which serves what it served before" in error
        assert app.releases[-1].image == IMAGE

        monkeypatch.setenv("HEROKU_API_KEY", "another")
        assert deploy.main(["container", "--app", "rides"], project) == 1
    words = platform.key.encode()
    for path in tmp_path.rglob("*"):
        if path.is_file() and "heroku" not in path.relative_to(tmp_path).parts:
            assert words not in path.read_bytes(), path
