"""The Dockerfiles held to their rules, and the scripts around it; tests/image tries the image with a real engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import healthcheck
import image as command
from package_index import PackageIndex
from project import ROOT, Package, Project, ScriptError
from publish import publish
from small_project import TOKEN, add_model, train

#: Writes down how it was called, and with which of our variables.
DOCKER = """\
#!{python}
import json, os, sys
given = {{name: value for name, value in os.environ.items() if "PACKAGE_INDEX" in name or "pip_conf" in name}}
with open({calls!r}, "a") as stream:
    stream.write(json.dumps([sys.argv[1:], given]) + "\\n")
sys.exit({status})
"""


def dockerfile(name: str = "Dockerfile") -> str:
    """Its instructions, each on one line, without comments."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    return text.replace("\\\n", "")


def instructions(name: str, file: str = "Dockerfile") -> list[str]:
    return re.findall(rf"^{name} (.+)$", dockerfile(file), re.MULTILINE)


def test_base_image_is_the_python_of_the_project_in_an_exact_version() -> None:
    version = (ROOT / ".python-version").read_text().strip()
    outside = [line for line in instructions("FROM") if line.split()[0] not in re.findall(r" AS (\S+)", dockerfile())]
    assert len(outside) == 1
    assert re.fullmatch(rf"python:{re.escape(version)}\.\d+-slim-[a-z]+ AS base", outside[0])
    # site-packages is named, and nothing else of the version.
    assert set(re.findall(r"python3\.\d+", dockerfile())) == {f"python{version}"}
    assert instructions("FROM", "Dockerfile.notebook")[0] == outside[0]


@pytest.mark.parametrize(
    ("file", "ignored"),
    [
        ("Dockerfile", ".dockerignore"),
        ("Dockerfile.notebook", "Dockerfile.notebook.dockerignore"),
        ("deploy/retraining/Dockerfile", "deploy/retraining/Dockerfile.dockerignore"),
    ],
)
def test_what_may_enter_the_build_is_what_the_dockerfile_copies(file: str, ignored: str) -> None:
    lines = [line for line in (ROOT / ignored).read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert set(lines) - {f"!{name}" for name in allowed} <= {"*", "packages/*/tests", "**/__pycache__"}
    assert lines[-1] == "**/__pycache__"
    copied: set[str] = set()
    for line in instructions("COPY", file):
        if not line.startswith("--from"):
            copied.update(word for word in line.split()[:-1] if not word.startswith("--chown="))
    assert allowed == copied
    assert instructions("ADD", file) == []
    assert all((ROOT / name).exists() for name in copied - {"build/published.txt"})


def test_secrets_are_mounted_and_never_arguments() -> None:
    text = dockerfile()
    assert "# syntax=" not in (ROOT / "Dockerfile").read_text()
    assert {line.partition("=")[0] for line in instructions("ARG")} == {
        "ARTIFACT_SHA256",
        "GIT_COMMIT",
        "LOG",
        "MODEL_VERSION",
        "OPERATIONS",
        "OTEL",
        "SCIKIT_LEARN",
        "TABLES",
    }
    for variable in ("PACKAGE_INDEX_URL", "PACKAGE_INDEX_USER", "PACKAGE_INDEX_TOKEN"):
        assert f"--mount=type=secret,id={variable}" in text
    assert not re.search(r"^ENV .*(TOKEN|INDEX|PASSWORD)", text, re.MULTILINE)


@pytest.mark.parametrize("file", ["Dockerfile", "Dockerfile.notebook", "deploy/retraining/Dockerfile"])
def test_every_image_can_be_built_from_a_mirror_of_packages(file: str) -> None:
    runs = instructions("RUN", file)
    # A second set-up of an environment adds our packages, without a network.
    locked = [run for run in runs if " --lock " in run and "--packages" not in run]
    assert len(locked) == 1
    assert "--mount=type=secret,id=pip_conf,target=/etc/pip.conf " in locked[0]
    for run in [*locked, *(run for run in runs if "install_models.py" in run)]:
        assert "--mount=type=secret,id=pip_cert " in run
        assert "export PIP_CERT=/run/secrets/pip_cert" in run


def test_it_ends_as_a_number_that_starts_run_sh_and_is_asked_for_its_health() -> None:
    last = dockerfile().split("\nFROM ")[-1]
    assert re.findall(r"^USER (.+)$", last, re.MULTILINE) == ["10001:10001"]
    assert json.loads(re.findall(r"^CMD (.+)$", last, re.MULTILINE)[0]) == ["sh", "run.sh"]
    assert "HEALTHCHECK" in last
    # SageMaker runs the image with this argument.
    assert re.search(r"^RUN .*exec sh /app/run.sh serve.* > /usr/local/bin/serve && chmod 755", last, re.MULTILINE)
    assert "curl" not in dockerfile()
    timeout = re.search(r"--timeout=(\d+)s", last)
    assert timeout is not None
    assert int(timeout.group(1)) > healthcheck.PATIENCE
    assert not re.search(r"apt-get|\bgcc\b|build-essential", dockerfile())


def test_what_a_start_imports_of_the_standard_library_is_compiled_in_the_image() -> None:
    """A read-only root keeps no bytecode, and the official image has none."""
    (imported,) = re.findall(r'^RUN python -c "(import [^"]+)"$', dockerfile(), re.MULTILINE)
    code = (
        "import sys\n"
        f"{' '.join(imported.split())}\n"
        "compiled = set(sys.modules)\n"
        "import ml_api.wsgi, ml_api.worker\n"
        "late = {name for name in set(sys.modules) - compiled if name.partition('.')[0] in sys.stdlib_module_names}\n"
        "print(sorted(name for name in late if getattr(sys.modules[name], '__cached__', None)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT / "packages/ml_api", capture_output=True, text=True, check=True)
    # Before it: what the log says of models that are not trained here.
    assert done.stdout.splitlines()[-1] == "[]"


def test_notebook_image_has_a_lock_with_hashes_no_root_and_no_way_around_its_token() -> None:
    text = dockerfile("Dockerfile.notebook")
    last = text.split("\nFROM ")[-1]
    assert re.findall(r"^USER (.+)$", last, re.MULTILINE) == ["10001:10001"]
    shell, option, words = json.loads(re.findall(r"^CMD (.+)$", last, re.MULTILINE)[0])
    assert (shell, option) == ("sh", "-c")
    assert words.startswith("exec python -m jupyterlab --ip=${JUPYTER_IP:-0.0.0.0} ")
    assert "--ServerApp.root_dir=/notebooks" in words
    assert not re.search("token|password|allow.root|disable_check_xsrf|ARG ", text, re.IGNORECASE)
    installs = re.findall(r"environment\.py /opt/notebook (.+?)(?:&&|$)", text, re.MULTILINE)
    assert len(installs) == 2
    assert all("--lock requirements/notebook.txt" in options for options in installs)
    assert not re.search(r"pip install|apt-get|curl", text)


class Answers(BaseHTTPRequestHandler):
    status, body = 200, b"{}"
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gave it
        pass


@pytest.fixture
def port() -> Generator[int]:
    """The port of a server that answers as :class:`Answers` is told to."""
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "expected"), [(200, 0), (503, 1), (404, 1)])
def test_health_is_what_the_service_says_on_its_port(
    port: int, status: int, expected: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Answers, "status", status)
    monkeypatch.setattr(Answers, "body", b'{"detail": "the reason"}')
    monkeypatch.setattr(Answers, "asked", [])
    monkeypatch.setenv("PORT", str(port))
    monkeypatch.delenv("HOST", raising=False)
    assert healthcheck.main() == expected
    assert Answers.asked == ["/health/ready"]
    assert "the reason" in capsys.readouterr().out


def test_health_without_an_answer_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("HOST", "127.0.0.1")
    assert healthcheck.main() == 1
    assert capsys.readouterr().out.startswith("no answer: ")


def test_health_is_asked_with_little_of_python() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import healthcheck; print(len(sys.modules))"
    script = str(ROOT / "scripts")
    done = subprocess.run([sys.executable, "-IS", "-c", code, script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 120
    # It runs without the site-packages of the environment.
    path = ROOT / "scripts/healthcheck.py"
    environ = os.environ | {"PORT": "1"}
    assert subprocess.run([sys.executable, "-IS", path], env=environ, capture_output=True, check=False).returncode == 1


class Client:
    """A stand-in for Docker's client, which writes down how it is called."""

    def __init__(self, folder: Path, status: int = 0) -> None:
        self._calls, self.path = folder / "calls", folder / "docker"
        self.path.write_text(DOCKER.format(python=sys.executable, calls=str(self._calls), status=status))
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)

    @property
    def call(self) -> tuple[list[str], dict[str, str]]:
        """Arguments and variables of its one call."""
        (line,) = self._calls.read_text().splitlines()
        found: list[Any] = json.loads(line)
        return found[0], found[1]


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


def build_arguments(arguments: list[str]) -> dict[str, str]:
    given = [arguments[place + 1] for place, word in enumerate(arguments) if word == "--build-arg"]
    return dict(word.split("=", 1) for word in given)


def test_build_names_the_published_model_and_keeps_the_token_out_of_the_arguments(
    project: Project, model: Package, index: PackageIndex, client: Client
) -> None:
    publish(project, index)
    # What was trained since is not what the image will hold.
    published = json.loads((model.bundle / "manifest.json").read_text())["artifact_sha256"]
    train(model, evaluated=False)
    environ = os.environ | {"DOCKER": str(client.path), "GIT_COMMIT": "97be0ea", "IMAGE": "registry.example/rides:1"}
    identity = command.build(project, index, environ)
    assert identity == command.Identity(f"0.3.0+{published[:12]}", published, "97be0ea")
    arguments, variables = client.call
    assert arguments[0] == "build"
    assert arguments[-1] == str(project.root)
    assert build_arguments(arguments) == {
        "MODEL_VERSION": identity.model_version,
        "ARTIFACT_SHA256": published,
        "GIT_COMMIT": "97be0ea",
    }
    assert arguments[arguments.index("--tag") + 1] == "registry.example/rides:1"
    # The index is on this machine, which a container reaches by its network only.
    assert arguments[arguments.index("--network") + 1] == "host"
    assert TOKEN not in " ".join(arguments)
    assert variables["IMAGE_SECRET_PACKAGE_INDEX_TOKEN"] == TOKEN
    assert "id=PACKAGE_INDEX_TOKEN,env=IMAGE_SECRET_PACKAGE_INDEX_TOKEN" in arguments
    assert not any(name.startswith("PACKAGE_INDEX") for name in variables)


def test_certificates_and_further_options_reach_the_build(
    project: Project, index: PackageIndex, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(project, index)
    certificates = tmp_path / "ca.pem"
    monkeypatch.setenv("PIP_CERT", str(certificates))
    certificates.write_text("-----BEGIN CERTIFICATE-----\n")
    environ = {"DOCKER": str(client.path), "DOCKER_OPTIONS": "--platform 'linux/amd64'"}
    command.build(project, index, os.environ | environ)
    arguments, _ = client.call
    assert f"id=pip_cert,src={certificates}" in arguments
    assert arguments[-3:-1] == ["--platform", "linux/amd64"]


def test_a_failed_build_is_told(project: Project, index: PackageIndex, tmp_path: Path) -> None:
    publish(project, index)
    failing = Client(tmp_path, status=3)
    with pytest.raises(ScriptError, match="the image was not built"):
        command.build(project, index, os.environ | {"DOCKER": str(failing.path)})
    with pytest.raises(ScriptError, match="/no/docker: not found; install Docker"):
        command.build(project, index, os.environ | {"DOCKER": "/no/docker"})


def test_what_was_not_published_or_is_another_wheel_is_refused(project: Project, index: PackageIndex) -> None:
    with pytest.raises(ScriptError, match=r"published\.txt: No such file or directory; `make publish` writes it"):
        command.published_models(project, index)
    text = publish(project, index).read_text()
    project.published.write_text(re.sub("sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", text))
    with pytest.raises(ScriptError, match="does not have regression-model==.* as .* names it"):
        command.published_models(project, index)
    project.published.write_text(re.sub("regression-model==[^ ]+", "regression-model==7", text))
    with pytest.raises(ScriptError, match="does not have regression-model==7"):
        command.published_models(project, index)


def test_pip_s_places_go_along_but_no_folder_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://mirror.example/simple/\nextra-index-url = file:///opt/x https://more.example/\n"
        "find-links = /opt/wheels\ncert = /etc/ca.pem\ntarget = /elsewhere\ntimeout = 7\n"
    )
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_TIMEOUT", "9")
    lines = command.pip_configuration(command.pip_settings()).splitlines()
    assert lines[0] == "[global]"
    found = dict(line.split(" = ", 1) for line in lines[1:])
    assert found["index-url"] == "https://mirror.example/simple/"
    assert found["extra-index-url"] == "https://more.example/"
    assert found["timeout"] == "9"
    assert set(found) <= {"index-url", "extra-index-url", "timeout"}
    assert command.pip_configuration({"find-links": "/opt/wheels", "extra-index-url": "file:///opt/x"}) == ""


def test_make_image_publishes_first_and_tells_of_a_newer_model(
    project: Project,
    model: Package,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DOCKER", str(client.path))
    assert command.main(["build"], project) == 0
    out = capsys.readouterr().out
    assert "Published regression_model-0.3.0" in out
    assert "Built ml-api: model 0.3.0+" in out
    assert "not published yet" not in out
    train(model, evaluated=False)
    assert command.main(["build"], project) == 0
    assert "`make publish`, then `make image` again" in capsys.readouterr().out
    shutil.rmtree(model.bundle)
    assert command.main(["build"], project) == 0


def test_run_is_hardened_and_has_time_to_finish(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    environ = {"DOCKER": "sudo docker", "PORT": "8080", "MODEL_DIR": str(tmp_path / "bundle"), "IMAGE": "x:1"}
    found = command.run_command(environ | {"DOCKER_OPTIONS": "--memory 256m"})
    text = " ".join(found)
    assert text.startswith("sudo docker run --rm --read-only --cap-drop ALL --security-opt no-new-privileges ")
    assert "--env PORT=8080 --publish 8080:8080 " in text
    assert f"--mount type=bind,source={tmp_path}/bundle,target=/model,readonly --env MODEL_DIR=/model" in text
    assert found[-3:] == ["--memory", "256m", "x:1"]
    graceful = re.search(
        r"^graceful_timeout = (\d+)$", (ROOT / "packages/ml_api/gunicorn.conf.py").read_text(), re.MULTILINE
    )
    assert graceful is not None
    assert int(found[found.index("--stop-timeout") + 1]) > int(graceful.group(1))
    assert command.run_command({})[-1] == "ml-api"


def test_training_image_is_built_of_what_is_published_with_the_index_in_secrets(
    project: Project, index: PackageIndex, client: Client
) -> None:
    environ = os.environ | {"DOCKER": str(client.path)}
    with pytest.raises(ScriptError, match="`make publish` writes it"):
        command.build_training(project, index, environ)
    publish(project, index)
    assert command.build_training(project, index, environ) == "ml-api-training"
    arguments, variables = client.call
    assert arguments[:3] == ["build", "--tag", "ml-api-training"]
    assert arguments[arguments.index("--file") + 1] == str(project.root / "deploy/retraining/Dockerfile")
    assert arguments[arguments.index("--network") + 1] == "host"
    assert "id=PACKAGE_INDEX_TOKEN,env=IMAGE_SECRET_PACKAGE_INDEX_TOKEN" in arguments
    assert variables["IMAGE_SECRET_PACKAGE_INDEX_TOKEN"] == TOKEN
    assert TOKEN not in " ".join(arguments)


def test_notebook_image_is_built_from_its_own_file_without_the_index(
    project: Project, client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER", str(client.path))
    monkeypatch.setenv("PACKAGE_INDEX_TOKEN", TOKEN)
    assert command.main(["notebook"], project) == 0
    assert capsys.readouterr().out == "Built ml-notebook. `make run-notebook-image` starts it.\n"
    arguments, variables = client.call
    assert arguments[:3] == ["build", "--tag", "ml-notebook"]
    assert arguments[arguments.index("--file") + 1] == str(project.root / "Dockerfile.notebook")
    assert arguments[-1] == str(project.root)
    assert not any("PACKAGE_INDEX" in text for text in (*arguments, *variables))


def test_notebooks_are_hardened_on_loopback_and_their_user_s(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getgid", lambda: 100)
    environ = {"NOTEBOOK_DIR": str(tmp_path), "DOCKER_OPTIONS": "--network host"}
    found = command.run_notebook_command(project, environ)
    text = " ".join(found)
    assert text.startswith("docker run --rm --read-only --cap-drop ALL --security-opt no-new-privileges ")
    assert "--user 1000:100 --publish 127.0.0.1:8888:8888 " in text
    assert f"--mount type=bind,source={tmp_path},target=/notebooks " in text
    assert found[-3:] == ["--network", "host", "ml-notebook"]
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert "--user" not in command.run_notebook_command(project, environ)
    monkeypatch.setenv("NOTEBOOK_DIR", "/no/folder")
    assert command.main(["run-notebook"], project) == 2
    assert "NOTEBOOK_DIR=/no/folder is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value"), [("PORT", "many"), ("MODEL_DIR", "/no/folder"), ("DOCKER", "/no/docker")]
)
def test_run_refuses_by_name_what_cannot_be(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, value)
    assert command.main(["run"]) == (1 if variable == "DOCKER" else 2)
    assert variable in capsys.readouterr().err


def test_a_stop_while_building_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "make_image", stop)
    assert command.main(["build"], project) == 130
    assert capsys.readouterr().err == "image: stopped\n"


def test_the_image_of_several_models_names_each(
    project: Project, model: Package, index: PackageIndex, client: Client
) -> None:
    fares = add_model(project, "fares", "1.0.0")
    artifacts = [train(fares, metrics={"r2": 0.7}), train(model)]
    publish(project, index, release=True)
    assert [(package.model, version) for package, version, _ in command.published_models(project, index)] == [
        ("fares", "1.0.0"),
        ("regression", "0.3.0"),
    ]
    identity = command.build(project, index, os.environ | {"DOCKER": str(client.path)})
    assert identity.model_version == "fares 1.0.0, regression 0.3.0"
    assert identity.artifact_sha256.split() == artifacts
    arguments, _ = client.call
    assert f"ARTIFACT_SHA256={' '.join(artifacts)}" in arguments
    publish(project, index, model="fares", release=False)
    assert [package for package, *_ in command.published_models(project, index)] == [fares]


def test_the_image_is_pushed_and_named_by_the_digest_of_that_registry(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = [
        f"{name}@sha256:{digit * 64}" for name, digit in (("other.example/ml-api", "1"), ("ghcr.io/o/ml-api", "2"))
    ]
    docker, calls = tmp_path / "docker", tmp_path / "calls"
    cases = f'case "$1" in image) echo {" ".join(digests)};; push) exit "${{FAILS:-0}}";; esac'
    docker.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n{cases}\n')
    docker.chmod(0o755)
    environ = {"DOCKER": str(docker), "IMAGE": "tried", "REPOSITORY": "ghcr.io/o/ml-api", "TAG": "v1.2.0"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert command.main(["push"], project) == 0
    assert project.image.read_text() == f"{digests[1]}\n"
    assert calls.read_text().splitlines()[:2] == ["tag tried ghcr.io/o/ml-api:v1.2.0", "push ghcr.io/o/ml-api:v1.2.0"]
    project.image.unlink()
    monkeypatch.setenv("FAILS", "1")
    assert command.main(["push"], project) == 1
    assert "tried was not pushed as ghcr.io/o/ml-api:v1.2.0" in capsys.readouterr().err
    for name, value in (("REPOSITORY", "ghcr.io/O/ml-api"), ("TAG", "")):
        monkeypatch.setenv(name, value)
        assert command.main(["push"], project) == 2
        assert f"{name} is {value!r}" in capsys.readouterr().err
        monkeypatch.setenv(name, environ[name])
    assert not project.image.exists()
