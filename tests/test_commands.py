"""The commands that people and platforms type."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import check_tracked
import lock
from local_index import free_port
from processes import child, script
from project import ROOT, ScriptError, write_atomically
from run import ask

SETTINGS = ROOT / "packages/ml_api/README.md"


def make(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_make_alone_and_make_help_list_every_public_target() -> None:
    text = make("help").stdout
    assert make().stdout == text
    makefile = (ROOT / "Makefile").read_text()
    public = {"run", "test", "train", "publish", "release", "install", "dev", "lint", "format", "typecheck", "lock"}
    for target in public | {"clean", "test-all", "help"}:
        assert re.search(rf"^  make {target} +\S", text, re.MULTILINE), target
        assert f"\n{target}:" in makefile
    assert "PORT=5000" in text


@pytest.mark.parametrize("target", ["run", "test", "train", "publish", "release", "install", "dev", "lock", "test-all"])
def test_every_target_is_understood(target: str) -> None:
    done = make("--dry-run", target, "DATA=houses.csv")
    assert done.returncode == 0, done.stderr


def test_train_takes_a_file_or_the_sample() -> None:
    assert make("-n", "train", "DATA=my $b's.csv").stdout.endswith("train_models.py  --data 'my $b'\\''s.csv'\n")
    assert make("-n", "train").stdout.rstrip().endswith("scripts/train_models.py")


def test_release_passes_on_that_the_comparison_is_ignored() -> None:
    assert "--ignore-comparison" not in make("-n", "release").stdout
    assert make("-n", "release", "IGNORE_COMPARISON=1").stdout.split()[-2:] == ["--release", "--ignore-comparison"]


@pytest.mark.parametrize(
    ("target", "script"),
    [
        ("run", "run.py"),
        ("train", "train_models.py"),
        ("data", "load_data.py"),
        ("publish", "publish.py"),
        ("release", "publish.py --release"),
        ("plan", "plan.py"),
        ("model", "train_models.py --planned"),
        ("wheels", "wheels.py"),
        ("compare", "compare.py"),
        ("image", "image.py build"),
        ("bench", "bench.py"),
    ],
)
def test_every_target_that_names_a_model_takes_it(target: str, script: str) -> None:
    found = make("-n", target, "MODEL=rides").stdout.rstrip().splitlines()[-1]
    assert f"{script} --model 'rides'" in found


@pytest.mark.parametrize(
    "target", ["train", "plan", "sample", "new-model", "compare", "rehearse-deploy", "rehearse-pipeline"]
)
def test_what_is_given_reaches_a_target_whole(target: str) -> None:
    given = {
        "DATA": "my $b's.csv",
        "MODEL": 'a "$(model)',
        "OLD": "1 $0",
        "NEW": "`2`",
        "NAME": "$n",
        "TARGET": "$(t) $t;",
    }
    words = shlex.split(make("-n", target, *(f"{name}={text}" for name, text in given.items())).stdout)
    names = {"compare": ("MODEL", "OLD", "NEW"), "new-model": ("DATA", "NAME", "TARGET")}.get(target, ("DATA",))
    assert {given[name] for name in names} <= set(words)


def test_programs_get_what_is_given_and_nothing_that_others_left_for_their_python(tmp_path: Path) -> None:
    more = tmp_path / "more.mk"
    more.write_text("show:\n\t@env\n")
    left = dict.fromkeys(("PYTHONHOME", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONWARNINGS", "VIRTUAL_ENV"), "none")
    done = make(
        "-f",
        "Makefile",
        "-f",
        str(more),
        "show",
        "DATA_URL=a$b.csv",
        "HOST=::1",
        **left,
        BENCH_DATA="$c.csv",
        LC_ALL="C",
    )
    shown = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert (shown["DATA_URL"], shown["BENCH_DATA"], shown["HOST"]) == ("a$b.csv", "$c.csv", "::1")
    assert shown["LC_ALL"] == "C.UTF-8"
    assert not left.keys() & shown.keys()
    assert "none from 3.11" not in make("help", PYTHONHOME="/none").stdout


def test_what_make_prints_is_seen_at_once_whatever_makeflags_says(tmp_path: Path) -> None:
    more = tmp_path / "more.mk"
    more.write_text("slow:\n\t@echo begin; cat\n")
    with subprocess.Popen(
        ["make", "-f", "Makefile", "-f", more, "slow"],
        cwd=ROOT,
        env=os.environ | {"MAKEFLAGS": "-j8 -Otarget", "MAKELEVEL": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        process.communicate("", timeout=20)


def test_new_model_needs_a_name_data_and_a_target() -> None:
    given = {"NAME": "rides", "DATA": "my rides.csv", "TARGET": "fare"}
    for name in given:
        done = make("-n", "new-model", *(f"{key}={value}" for key, value in given.items() if key != name))
        assert done.returncode != 0
        assert f"{name} is not set: make new-model" in done.stderr
    words = " ".join(make("-n", "new-model", *(f"{key}={value}" for key, value in given.items())).stdout.split())
    assert (
        "model_kit.cli.main new 'rides' --data 'my rides.csv' --target 'fare' \\ --unit '' --subject 'record'" in words
    )


@pytest.mark.parametrize(
    "script",
    [
        "publish",
        "install_models",
        "run",
        "environment",
        "lock",
        "check_tracked",
        "screenshot",
        "train_models",
        "load_data",
    ],
)
def test_scripts_teach_their_use(script: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / f"scripts/{script}.py", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"usage: {script}.py")
    assert len(done.stdout.splitlines()) > 8
    wrong = subprocess.run(
        [sys.executable, ROOT / f"scripts/{script}.py", "--nonsense"], capture_output=True, check=False
    )
    assert wrong.returncode == 2


def test_scripts_have_the_line_ends_of_linux_in_a_checkout_of_windows(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "core.autocrlf=true", "-c", "core.safecrlf=false"]
    subprocess.run([*git, "init", "-q"], check=True)
    for name in (".gitattributes", "run.sh", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "checkout-index", "--all", "--prefix=out/"], check=True)
    assert (tmp_path / "out/run.sh").read_bytes() == (ROOT / "run.sh").read_bytes()
    assert b"\r" not in (tmp_path / "out/Makefile").read_bytes()


def test_run_sh_is_what_platforms_start() -> None:
    assert (ROOT / "Procfile").read_text().endswith("\nweb: sh run.sh\n")
    for name in ("run.sh", ".ci/run"):
        assert os.access(ROOT / name, os.X_OK)
        shell = (ROOT / name).read_text().splitlines()[0].split("/")[-1].removeprefix("env ")
        assert subprocess.run([shell, "-n", ROOT / name], check=False).returncode == 0
    assert "make test" in (ROOT / ".ci/run").read_text()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a folder with a difficult name, without an environment of its own; run.sh has lost its run bit."""
    folder = tmp_path / 'it\'s a "prjé" $HOME [1]'
    folder.mkdir()
    (folder / "run.sh").write_text((ROOT / "run.sh").read_text())
    (folder / "packages").symlink_to(ROOT / "packages")
    return folder


def start_run_sh(checkout: Path, **environ: str) -> subprocess.Popen[str]:
    python_first = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.Popen(
        ["sh", checkout / "run.sh"],
        cwd="/",
        env=python_first | environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        umask=0o077,
    )


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PORT", "five"),
        ("PORT", "70000"),
        ("WEB_CONCURRENCY", "auto"),
        ("WEB_CONCURRENCY", "2.0"),
        ("WEB_CONCURRENCY", "0"),
        ("HOST", "a.name.of.conda-linux-gnu:80"),
        ("HOST", "192.0.2.1"),
        ("LOG_LEVEL", "verbose"),
        ("SHUTDOWN_DELAY", "60"),
        ("LISTEN_FDS", "junk"),
        ("FORWARDED_ALLOW_IPS", "junk"),
    ],
)
def test_run_sh_refuses_a_value_in_one_line_that_names_the_variable(checkout: Path, variable: str, text: str) -> None:
    with start_run_sh(checkout, **{variable: text}) as process:
        (line,) = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 1
    assert re.match(f"ml_api does not start: {variable} (is|has) {re.escape(repr(text))}", line)
    assert "; it must be " in line


def test_run_sh_serves_whatever_variables_other_programs_left(checkout: Path, tmp_path: Path) -> None:
    port = free_port()
    settings = dict.fromkeys(re.findall(r"^\| `([A-Z_]+)` \|", SETTINGS.read_text(), re.MULTILINE), "")
    assert "WEB_CONCURRENCY" in settings
    (tmp_path / "flask.py").write_text("raise SystemExit('another program wrote this')\n")
    python = {"PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "error", "PYTHONHOME": "/none", "PYTHONHASHSEED": "none"}
    python |= {"PYTHONPATH": str(tmp_path), "PYTHONOPTIMIZE": "2", "PYTHONINSPECT": "1", "PYTHONIOENCODING": "none"}
    system = {"HOME": "/none", "TMPDIR": "/none", "LC_ALL": "C", "OMP_NUM_THREADS": "", "CDPATH": "/", "TZ": "none"}
    secrets = {
        "PACKAGE_INDEX_TOKEN": "s3cret",
        "TWINE_PASSWORD": "s3cret",
        "PIP_EXTRA_INDEX_URL": "https://u:s3cret@h/",
    }
    gunicorn = {"GUNICORN_CMD_ARGS": "--bind=[::1]:1 --workers=none", "GUNICORN_PID": "none"}
    system |= {"LISTEN_FDS": "", "LISTEN_PID": ""}
    environ = settings | python | system | secrets | gunicorn | {"HOST": "::1", "PORT": str(port)}
    with start_run_sh(checkout, **environ) as process:
        try:
            lines = []
            assert process.stderr is not None
            for line in process.stderr:
                lines.append(line)
                if "Listening at" in line:
                    break
            assert [line.split(";")[0] for line in lines[:2]] == [f"ml_api ignores {name}" for name in gunicorn]
            assert f"Listening at: http://[::1]:{port} " in lines[-1], lines
            assert ask(f"[::1]:{port}", "/health") == (200, '{"status":"ok"}')
            assert "s3cret" not in Path(f"/proc/{process.pid}/environ").read_text()
            healthy = [sys.executable, "-IS", str(ROOT / "scripts/healthcheck.py")]
            told = subprocess.run(healthy, env=environ, capture_output=True, text=True, check=False).stdout
            assert json.loads(told)["status"] in {"ready", 503}, "with a model or without"
        finally:
            process.terminate()
            process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("arguments", "environ", "told"),
    [
        (["serve"], {}, "8080 sagemaker -E -m ml_api"),
        (["serve"], {"SAGEMAKER_BIND_TO_PORT": "9000"}, "9000 sagemaker -E -m ml_api"),
        (
            ["serve"],
            {"PORT": "5001", "SAGEMAKER_BIND_TO_PORT": "9000", "INVOCATIONS": "mlflow"},
            "5001 mlflow -E -m ml_api",
        ),
        ([], {}, "- - -E -m ml_api"),
        (["reload"], {}, "- - -E -m ml_api.cli reload"),
    ],
)
def test_run_sh_serves_as_sagemaker_has_it(
    checkout: Path, tmp_path: Path, arguments: list[str], environ: dict[str, str], told: str
) -> None:
    """With a python that says what it is told."""
    (tmp_path / "python").write_text('#!/bin/sh\necho "${PORT:--} ${INVOCATIONS:--} $*"\n')
    (tmp_path / "python").chmod(0o755)
    command = ["sh", str(checkout / "run.sh"), *arguments]
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=path | environ, capture_output=True, text=True, check=True)
    assert done.stdout == f"{told}\n"


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (None, 0, "No such file or directory"),
        (b"#!/bin/sh\n", 0o644, "Permission denied"),
        (
            b"#!/bin/sh\r\n",
            0o755,
            "the program that its first line names is not there, or",
        ),
    ],
)
def test_a_program_that_cannot_be_started_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, mode: int, told: str
) -> None:
    program = tmp_path / "program"
    if content is not None:
        program.write_bytes(content)
        program.chmod(mode)

    @script("start")
    def main() -> int:
        with child([program]):
            return 0

    assert main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"start: {program} cannot be started: {told}")


def test_an_error_of_the_system_and_a_signal_end_a_script_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    @script("read", "stopped; try again")
    def main(path: str) -> int:
        Path(path).read_bytes()
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    assert main("/none") == 1
    assert main(__file__) == 130
    assert capsys.readouterr().err == "read: /none: No such file or directory\nread: stopped; try again\n"


def test_python_version_is_one_that_is_supported() -> None:
    assert (ROOT / ".python-version").read_text() in {"3.11\n", "3.12\n", "3.13\n"}


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("model.pkl", b"x", ".pkl files"),
        ("big.txt", b"x" * 1_000_001, "1,000,001 bytes"),
        ("blob", b"\x89PNG\xff", "binary"),
        ("docs/page.png", b"\x89PNG\r\n\x1a\n\xff", "binary"),
        ("docs/images/page.png", b"\xff\xd8\xff\xe0", "for PNG files alone"),
        ("docs/images/rows.txt", b"1,2\n", "for PNG files alone"),
        ("docs/images/page.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 200_000, "200,008 bytes"),
        ("nul", b"a\0b", "binary"),
        ("rows.txt", b"heading\n" + b"1," * 60 + b"1\n", "line 2 looks like a row of data"),
    ],
)
def test_git_never_holds_binaries_big_files_or_data(
    tmp_path: Path, name: str, content: bytes, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "good.py").write_text("x = 1\n")
    (tmp_path / "link").symlink_to("nowhere")
    assert check_tracked.main([str(tmp_path)]) == 0
    pictures = tmp_path / "docs" / "images"
    pictures.mkdir(parents=True)
    (pictures / "good.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    assert check_tracked.main([str(tmp_path)]) == 0
    (tmp_path / name).write_bytes(content)
    assert check_tracked.main([str(tmp_path)]) == 1
    assert f"{name}: " in capsys.readouterr().out
    assert any(word in fault for fault in check_tracked.faults(tmp_path, [name]))


def test_the_check_of_tracked_files_needs_a_clone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_tracked.main([str(tmp_path)]) == 1
    assert "needs a clone" in capsys.readouterr().err


def test_locks_are_written_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requirements").mkdir()
    shutil.copy(ROOT / ".python-version", tmp_path)
    (tmp_path / "packages").symlink_to(ROOT / "packages")
    for source, _ in lock.LOCKS:
        (tmp_path / source).write_text("flask\n")
    fails = {"at": 3}
    commands: list[list[str]] = []

    def uv(command: list[str], *, cwd: Path, **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        (cwd / command[command.index("--output-file") + 1]).write_text("flask==3\n")
        return subprocess.CompletedProcess(command, int(len(commands) == fails["at"]))

    monkeypatch.setattr(subprocess, "run", uv)
    with pytest.raises(ScriptError, match=r"requirements/scikit-learn\.in could not be locked"):
        lock.lock(tmp_path, upgrade=True)
    assert not (tmp_path / "requirements.txt").exists()
    fails["at"] = 0
    lock.lock(tmp_path, upgrade=False)
    assert (tmp_path / "requirements.txt").read_text().endswith("by `make lock`; not to be edited.\nflask==3\n")
    assert "\n  - flask=3\n" in (tmp_path / "environment.yml").read_text()
    assert all({"--generate-hashes", "--universal", "--no-strip-extras"} <= set(command) for command in commands)
    assert "--upgrade" in commands[0]
    assert "--upgrade" not in commands[-1]

    (tmp_path / "requirements/doors").mkdir()
    (tmp_path / "requirements/doors/spark.in").write_text("pyspark\n")
    before = len(commands)
    lock.lock(tmp_path, upgrade=True, only=["requirements/doors/spark.txt"])
    assert [command[-2] for command in commands[before:]] == ["requirements/doors/spark.in"]
    assert (tmp_path / "requirements/doors/spark.txt").read_text().endswith("not to be edited.\nflask==3\n")
    with pytest.raises(ScriptError, match=r"there is no lock requirements/doors/sparc\.txt"):
        lock.lock(tmp_path, upgrade=True, only=["requirements/doors/sparc.txt"])

    monkeypatch.setattr(lock, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["lock.py"])
    assert lock.main(["--keep"]) == 0
    fails["at"] = len(commands) + 1
    assert lock.main([]) == 1


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new/file.txt"
    write_atomically(path, "one\n")

    def fail(*_: object) -> None:
        raise OSError("full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="full"):
        write_atomically(path, "two\n")
    assert path.read_text() == "one\n"
    assert [found.name for found in path.parent.iterdir()] == ["file.txt"]
