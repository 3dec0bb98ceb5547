"""Reloads of a real gunicorn, by SIGHUP and by the command."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from model_kit.scoring.bundle import CARD, GOLDEN, SPEC, dump_json, write_bundle
from model_kit.spec import InputSpec
from model_kit.testing import FIELDS, GOLDEN_PREDICTION, GOLDEN_ROW, LEARNED, SPEC_OF_RIDES, TARGET, ride_files

from ml_api.pid_file import PidFile, RunningServer, path_of
from ml_api.settings import Settings, SettingsError
from suspended import suspended

if TYPE_CHECKING:
    from tests.conftest import Serve, Server

FOLDER = Path(__file__).parents[1]
ENTRY_POINTS = "[ml_api.models]\nrides = rides_package:load\n"
#: A package with a folder. A file or folder that the test makes has its model take its time to load, end every process
#: that loads it but the first, or change its own bundle in MODEL_DIR by loading it.
PACKAGE = """
import os
import time
from pathlib import Path

from model_kit.testing import ride_definition

__version__ = "1.2.3"
DEFINITION = ride_definition(package="rides_package")
FOLDER = Path(os.environ["MODEL_DIR"])


def load():
    model = DEFINITION.load()
    while (FOLDER / "wait").exists():
        time.sleep(0.05)
    if (FOLDER / "fail").exists():
        if (FOLDER / "fail/checked").exists():
            os._exit(3)
        (FOLDER / "fail/checked").touch()
    if (FOLDER / "next").exists():
        link = FOLDER / f"link{os.getpid()}"
        link.symlink_to(FOLDER / "next")
        link.replace(FOLDER / "rides")
    return model
"""
URL = "/v1/predict/rides"
JSON = {"Content-Type": "application/json"}


def put(folder: Path, factor: float = 1.0, changes: Mapping[str, bytes] | None = None) -> str:
    """Write a bundle whose predictions are those of rides times e to the ``factor``; returns its artefact's sha256."""
    spec = replace(SPEC_OF_RIDES, target=replace(TARGET, offset=TARGET.offset + factor))
    prediction = GOLDEN_PREDICTION * 2.718281828459045**factor
    files = ride_files() | {
        SPEC: spec.to_json().encode(),
        GOLDEN: dump_json({"row": GOLDEN_ROW, "prediction": prediction}),
    }
    return write_bundle(folder, files | dict(changes or {}))


def start(serve: Serve, folder: Path, **environ: str) -> Server:
    put(folder / "rides")
    package = {"rides_package/__init__.py": PACKAGE}
    return serve(
        entry_points=ENTRY_POINTS,
        package=package,
        WEB_CONCURRENCY="2",
        MODEL_DIR=str(folder),
        METRICS="true",
        **environ,
    )


def command(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**server.environ, "PORT": str(server.port)}
    command = [sys.executable, "-m", "ml_api.cli", "reload", *arguments]
    return subprocess.run(command, cwd=FOLDER, env=environ, capture_output=True, text=True, check=False)


def artifact(server: Server) -> str:
    found: str = server.request("GET", "/version")[1]["models"]["rides"]["artifact_sha256"]
    return found


def artifacts(server: Server, count: int = 8) -> set[str]:
    """Artefacts that answer ``count`` new connections."""
    return {artifact(server) for _ in range(count)}


def reloads(server: Server) -> dict[str, float]:
    connection = server.connect()
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = re.findall(r'^ml_api_reloads_total\{result="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {result: float(count) for result, count in found}


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def end(server: Server) -> None:
    server.process.terminate()
    assert server.process.wait(20) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def server(serve: Serve, folder: Path) -> Iterator[Server]:
    """A server that reloads refuse to change."""
    started = start(serve, folder, MODEL_SHA256="")
    yield started
    end(started)


def other_code(folder: Path) -> None:
    card = json.loads(ride_files()[CARD]) | {"code_sha256": "0" * 64}
    put(folder, changes={CARD: dump_json(card)})


def other_fields(folder: Path) -> None:
    fields = (replace(FIELDS[0], unit="miles"), *FIELDS[1:])
    put(folder, changes={SPEC: InputSpec(fields, LEARNED, TARGET).to_json().encode()})


def other_golden(folder: Path) -> None:
    put(folder, changes={GOLDEN: dump_json({"row": GOLDEN_ROW, "prediction": 1.0})})


def damaged(folder: Path) -> None:
    put(folder, 3.0)
    (folder / "model.onnx").write_bytes(b"damaged")


def no_longer_there(folder: Path) -> None:
    # The package has no bundle of its own.
    shutil.rmtree(folder)


def good_that_ends_the_workers(folder: Path) -> None:
    put(folder, 4.0)
    (folder.parent / "fail").mkdir()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (damaged, "rides: MODEL_DIR: the bundle in rides/ cannot be served: model.onnx: sha256 is "),
        (other_fields, "rides: callers would have to change: distance was in km, is in miles\n"),
        (
            other_code,
            f"rides: the bundle was trained with other code than is installed: its card has code_sha256 {'0' * 64}",
        ),
        (other_golden, "rides: the golden row scores "),
        (good_that_ends_the_workers, "a new worker has ended while it started; the log has the details\n"),
        (no_longer_there, "rides: manifest.json: cannot be read from "),
    ],
)
def test_bad_bundle_changes_nothing_and_is_told(
    server: Server, folder: Path, make: Callable[[Path], None], reason: str
) -> None:
    workers, before, counted = server.workers, artifact(server), reloads(server)
    make(folder / "rides")
    done = command(server)
    shutil.rmtree(folder / "fail", ignore_errors=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"ml-api: not reloaded, the server keeps its models:\n  {reason}")
    assert json.dumps(f"Not reloaded, the workers keep their models: {reason}".strip())[:-1] in server.errors
    assert (server.workers, artifacts(server, 2)) == (workers, {before})
    assert reloads(server) == {"ok": 0, "refused": counted["refused"] + 1}


def test_model_that_was_broken_before_keeps_no_other_from_a_reload(serve: Serve, tmp_path: Path) -> None:
    put(tmp_path / "rides")
    server = serve(
        entry_points=f"{ENTRY_POINTS}walks = no_such_package:load\n",
        package={"rides_package/__init__.py": PACKAGE},
        WEB_CONCURRENCY="1",
        MODEL_DIR=str(tmp_path),
    )
    assert server.request("GET", "/health/ready")[0].status == 503
    now = put(tmp_path / "rides", 2.0)
    done = command(server)
    assert (done.returncode, done.stderr) == (0, "")
    assert artifacts(server, 2) == {now}
    server.process.terminate()
    server.process.wait(10)


def test_worker_that_is_restarted_serves_what_its_sisters_serve(server: Server, folder: Path) -> None:
    before, workers = artifact(server), server.workers
    put(folder / "rides", 2.0)
    os.kill(min(workers), signal.SIGKILL)
    wait_until(lambda: len({line["pid"] for line in server.lines if line["message"] == "model loaded"}) >= 3)
    wait_until(lambda: len(server.workers) == 2)
    assert artifacts(server) == {before}
    # The other code of a package that is installed anew cannot be served beside the old: the model is broken there.
    package = server.folder / "site/rides_package/__init__.py"
    package.write_text(package.read_text() + "# other\n")
    os.kill(max(server.workers), signal.SIGKILL)
    found = "rides_package: its code has changed since the server loaded it; reload the server"
    wait_until(lambda: any(found in line.get("reason", "") for line in server.lines))


def test_file_that_a_server_left_is_not_believed(server: Server, tmp_path: Path) -> None:
    left = tmp_path / "left.pid"
    # A living process that has nothing to do with it, and that SIGHUP would end.
    left.write_text(f"{os.getpid()}\n{{}}\n")
    server_environ = server.environ
    done = subprocess.run(
        [sys.executable, "-m", "ml_api.cli", "reload"],
        cwd=FOLDER,
        env={**server_environ, "PID_FILE": str(left)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, f"ml-api: no server is found: the one that wrote {left} has ended\n")
    done = command(server, "--port", "1")
    assert done.returncode == 1
    assert done.stderr.startswith("ml-api: no server is found: there is no ")


def predictions(server: Server, found: Counter[tuple[str, float]], failures: list[str], stop: threading.Event) -> None:
    """Predict on connections of ten requests each, and count versions with their predictions."""
    while not stop.is_set():
        connection = server.connect()
        try:
            for _ in range(10):
                connection.request("POST", URL, json.dumps(GOLDEN_ROW), JSON)
                response = connection.getresponse()
                document = json.loads(response.read())
                if response.status != 200:
                    failures.append(f"{response.status}: {document}")
                    return
                found[document["version"], round(document["predictions"][0], 6)] += 1
                if response.headers["Connection"] == "close":
                    break
                # A worker that is replaced is no server that stops.
                connection.request("GET", "/health/ready")
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    failures.append(f"not ready: {response.status}")
                    return
                if response.headers["Connection"] == "close":
                    break
        except OSError as error:
            failures.append(repr(error))
            return
        finally:
            connection.close()


def test_reloads_under_load_lose_nothing_and_answer_with_one_version_or_the_other(serve: Serve, tmp_path: Path) -> None:
    server = start(serve, tmp_path, SHUTDOWN_DELAY="15")
    master = Path(f"/proc/{server.process.pid}/fd")

    def reload(factor: float) -> str:
        """Reload to another bundle; returns its version."""
        before, old, now = artifact(server)[:12], server.workers, put(tmp_path / "rides", factor)
        with suspended(min(old)) if factor == 2 else nullcontext():
            done = command(server)
            assert (done.returncode, done.stderr) == (0, "")
            assert (
                done.stdout == f"rides 1.2.3+{before} (artefact {before}) -> 1.2.3+{now[:12]} (artefact {now[:12]})\n"
            )
            # Without the worker that hangs.
            assert artifacts(server) == {now}
        # They do not wait for SHUTDOWN_DELAY.
        wait_until(lambda: len(server.workers) == 2 and not server.workers & old)
        return f"1.2.3+{now[:12]}"

    first, open_files = reload(2), len(os.listdir(master))
    found, failures, stop = Counter[tuple[str, float]](), list[str](), threading.Event()
    threads = [threading.Thread(target=predictions, args=(server, found, failures, stop)) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: bool(found))
    second, wanted = reload(3), [round(GOLDEN_PREDICTION * 2.718281828459045**factor, 6) for factor in (2, 3)]
    wait_until(lambda: (second, wanted[1]) in found)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(found) == {(first, wanted[0]), (second, wanted[1])}
    assert len(os.listdir(master)) == open_files
    assert reloads(server) == {"ok": 2, "refused": 0}
    # Two at a time; the second may be told of the first if that began after it.
    put(tmp_path / "rides", 5)
    together = [threading.Thread(target=lambda: both.append(command(server))) for _ in range(2)]
    both: list[subprocess.CompletedProcess[str]] = []
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert [done.returncode for done in both] == [0, 0]
    assert any("->" in done.stdout for done in both)
    server.process.send_signal(signal.SIGINT)  # which does not wait either
    assert server.process.wait(20) == 0
    assert not Path(path_of(Settings(port=server.port))).exists()


def test_workers_serve_the_bytes_that_were_checked(serve: Serve, tmp_path: Path) -> None:
    server = start(serve, tmp_path)
    shutil.rmtree(tmp_path / "rides")
    checked = put(tmp_path / "checked", 2.0)
    (tmp_path / "rides").symlink_to(tmp_path / "checked")
    put(tmp_path / "next", 3.0)
    # The check itself, and each worker that loads, puts another bundle into its place.
    assert command(server).returncode == 0
    wait_until(lambda: len(server.workers) == 2)
    assert artifacts(server) == {checked}
    os.kill(min(server.workers), signal.SIGKILL)
    wait_until(lambda: len({line["pid"] for line in server.lines if line["message"] == "model loaded"}) == 5)
    assert artifacts(server) == {checked}
    shutil.rmtree(tmp_path / "next")
    (tmp_path / "rides").unlink()
    put(tmp_path / "rides", 4.0)

    # A package that is installed anew, with its code.
    package = server.folder / "site/rides_package/__init__.py"
    package.write_text(package.read_text().replace("1.2.3", "2.0.0"))
    done = command(server)
    assert re.fullmatch(r"rides 1\.2\.3\+\S+ \(.*\) -> 2\.0\.0\+\S+ \(.*\)\n", done.stdout), done.stderr

    # SIGTERM while models are checked ends the reload, and the server.
    (tmp_path / "wait").touch()
    done_late: list[subprocess.CompletedProcess[str]] = []
    thread = threading.Thread(target=lambda: done_late.append(command(server)))
    thread.start()
    wait_until(lambda: server.errors.count("Handling signal: hup") == 3)
    end(server)
    thread.join()
    assert done_late[0].returncode == 1
    assert "is stopping" in done_late[0].stderr


def test_pinned_digest_holds(serve: Serve, tmp_path: Path) -> None:
    pinned = put(tmp_path / "rides")
    server = start(serve, tmp_path, MODEL_SHA256=pinned)
    other = put(tmp_path / "rides", 2.0)
    done = command(server)
    assert done.returncode == 1
    assert f"MODEL_SHA256: the artefact's sha256 is {other}, which is not the one given" in done.stderr
    assert artifacts(server, 2) == {pinned}
    end(server)


def test_process_id_is_that_of_the_process_that_holds_the_lock(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from ml_api.pid_file import PidFile
PidFile(Path(sys.argv[1]))
print("written", flush=True)
sys.stdin.read()
"""
    path = tmp_path / "pid"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"written\n"
        assert RunningServer(path).read() == (holder.pid, {})
        with pytest.raises(SettingsError, match=f"^PID_FILE is {path}, which another server uses$"):
            PidFile(path)
        path.unlink()
        assert path.stat() if path.exists() else True
        again = PidFile(path)
        again.remove()
        holder.communicate()


def test_folder_that_others_may_write_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml_api.pid_file._MEMORY", tmp_path)
    assert path_of(Settings(port=1)) == tmp_path / f"ml_api-{os.geteuid()}/1.pid"
    (tmp_path / f"ml_api-{os.geteuid()}").chmod(0o777)
    with pytest.raises(SettingsError, match="^PID_FILE is not set, and .* is no folder of this user alone$"):
        path_of(Settings())
    (tmp_path / f"ml_api-{os.geteuid()}").rmdir()
    (tmp_path / f"ml_api-{os.geteuid()}").symlink_to(tmp_path)
    with pytest.raises(SettingsError, match="is no folder of this user alone$"):
        path_of(Settings())
    with pytest.raises(SettingsError, match="^PID_FILE is /nowhere/pid, and there is no folder /nowhere$"):
        PidFile(Path("/nowhere/pid"))
    with pytest.raises(SettingsError, match=f"^PID_FILE is {tmp_path}, which"):
        PidFile(tmp_path)
    (tmp_path / "other.pid").write_text("1\n{}\n")
    monkeypatch.setattr("ml_api.pid_file.os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(SettingsError, match=r"other\.pid, which is not a regular file of this user$"):
        RunningServer(tmp_path / "other.pid")
