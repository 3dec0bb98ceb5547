from __future__ import annotations

import base64
import csv
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import install_models as command
from install_models import STAMP, install, pip_environment
from package_index import PackageIndex
from project import ROOT, Project, ScriptError
from publish import publish
from small_project import TOKEN, add_model, train


def test_installs_once_and_again_when_interrupted(project: Project, index: PackageIndex, environment: Path) -> None:
    told: list[str] = []
    published = publish(project, index)
    assert install(published, index, environment, say=told.append)
    assert [line.split()[1] for line in told] == ["model-kit", "regression-model"]
    assert not install(published, index, environment)
    (environment / STAMP).unlink()
    assert install(published, index, environment)

    site = next(environment.glob("lib/python*/site-packages"))
    assert not list(site.glob("*.pth")), "a path into the sources"
    assert not list(site.rglob("direct_url.json"))


def test_nothing_published_and_no_environment_are_told_with_what_to_do(project: Project, index: PackageIndex) -> None:
    with pytest.raises(ScriptError, match=r"published\.txt: No such file or directory; `make publish` writes it"):
        install(project.published, index, project.serving)
    project.build.mkdir(exist_ok=True)
    project.published.write_text("")
    with pytest.raises(ScriptError, match="`make install` makes it"):
        install(project.published, index, project.serving)


def test_what_the_index_does_not_have_fails_in_pip_s_words(
    project: Project, index: PackageIndex, environment: Path
) -> None:
    project.published.write_text(f"model-kit==0.0.1 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ScriptError, match=r"pip could not install .*published\.txt:\n(.*\n)*.*No matching") as caught:
        install(project.published, index, environment)
    assert TOKEN not in str(caught.value)
    assert not (environment / STAMP).exists()


def test_pip_keeps_how_to_reach_a_server_and_forgets_which() -> None:
    index = PackageIndex("https://index.example/simple/", "https://index.example/", "me", "x")
    environ = {"PIP_CERT": "/ca", "PIP_INDEX_URL": "x", "PACKAGE_INDEX_TOKEN": "x", "PYTHONPATH": "x", "HOME": "/h"}
    kept = pip_environment(environ, index)
    assert kept["PIP_CERT"] == "/ca"
    assert kept["HOME"] == "/h"
    assert kept["PIP_CONFIG_FILE"] == os.devnull
    assert not {"PIP_INDEX_URL", "PACKAGE_INDEX_TOKEN", "PYTHONPATH", "NO_PROXY"} & set(kept)


def test_the_command_uses_the_embedded_index_or_the_one_of_the_environment(
    project: Project,
    index: PackageIndex,
    environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main([], project) == 1
    assert "make publish" in capsys.readouterr().err
    publish(project, index)
    assert command.main([], project) == 0
    assert capsys.readouterr().out.count("Installed") == 2
    monkeypatch.setenv("PACKAGE_INDEX_URL", index.url)
    monkeypatch.setenv("PACKAGE_INDEX_USER", index.user)
    assert command.main([], project) == 2
    monkeypatch.setenv("PACKAGE_INDEX_TOKEN", TOKEN)
    assert command.main([], project) == 0
    assert capsys.readouterr().out == "The models are installed already.\n"

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "install", interrupted)
    assert command.main([], project) == 130


def test_every_installed_file_has_the_sha256_of_its_record(
    project: Project, index: PackageIndex, environment: Path
) -> None:
    install(publish(project, index), index, environment)
    site = next(environment.glob("lib/python*/site-packages"))
    record = next(site.glob("regression_model-*.dist-info/RECORD"))
    with record.open(newline="") as stream:
        rows = [row for row in csv.reader(stream) if row[1]]
    for name, stated, _ in rows:
        digest = base64.urlsafe_b64encode(hashlib.sha256((site / name).read_bytes()).digest()).rstrip(b"=").decode()
        assert stated == f"sha256={digest}"
    assert any(row[0].endswith("bundle/model.onnx") for row in rows)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="the process list is read from /proc")
def test_the_token_is_in_no_process_list_no_output_and_no_file(
    project: Project, index: PackageIndex, environment: Path
) -> None:
    seen: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    environ = os.environ | {
        "PACKAGE_INDEX_URL": index.url,
        "PACKAGE_INDEX_USER": index.user,
        "PACKAGE_INDEX_TOKEN": TOKEN,
        "TMPDIR": str(project.build),
    }
    outputs = []
    try:
        for script in ("publish", "install_models"):
            code = f"import sys, {script} as s, project as p; sys.exit(s.main([], p.Project(p.Path(sys.argv[1]))))"
            outputs.append(
                subprocess.run(
                    [sys.executable, "-c", code, str(project.root)],
                    env=environ | {"PYTHONPATH": str(ROOT / "scripts")},
                    capture_output=True,
                    text=True,
                    check=True,
                )
            )
    finally:
        done.set()
        watcher.join()
    lines = "\n".join(seen)
    assert " -m twine upload " in lines
    assert " -m pip " in lines or "__pip-runner__" in lines
    secret = (TOKEN, TOKEN.replace("/", "%2F").replace("+", "%2B").replace(":", "%3A").replace("@", "%40"))
    assert not any(word in lines for word in secret)
    assert "Published" in outputs[0].stdout
    assert not any(word in output.stdout + output.stderr for word in secret for output in outputs)
    for path in project.root.rglob("*"):
        if path.is_file():
            assert not any(word.encode() in path.read_bytes() for word in secret), path


def test_a_model_that_is_no_longer_published_is_uninstalled(
    project: Project, index: PackageIndex, environment: Path
) -> None:
    train(add_model(project, "fares"))
    told: list[str] = []
    install(publish(project, index), index, environment, say=told.append)
    assert [line.split()[1] for line in told] == ["model-kit", "fares-model", "regression-model"]
    told.clear()
    install(publish(project, index, model="fares"), index, environment, say=told.append)
    assert told[0] == "Uninstalled regression-model, which is not among what was published"
    site = next(environment.glob("lib/python*/site-packages"))
    assert sorted(path.name for path in site.glob("*_model")) == ["fares_model"]
    assert (site / "model_kit").is_dir()
