"""The image as a real Docker engine builds and runs it: `make test-image`."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from model_kit.scoring.bundle import CARD, dump_json, read_bundle, write_bundle

import service
from docker_client import COMMIT, IMPATIENT, Built, Container, Docker
from package_index import PackageIndex
from project import Project
from small_project import TOKEN

if "TEST_IMAGE" not in os.environ:
    pytest.skip("needs a Docker engine: make test-image", allow_module_level=True)

LARGEST_MB = 300


@pytest.fixture(scope="module")
def running(docker: Docker, image: Built) -> Generator[Container]:
    """One container for the tests that only look."""
    with docker.container(image.name, *IMPATIENT) as container:
        container.becomes("healthy")
        yield container


def spellings(index: PackageIndex) -> set[bytes]:
    """Every way in which the token could be written down."""
    basic = base64.b64encode(f"{index.user}:{TOKEN}".encode()).decode()
    plain = base64.b64encode(TOKEN.encode()).decode().rstrip("=")
    return {form.encode() for form in (TOKEN, quote(TOKEN), quote(TOKEN, safe=""), basic, plain)}


def files_of(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file in a saved image, those of its layers included."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as outer:
        for member in outer:
            opened = outer.extractfile(member)
            if opened is None:
                continue
            content = opened.read()
            yield member.name, content
            try:
                with tarfile.open(fileobj=io.BytesIO(content)) as layer:
                    for inner in layer:
                        yield inner.name, inner.name.encode()
                        part = layer.extractfile(inner) if inner.isfile() else None
                        if part is not None:
                            yield inner.name, part.read()
            except tarfile.ReadError:
                continue


def test_the_token_is_in_no_layer_of_the_saved_image(docker: Docker, image: Built, index: PackageIndex) -> None:
    saved = subprocess.run([docker.client, "save", image.name], env=docker.environ, stdout=subprocess.PIPE, check=True)
    secret, found = spellings(index), set()
    for name, content in files_of(saved.stdout):
        assert not any(form in content for form in secret), name
        if image.artifact_sha256.encode() in content:
            found.add(Path(name).name)
    assert "manifest.json" in found, "the control: what is in a layer is found"


def test_the_token_is_in_no_history_no_configuration_no_log_and_no_command_line(
    docker: Docker, image: Built, index: PackageIndex
) -> None:
    texts = {
        "history": docker("history", "--no-trunc", image.name),
        "configuration": docker("inspect", image.name),
        "log": image.output,
        "command lines": image.command_lines,
    }
    for name, text in texts.items():
        assert not any(form.decode() in text for form in spellings(index)), name
    # The controls: each of them was seen at all.
    assert "healthcheck.py" in texts["history"]
    assert "10001:10001" in texts["configuration"]
    assert "Installed regression-model" in texts["log"]
    assert "scripts/install_models.py --environment /opt/models" in texts["command lines"]
    assert re.search(r"pip.* --index-url http://127\.0\.0\.1:\d+/simple/ ", texts["command lines"])


def test_the_token_is_nowhere_in_the_engine_s_own_files(docker: Docker, image: Built, index: PackageIndex) -> None:
    folder = Path(docker("info", "--format", "{{.DockerRootDir}}").strip())
    if not os.access(folder, os.R_OK):
        pytest.skip(f"{folder} cannot be read: the engine is somebody else's")
    # Build cache, layers and metadata; and the engine's log, where it is our own engine.
    secret, controls, count = spellings(index), 0, 0
    for path in [*folder.rglob("*"), folder.with_name("log")]:
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        assert not any(form in content for form in secret), path
        controls += image.artifact_sha256.encode() in content
        count += 1
    assert controls, "what the build wrote is found"
    assert count > 1000


@pytest.mark.parametrize("file", ["Dockerfile", "Dockerfile.notebook", "deploy/retraining/Dockerfile"])
def test_what_enters_the_build_is_what_is_allowed(
    docker: Docker, checkout: Project, index: PackageIndex, tmp_path: Path, file: str
) -> None:
    cache = checkout.root / "packages/ml_api/ml_api/__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "app.cpython-311.pyc").write_bytes(b"")
    own = checkout.root / f"{file}.dockerignore"
    ignored = (own if own.exists() else checkout.root / ".dockerignore").read_text()
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (tmp_path / "Dockerfile.dockerignore").write_text(ignored)
    command = ["build", "--file", str(tmp_path / "Dockerfile"), "--output", f"type=local,dest={tmp_path / 'context'}"]
    subprocess.run(
        [docker.client, *command, str(checkout.root)], env=docker.environ | {"DOCKER_BUILDKIT": "1"}, check=True
    )
    entered = {path.relative_to(tmp_path / "context") for path in (tmp_path / "context").rglob("*") if path.is_file()}
    tests = set(checkout.root.glob("packages/*/tests/**/*"))
    allowed: set[Path] = set()
    for name in re.findall(r"^!(.+)$", ignored, re.MULTILINE):
        found = checkout.root / name
        files = [found] if found.is_file() else [path for path in found.rglob("*") if path.is_file()]
        allowed |= {path.relative_to(checkout.root) for path in files if path not in tests}
    assert entered == {path for path in allowed if "__pycache__" not in path.parts}


def test_a_build_without_the_index_is_refused_naming_the_secret(
    docker: Docker, checkout: Project, image: Built
) -> None:
    done = subprocess.run(
        [docker.client, "build", "--network", "host", "--target", "models", "--no-cache", str(checkout.root)],
        env=docker.environ | {"DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "secret PACKAGE_INDEX_URL not found" in done.stderr


def test_another_artefact_than_the_label_s_is_refused(
    docker: Docker, checkout: Project, credentials: dict[str, str], image: Built
) -> None:
    secrets = [part for name in credentials for part in ("--secret", f"id={name},env={name}")]
    target = ["--target", "models", "--build-arg", f"ARTIFACT_SHA256={'0' * 64}"]
    done = subprocess.run(
        [docker.client, "build", "--network", "host", *target, *secrets, str(checkout.root)],
        env=docker.environ | credentials | {"DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"do not hold the artefact {'0' * 64}" in done.stderr


def test_the_image_is_small_and_says_what_it_is(docker: Docker, image: Built, running: Container) -> None:
    (found,) = json.loads(docker("inspect", image.name))
    assert found["Size"] < LARGEST_MB * 1_000_000
    config = found["Config"]
    _, version = running.ask("GET", "/version")
    assert config["Labels"]["org.opencontainers.image.revision"] == version["git_commit"] == COMMIT
    models = version["models"]
    assert list(models) == ["regression", "rides"]
    versions = ", ".join(f"{name} {lineage['version']}" for name, lineage in models.items())
    assert config["Labels"]["org.opencontainers.image.version"] == versions
    artifacts = " ".join(lineage["artifact_sha256"] for lineage in models.values())
    assert config["Labels"]["ml-api.model.artifact-sha256"] == artifacts
    assert models["regression"]["artifact_sha256"] == image.artifact_sha256
    assert config["User"] == "10001:10001"
    assert config["Cmd"] == ["sh", "run.sh"]


def test_there_is_nothing_to_build_install_or_test_with(running: Container) -> None:
    code = (
        "import importlib.util as u; print([n for n in ('pip', 'setuptools', 'ensurepip', 'pytest') if u.find_spec(n)])"
    )
    assert running.execute("python", "-c", code) == "[]\n"
    for program in ("pip", "pip3", "gcc", "cc", "make", "git", "curl"):
        assert running.execute("sh", "-c", f"command -v {program} || echo none") == "none\n"
    assert running.execute("find", "/opt/serving", "-type", "d", "-name", "tests") == ""
    assert running.execute("ls", "/opt") == "serving\n"
    assert running.execute("ls", "/app").split() == ["__pycache__", "healthcheck.py", "packages", "run.sh"]


def test_nothing_is_compiled_at_a_start(running: Container) -> None:
    code = (
        "import os, sys, gunicorn.app.wsgiapp, ml_api.wsgi, ml_api.worker\n"
        "cached = [getattr(module, '__cached__', None) for module in list(sys.modules.values())]\n"
        "print(sum(map(bool, cached)) > 300, [path for path in cached if path and not os.path.exists(path)])"
    )
    lines = running.execute("env", "PYTHONPATH=packages/ml_api", "python", "-c", code).splitlines()
    assert lines[-1] == "True []"


def test_it_runs_as_nobody_and_can_write_nowhere(running: Container) -> None:
    assert running.execute("id", "-u") == "10001\n"
    assert (
        running.execute(
            "sh", "-c", "for d in / /app /tmp /opt/serving /home; do touch $d/x 2>/dev/null && echo $d; done; true"
        )
        == ""
    )
    (status,) = re.findall(r"^CapEff:\s+(\w+)$", running.execute("cat", "/proc/1/status"), re.MULTILINE)
    assert int(status, 16) == 0
    assert running.execute("cat", "/proc/1/cmdline").split("\0")[-3:-1] == ["-m", "ml_api"], "no shell before it"


def test_it_serves_large_batches_in_256_mb(docker: Docker, image: Built) -> None:
    with docker.container(image.name) as container:
        # With the health check that the image has.
        assert container.becomes("healthy")["Log"][-1]["Output"] == '{"status":"ready"}\n'
        _, sample = container.ask("GET", "/v1/models/regression/sample?n=100")
        record = sample[0]
        _, single = container.ask("POST", "/v1/predict/regression", json.dumps([record]).encode())
        batch = json.dumps(sample * 100).encode()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: container.ask("POST", "/v1/predict/regression", batch), range(24)))
        for status, document in answers:
            assert status == 200
            assert document["errors"] is None
            assert len(document["predictions"]) == 10_000
            assert document["predictions"][::100] == pytest.approx([single["predictions"][0]] * 100, rel=1e-9)
        assert container.log.count('"message":"Booting worker') == 2, "no worker was lost"
        assert not re.search('"level":"(error|critical)"|onnxruntime:', container.log)
        assert container.state["OOMKilled"] is False


def test_another_model_can_be_mounted(docker: Docker, image: Built, checkout: Project, tmp_path: Path) -> None:
    (model,) = checkout.models("regression")
    files = dict(read_bundle(model.bundle).files)
    card = json.loads(files[CARD])
    card["data"]["name"] = "another.csv"
    artifact = write_bundle(tmp_path / "bundles/regression", files | {CARD: dump_json(card)})
    tmp_path.chmod(0o755)
    with docker.container(image.name, *IMPATIENT, *mounted(tmp_path / "bundles")) as container:
        container.becomes("healthy")
        _, version = container.ask("GET", "/version")
        lineage = version["models"]["regression"]
        assert lineage["artifact_sha256"] == artifact != image.artifact_sha256
        assert lineage["data"]["name"] == "another.csv"
        assert version["model_version"].endswith(f"+{artifact[:12]}")
        assert version["models"]["rides"]["data"]["name"] == "rides by hand", "the other one is served as before"
        _, sample = container.ask("GET", "/v1/models/regression/sample?n=1")
        status, document = container.ask("POST", "/v1/predict/regression", json.dumps(sample).encode())
        assert status == 200
        assert document["version"] == version["model_version"]


def damaged(folder: Path) -> None:
    content = bytearray((folder / "model.onnx").read_bytes())
    content[1000] ^= 1
    (folder / "model.onnx").write_bytes(content)


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (damaged, r"model\.onnx: sha256 is "),
        (shutil.rmtree, r"manifest\.json: cannot be read from /model/regression: "),
    ],
)
def test_a_broken_model_is_unhealthy_and_says_why(
    docker: Docker, image: Built, checkout: Project, tmp_path: Path, break_it: Callable[[Path], None], reason: str
) -> None:
    (model,) = checkout.models("regression")
    folder = shutil.copytree(model.bundle, tmp_path / "bundles/regression")
    break_it(folder)
    folder.mkdir(exist_ok=True)
    with docker.container(image.name, *IMPATIENT, *mounted(tmp_path / "bundles")) as container:
        told = rf"MODEL_DIR: the bundle in regression/ cannot be served: {reason}"
        # Before it listens, it is as unhealthy.
        wait_until(lambda: re.search(told, container.becomes("unhealthy")["Log"][-1]["Output"]) is not None)
        # Alive all the same, so that it can be asked what is wrong.
        assert container.ask("GET", "/health")[0] == 200
        assert container.ask("POST", "/v1/predict/regression", b"{}")[0] == 503


def test_a_request_under_way_is_finished_when_it_is_stopped(docker: Docker, image: Built) -> None:
    with docker.container(image.name, *IMPATIENT) as container:
        container.becomes("healthy")
        _, sample = container.ask("GET", "/v1/models/regression/sample?n=100")
        body = json.dumps(sample).encode()
        request = service.request(body)
        with socket.create_connection(("127.0.0.1", container.port), timeout=30) as connection:
            connection.sendall(request[:-100])
            time.sleep(0.5)
            stopping = threading.Thread(target=docker, args=("stop", "--time", "30", container.name))
            stopping.start()
            # It has been told: it takes nobody new.
            wait_until(lambda: "Handling signal: term" in container.log)
            connection.sendall(request[-100:])
            received = b""
            while piece := connection.recv(65536):
                received += piece
        stopping.join()
        (answer,) = service.answers(received)
        assert answer.status == 200
        assert len(answer.json["predictions"]) == 100
        state = container.state
        assert (state["Running"], state["ExitCode"], state["OOMKilled"]) == (False, 0, False)


def test_run_image_starts_it_hardened_and_stops_it_on_sigterm(docker: Docker, image: Built, checkout: Project) -> None:
    with docker.container(image.name) as other:
        port, name = other.port, other.name + "-run"
        other.becomes("healthy")
        docker("stop", other.name)
    # Its name, and no network of the engine's own, which the engine may not have.
    environ = docker.environ | {"IMAGE": image.name, "PORT": str(port)}
    environ["DOCKER_OPTIONS"] = f"--network host --name {name}"
    with subprocess.Popen(
        [sys.executable, checkout.root / "scripts/image.py", "run"],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            container = Container(docker, name, port)
            assert container.ask("GET", "/health/ready") == (200, {"status": "ready"})
            (found,) = json.loads(docker("inspect", name))
            assert found["HostConfig"]["ReadonlyRootfs"] is True
            assert found["HostConfig"]["CapDrop"] == ["ALL"]
            assert found["Config"]["StopTimeout"] == 30
            process.send_signal(signal.SIGTERM)
            assert process.wait(40) == 0
        finally:
            process.kill()
    assert name not in docker("ps", "--all", "--format", "{{.Names}}")


def mounted(folder: Path) -> tuple[str, ...]:
    """The options that mount a folder of bundles and name it."""
    return ("--mount", f"type=bind,source={folder},target=/model,readonly", "--env", "MODEL_DIR=/model")


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
