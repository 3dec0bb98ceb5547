"""Deployments on a stand-in for Heroku: a real push, a real build, the real service behind a router."""

from __future__ import annotations

import json
import re
import sysconfig
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import pytest
from heroku_standin import Heroku as Standin
from heroku_standin import heroku
from model_kit.scoring.bundle import GOLDEN, dump_json, write_bundle
from model_kit.scoring.installed import source_digest
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW, ride_files
from model_kit.training.provenance import git_commit

import deploy
import live_service
import push
from deployable import Client, asking, commit, git, make_deployable, release_version
from heroku import Heroku, Release, platform_from_environment
from local_index import serve_index
from package_index import PackageIndex
from project import Project, ScriptError
from public_index import PublicIndex, foreign_wheel, serve_public
from publish import publish_made
from release_commit import release_commit
from repository import git as git_of
from small_project import TOKEN, add_third_party, train
from wheels import Manifest, make_wheels

Told = Callable[[], str]


@dataclass
class Scene:
    """What one day of deployments needs, and what it left behind."""

    project: Project
    index: PackageIndex
    public: PublicIndex
    platform: Standin
    patch: pytest.MonkeyPatch
    said: list[str]
    seen: set[str]

    def make(self) -> Manifest:
        """Wheels of what is there, made and published."""
        manifest = make_wheels(self.project, self.index, say=self.said.append)
        publish_made(self.project, self.index, say=self.said.append)
        return manifest

    def deploy(self, what: str, *options: str) -> int:
        """The command."""
        return deploy.main([what, "--app", "rides-staging", *options], self.project)

    def served(self, app: str = "rides-staging") -> str | None:
        """The artefact that an app serves."""
        found = live_service.Service(self.platform.apps[app].router.url).version()
        return None if found is None else found["models"]["regression"].get("artifact_sha256")

    def use(self, manifest: Manifest, patch: pytest.MonkeyPatch) -> None:
        """Let the command deploy other wheels than were made last."""
        (wheel,) = manifest.models
        golden = {"row": GOLDEN_ROW, "prediction": GOLDEN_PREDICTION}
        model = live_service.ExpectedModel("regression", wheel.version, wheel.artifact_sha256, golden)
        meant = live_service.Expected((model,), manifest.commit)
        patch.setattr(deploy, "read_manifest", lambda _: manifest)
        patch.setattr(deploy, "expected", lambda *_, **__: meant)

    def wait(self, version: int) -> None:
        """Until staging's router sends to a release."""
        app = self.platform.apps["rides-staging"]
        with app.lock:
            assert app.lock.wait_for(lambda: app.live == version, 60)

    @property
    def newest(self) -> int:
        """The number of staging's newest release."""
        return self.platform.apps["rides-staging"].releases[-1].version


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Generator[Scene]:
    folder = tmp_path_factory.mktemp("deploy")
    project = make_deployable(folder / "project")
    (folder / "public").mkdir()
    # Somebody else's index is the default one, and has our names in higher versions and in the very same.
    for version in ("99.0", "0.3.0", "0.3.0+zzz", "0.1.0"):
        for name in ("model-kit", "regression-model"):
            foreign_wheel(folder / "public", name, version)
    add_third_party(folder / "cache")
    cache = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "cache"), "platbase": str(folder / "cache")}))
    with (
        pytest.MonkeyPatch.context() as patch,
        serve_index(project.index, TOKEN) as index,
        serve_public(folder / "public") as public,
        heroku(
            folder / "heroku",
            pip_environ={"PIP_INDEX_URL": public.url, "PYTHONDONTWRITEBYTECODE": "1"},
            cache=cache,
            delay=1.0,
        ) as platform,
    ):
        settings = {"WEB_CONCURRENCY": "1", "HOST": "127.0.0.1", "SHUTDOWN_DELAY": "0"}
        platform.create("rides-staging", **settings)
        platform.create("rides", **settings)
        for name, value in platform.environ.items():
            patch.setenv(name, value)
        patch.setenv("PACKAGE_INDEX_URL", index.url)
        patch.setenv("PACKAGE_INDEX_USER", index.user)
        patch.setenv("PACKAGE_INDEX_TOKEN", TOKEN)
        patch.setenv("LIMIT", "40")
        patch.setattr(live_service, "ROUNDS", 2)
        patch.setattr(live_service, "PAUSE", 0.1)
        seen: set[str] = set()
        said: list[str] = []
        patch.setattr(deploy, "say", said.append)
        done = threading.Event()
        watcher = threading.Thread(target=watch, args=(seen, done))
        watcher.start()
        try:
            yield Scene(project, index, public, platform, patch, said, seen)
        finally:
            done.set()
            watcher.join()


def watch(seen: set[str], done: threading.Event) -> None:
    """Write down every command line."""
    while not done.wait(0.02):
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                seen.add(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))


@pytest.fixture
def told(scene: Scene, capsys: pytest.CaptureFixture[str]) -> Told:
    """What the command has said since it was asked last."""
    start = [len(scene.said)]

    def tell() -> str:
        text = "\n".join(scene.said[start[0] :]) + capsys.readouterr().err
        start[0] = len(scene.said)
        return text

    return tell


@pytest.fixture(scope="module")
def first(scene: Scene) -> Manifest:
    """The first deployment."""
    manifest = scene.make()
    for app in ("rides-staging", "rides"):
        assert deploy.main(["configure", "--app", app], scene.project) == 0
    assert scene.deploy("git") == 0
    return manifest


@pytest.fixture(scope="module")
def second(scene: Scene, first: Manifest) -> tuple[Manifest, Client]:
    """The second, while a client keeps asking."""
    release_version(scene.project, "0.4.0")
    train(scene.project.models()[0], metrics={"r2": 0.95})
    commit(scene.project)
    manifest = scene.make()
    url = scene.platform.apps["rides-staging"].router.url + "v1/predict/regression"
    with asking(url, GOLDEN_ROW) as client:
        assert scene.deploy("git") == 0
    return manifest, client


@pytest.fixture(scope="module")
def broken(scene: Scene, second: tuple[Manifest, Client]) -> tuple[Manifest, int]:
    """The third, whose model does not score its golden row; the command's status."""
    release_version(scene.project, "0.5.0")
    (model,) = scene.project.models()
    card = json.loads((model.bundle / "card.json").read_text()) | {"code_sha256": source_digest(model.source)}
    files = ride_files(**card) | {GOLDEN: dump_json({"row": GOLDEN_ROW, "prediction": 1.0})}
    write_bundle(model.bundle, files)
    commit(scene.project)
    manifest = scene.make()
    return manifest, scene.deploy("git", "--limit", "8")


def test_what_is_pushed_is_the_tested_commit_with_our_wheels_pinned(scene: Scene, first: Manifest) -> None:
    assert scene.served() == first.models[0].artifact_sha256
    slug = scene.platform.apps["rides-staging"].releases[-1].slug
    assert slug is not None
    assert first.commit is not None
    assert git(scene.project, "rev-parse", f"{slug['commit']}^@") == first.commit
    changed = git(scene.project, "diff", "--name-status", first.commit, slug["commit"]).split()
    assert changed == ["A", "COMMIT", "M", "requirements.txt"]
    lines = git(scene.project, "diff", "-U0", first.commit, slug["commit"], "--", "requirements.txt").splitlines()
    assert [line[1:] for line in lines if re.match(r"[+-](?![+-])", line)] == [
        f"# Our own wheels, as they were tested at {first.commit}.",
        *first.pins().splitlines(),
    ]
    assert git(scene.project, "log", "-1", "--format=%B", slug["commit"]) == (
        f"Release model-kit {first.wheels[0].version}, regression-model 0.3.0\n\nof {first.commit}"
    )
    assert git(scene.project, "for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_nothing_of_another_index_gets_in_by_its_name_or_a_higher_version(scene: Scene, first: Manifest) -> None:
    assert any(path.startswith("/simple/regression-model") for path in scene.public.asked), "pip asked them, too"
    assert not any(path.endswith(".whl") for path in scene.public.asked)
    slug = scene.platform.apps["rides-staging"].releases[-1].slug
    assert slug is not None
    code = next(Path(slug["folder"]).glob(".heroku/python/lib/python*/site-packages/regression_model/__init__.py"))
    assert '__version__ = "0.3.0"' in code.read_text()


def test_without_our_file_the_build_fails_rather_than_take_theirs(
    scene: Scene, first: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = scene.project.index / first.models[0].file
    hidden = ours.with_suffix(".hidden")
    ours.rename(hidden)
    before = scene.newest
    git(scene.project, "commit", "--quiet", "--allow-empty", "--message", "Nothing")
    nothing = git(scene.project, "rev-parse", "HEAD")
    scene.use(replace(first, commit=nothing), monkeypatch)
    try:
        assert scene.deploy("git") == 1
    finally:
        hidden.rename(ours)
    assert scene.newest == before
    assert scene.served() == first.models[0].artifact_sha256


def test_a_clean_release_drops_no_request(scene: Scene, second: tuple[Manifest, Client]) -> None:
    manifest, client = second
    assert client.failures == []
    assert client.asked > 20
    assert manifest.models[0].version == "0.4.0"


def test_a_release_that_is_not_well_is_rolled_back(
    scene: Scene, second: tuple[Manifest, Client], broken: tuple[Manifest, int]
) -> None:
    good, (bad, status) = second[0], broken
    assert status == 1
    assert bad.models[0].artifact_sha256 != good.models[0].artifact_sha256
    assert scene.served() == good.models[0].artifact_sha256
    newest = scene.platform.apps["rides-staging"].releases[-1]
    assert newest.description.startswith("Rollback to v")


def test_what_was_released_before_is_released_again_though_git_has_nothing_to_push(
    scene: Scene, broken: tuple[Manifest, int], told: Told
) -> None:
    # The broken release's commit is what the app's repository has; it is released again, and rolled back again.
    before = scene.newest
    assert scene.deploy("git", "--limit", "15") == 1
    output = told()
    assert "is released again" in output
    assert re.search(r"/health/ready answers 503: .*golden row scores", output)
    assert "ROLLED BACK rides-staging to release" in output
    assert scene.newest == before + 2


def test_promotion_releases_the_very_slug_and_rollback_the_one_before(
    scene: Scene,
    second: tuple[Manifest, Client],
    broken: tuple[Manifest, int],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = second[0]
    scene.use(good, monkeypatch)
    assert scene.deploy("verify", "--limit", "5") == 0
    assert good.models[0].artifact_sha256 in told()
    assert deploy.main(["promote", "--from", "rides-staging", "--app", "rides"], scene.project) == 0
    staging, production = (scene.platform.apps[name].releases[-1] for name in ("rides-staging", "rides"))
    assert production.slug == staging.slug
    assert scene.served("rides") == good.models[0].artifact_sha256

    # Back by hand: to the code before, and from there to a release that is named.
    assert scene.deploy("rollback") == 0
    scene.wait(staging.version + 1)
    assert scene.served() != good.models[0].artifact_sha256
    assert scene.deploy("verify", "--limit", "0") == 1
    assert "/version has regression.version '0.3.0' where '0.4.0' was meant" in told()
    assert scene.deploy("rollback", "--release", f"v{staging.version}") == 0
    scene.wait(staging.version + 2)
    assert scene.served() == good.models[0].artifact_sha256
    assert scene.deploy("rollback", "--release", "v999") == 1


def test_the_release_commit_is_the_same_whoever_makes_it_and_only_of_a_commit(
    scene: Scene, first: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = release_commit(scene.project, first, {})
    monkeypatch.setenv("GIT_AUTHOR_NAME", "somebody")
    assert release_commit(scene.project, first, {}) == made
    for commit_, word in ((None, "no repository"), ("0" * 40 + "-dirty", "files were changed")):
        with pytest.raises(ScriptError, match=word):
            release_commit(scene.project, replace(first, commit=commit_), {})


def test_the_release_has_what_the_settings_of_the_app_need(scene: Scene, first: Manifest) -> None:
    def added(settings: dict[str, str]) -> set[str]:
        made = [release_commit(scene.project, first, settings_) for settings_ in ({}, settings)]
        lines = git(scene.project, "diff", *made, "--", "requirements.txt").splitlines()
        return {found[1] for line in lines if (found := re.match(r"\+([a-z][\w-]*)(\[\w+\])?==", line))}

    metrics, log = {"limits", "prometheus-client", "redis"}, {"alembic", "psycopg", "psycopg-binary", "sqlalchemy"}
    assert added({"METRICS": "false", "PREDICTION_LOG": "", "WEB_CONCURRENCY": "1"}) == set()
    assert metrics <= added({"METRICS": "true"}) == added({"METRICS_PORT": "9"}) == added({"RATE_LIMIT": "1/day"})
    assert log <= added({"PREDICTION_LOG": "DATABASE_URL"})
    both = added({"PREDICTION_LOG": "DATABASE_URL", "METRICS": "true"})
    assert both == added({"PREDICTION_LOG": "DATABASE_URL"}) | added({"METRICS": "true"})


def test_two_package_managers_are_refused_as_the_platform_does(
    scene: Scene, first: Manifest, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scene.project.root / "uv.lock").write_text("")
    changed = commit(scene.project)
    scene.use(replace(first, commit=changed), monkeypatch)
    try:
        assert scene.deploy("git") == 1
    finally:
        (scene.project.root / "uv.lock").unlink()
        commit(scene.project)
    output = told()
    assert "one package manager's files at its root, and has ['pip', 'uv']" in output
    assert "the push was refused" in output


def test_everything_that_is_missing_is_named_at_once_and_nothing_is_begun(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    asked = len(scene.platform.asked)
    for name in ("HEROKU_API_KEY", "PACKAGE_INDEX_URL", "PACKAGE_INDEX_USER", "PACKAGE_INDEX_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HEROKU_API_URL", "http://elsewhere.example")
    assert deploy.main(["promote"], scene.project) == 2
    output = told()
    assert "nothing was begun; not set: HEROKU_API_KEY, FROM, APP; HEROKU_API_URL must be an https URL" in output
    monkeypatch.setenv("HEROKU_API_KEY", "key")
    monkeypatch.setenv("HEROKU_API_URL", scene.platform.url)
    assert deploy.main(["configure", "--app", "rides"], scene.project) == 2
    assert "not set: PACKAGE_INDEX_URL" in told()
    assert len(scene.platform.asked) == asked
    with pytest.raises(SystemExit):
        deploy.main(["git", "--app", "no such/app"], scene.project)


def test_a_key_that_is_refused_and_an_app_that_is_not_there_are_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    assert deploy.main(["rollback", "--app", "nobody"], scene.project) == 1
    assert "is answered with 404: Couldn't find that" in told()
    monkeypatch.setenv("HEROKU_API_KEY", "another")
    assert scene.deploy("rollback") == 1
    assert "refuses the key (401); check HEROKU_API_KEY" in told()
    monkeypatch.setenv("HEROKU_API_URL", "http://127.0.0.1:9")
    assert scene.deploy("rollback") == 1
    assert "http://127.0.0.1:9 (HEROKU_API_URL) does not answer" in told()


def test_config_is_set_once(scene: Scene, first: Manifest, told: Told) -> None:
    before = scene.newest
    assert scene.deploy("configure") == 0
    assert "is set already" in told()
    assert scene.newest == before
    url = scene.platform.apps["rides-staging"].config["PIP_EXTRA_INDEX_URL"]
    assert url == scene.index.url.replace("http://", "http://developer:hunter2%2Fknown%2Bto%3Athe%40test@")


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="the process list is read from /proc")
def test_no_secret_is_in_a_process_list_or_in_what_was_said(scene: Scene, broken: tuple[Manifest, int]) -> None:
    secrets = [scene.platform.key, TOKEN, quote(TOKEN, safe="")]
    everything = "\n".join([*scene.seen, *scene.said])
    assert " push " in everything
    assert "pip install" in everything
    assert not any(secret in everything for secret in secrets)
    for path in (scene.project.root / "build/wheels").iterdir():
        assert not any(secret.encode() in path.read_bytes() for secret in secrets)
    slug = scene.platform.apps["rides-staging"].releases[-1].slug
    assert slug is not None
    assert not any(
        s in (Path(slug["folder"]) / name).read_text() for s in secrets for name in ("requirements.txt", "COMMIT")
    )


def test_the_release_before_is_not_one_that_was_given_up() -> None:
    def release(version: int, slug: str | None, description: str = "Deploy") -> Release:
        return Release(str(version), version, slug, description)

    newest_first = [
        release(8, "d", "Rollback to v6"),
        release(7, "c", "Rollback to v5"),
        release(6, "b", "Rollback to v4"),
        release(5, "c"),
        release(4, "b"),
        release(3, "b", "Set NAME config vars"),
        release(2, "a"),
        release(1, None, "Initial release"),
    ]
    assert deploy.previous(newest_first).version == 2
    assert deploy.previous(newest_first[3:]).version == 4
    for alone in (newest_first[6:], []):
        with pytest.raises(ScriptError, match="RELEASE=v12"):
            deploy.previous(alone)


def test_a_way_back_that_is_none_or_fails_is_said(scene: Scene, broken: tuple[Manifest, int]) -> None:
    api = Heroku(platform_from_environment())
    now, before = api.releases("rides-staging")[:2]
    service = live_service.Service(scene.platform.apps["rides-staging"].router.url)
    known = service.version()

    def back(before: Release | None, known: dict[str, object] | None, now: Release = now) -> str:
        return deploy._go_back(api, "rides-staging", before, now, known, service, 1.0)

    assert back(None, known).startswith("NOT rolled back: rides-staging has no release before")
    assert back(Release("1", 1, None), None).startswith("NOT rolled back")
    assert back(now, known) == f"NOT rolled back: rides-staging had release v{now.version} before, and has it now"
    assert back(Release("nobody", 99, "slug"), known).startswith("ROLLING BACK rides-staging to release v99 FAILED TOO")
    assert "which did not answer before either" in back(before, None)


def test_what_git_has_but_no_release_has_is_told(
    scene: Scene, first: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = release_commit(scene.project, first, Heroku(platform_from_environment()).config("rides"))
    monkeypatch.setattr(deploy, "live_commit", lambda *_: made)
    api = Heroku(platform_from_environment())
    with pytest.raises(ScriptError, match="rides has .* already, but no release of it"):
        deploy.release_by_git(api, "rides", scene.project, replace(first, commit=first.commit))()


def test_git_that_cannot_ask_and_tools_that_are_missing_are_told(
    scene: Scene, first: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = platform_from_environment()
    with pytest.raises(ScriptError, match=r"git can't ask .*/git/nobody\.git"):
        push.live_commit(platform, scene.project.root, "nobody")
    monkeypatch.setenv("DOCKER", "no-such-docker")
    with pytest.raises(ScriptError, match="docker is not here; install it"):
        push.push_image(platform, "rides", "ml-api", print)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ScriptError, match="git is not here; install it"):
        git_of(scene.project.root, "status")
    assert git_commit(scene.project.root) is None


def test_ctrl_c_ends_the_command_without_a_traceback(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(deploy, "run", interrupted)
    assert scene.deploy("verify") == 130


def test_a_shallow_clone_is_refused(scene: Scene, first: Manifest, tmp_path: Path) -> None:
    git(scene.project, "clone", "--quiet", "--depth=1", scene.project.root.as_uri(), str(tmp_path / "shallow"))
    with pytest.raises(ScriptError, match="git fetch --unshallow"):
        release_commit(Project(tmp_path / "shallow"), first, {})
