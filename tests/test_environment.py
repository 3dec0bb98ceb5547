from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import environment as command
from environment import STAMP, SetUpError, make_environment
from project import ROOT
from public_index import foreign_wheel


@pytest.fixture
def pips(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What pip was asked for, instead of a network; no lock lacks anything."""
    asked: list[list[str]] = []
    monkeypatch.setattr(command, "run_pip", lambda words, *_: asked.append(words))
    monkeypatch.setattr(command, "find_missing", lambda *_: "")
    return asked


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "lock.txt"
    path.write_text("flask==3.1.3\n")
    return path


def add_distribution(site: Path, name: str, version: str, metadata: str) -> None:
    """Let a package look installed."""
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}")


def test_made_once_and_anew_when_the_lock_changes(tmp_path: Path, lock: Path, pips: list[list[str]]) -> None:
    folder = tmp_path / "env"
    assert make_environment(folder, lock, [], Path(sys.executable))
    assert not (folder / "bin/pip").exists()
    assert pips[0][-4:] == ["--no-deps", "--require-hashes", "--requirement", str(lock)]
    (folder / "mine").touch()
    assert not make_environment(folder, lock, [], Path(sys.executable))
    assert len(pips) == 1

    second = tmp_path / "second.txt"
    second.write_text("pytest==9\n")
    assert make_environment(folder, second, [], Path(sys.executable))
    assert (folder / "mine").exists(), "a second lock adds to the first"
    assert not make_environment(folder, lock, [], Path(sys.executable))

    lock.write_text("flask==3.1.4\n")
    assert make_environment(folder, lock, [], Path(sys.executable))
    assert not (folder / "mine").exists(), "a changed lock starts from nothing"


def test_an_interrupted_or_broken_environment_is_made_anew(
    tmp_path: Path, lock: Path, pips: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "env"
    with monkeypatch.context() as patch:

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(command, "run_pip", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_environment(folder, lock, [], Path(sys.executable))
    assert not (folder / STAMP).exists()
    (folder / "half").touch()
    assert make_environment(folder, lock, [], Path(sys.executable))
    assert not (folder / "half").exists()
    (folder / STAMP).write_text("{")
    assert make_environment(folder, lock, [], Path(sys.executable))


def test_one_set_up_waits_for_another_even_if_its_parent_was_killed(tmp_path: Path, lock: Path) -> None:
    pip, log, folder = tmp_path / "pip", tmp_path / "log", tmp_path / "env"
    half = folder / "half"
    words = f'case "$*" in *--dry-run*) exit;; esac; test -e {half} && exit 3\ntouch {half}\necho begin >>{log}\n'
    pip.write_text(f"#!/bin/sh\n{words}sleep 2\necho end >>{log}\n")
    pip.chmod(0o755)
    command: list[str | Path] = [sys.executable, ROOT / "scripts/environment.py"]
    command += [folder, "--lock", lock, "--pip", pip]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as first:
        while not log.exists():
            time.sleep(0.05)
        first.kill()
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert second.stdout.startswith(f"Waiting for another set-up that works in {tmp_path}\n{folder}: making an environ")
    assert log.read_text() == "begin\nend\n" * 2
    assert (folder / STAMP).exists()


def test_an_environment_that_was_moved_is_made_anew(tmp_path: Path, lock: Path, pips: list[list[str]]) -> None:
    make_environment(tmp_path / "env", lock, [], Path(sys.executable))
    (tmp_path / "env").rename(tmp_path / "moved")
    assert make_environment(tmp_path / "moved", lock, [], Path(sys.executable))


def test_packages_are_taken_from_their_sources_without_dependencies(
    tmp_path: Path, lock: Path, pips: list[list[str]]
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text("")
    make_environment(tmp_path / "env", lock, [package], None)
    assert pips[1][-4:] == ["--no-deps", "--no-build-isolation", "--editable", str(package)]
    assert (tmp_path / "env/bin/pip").exists()
    (package / "pyproject.toml").write_text("# changed")
    make_environment(tmp_path / "env", lock, [package], None)
    assert len(pips) == 3
    assert set(json.loads((tmp_path / "env" / STAMP).read_text())) == {"made of", "locks", "editable"}


def test_a_lock_that_lacks_a_requirement_of_an_extra_is_told(
    tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "env"
    site = folder / f"lib/python3.{sys.version_info[1]}/site-packages"
    lock.write_text(f"plugin==1 --hash=sha256:{'0' * 64}\nlibrary==2 --hash=sha256:{'0' * 64}\n")

    def install(*_: object) -> None:
        add_distribution(site, "plugin", "1", "Requires-Dist: library[fast]>=2\n")
        add_distribution(site, "library", "2", "Provides-Extra: fast\nRequires-Dist: speedup; extra == 'fast'\n")

    monkeypatch.setattr(command, "run_pip", install)
    arguments = [str(folder), "--lock", str(lock), "--pip", sys.executable]
    assert command.main(arguments) == 1
    told = capsys.readouterr().err
    assert f"{lock} is not complete; pip's check of {folder}:\n" in told
    assert "requirement speedup (from library[fast])" in told
    assert told.endswith("Run `make lock`, which adds what is missing.\n")
    assert not (folder / STAMP).exists(), "checked again the next time"

    assert command.main([*arguments, "--allow-incomplete"]) == 0
    assert "requirement speedup (from library[fast])" in capsys.readouterr().out
    assert not (folder / STAMP).exists(), "checked again the next time"

    add_distribution(site, "speedup", "3", "")
    assert not (folder / "bin/pip").exists()
    assert (
        command.find_missing([sys.executable, "-m", "pip", "--python", str(folder / "bin/python")], lock, folder) == ""
    )


def test_the_kit_and_the_models_are_found_and_one_that_is_gone_is_uninstalled(
    tmp_path: Path, lock: Path, pips: list[list[str]]
) -> None:
    packages = tmp_path / "packages"
    announcing = "[project.entry-points.'ml_api.models']\n"
    for name, text in {"model_kit": "", "ml_api": "[project]\n", "rides_model": announcing + "rides = 'x:y'\n"}.items():
        (packages / name).mkdir(parents=True)
        (packages / name / "pyproject.toml").write_text(text)
    arguments = [str(tmp_path / "env"), "--lock", str(lock), "--packages", str(packages), "--pip", sys.executable]
    kit, rides, fares = (str(packages / name) for name in ("model_kit", "rides_model", "fares_model"))
    assert command.main(arguments) == 0
    assert pips[-1][-4:] == ["--editable", kit, "--editable", rides]

    # A new package is picked up the next time, a deleted one goes.
    (packages / "fares_model").mkdir()
    (packages / "fares_model/pyproject.toml").write_text(announcing + "fares = 'x:y'\n")
    assert command.main(arguments) == 0
    assert pips[-1][-6:] == ["--editable", kit, "--editable", fares, "--editable", rides]
    (packages / "rides_model/pyproject.toml").unlink()
    assert command.main(arguments) == 0
    assert pips[-2][-3:] == ["uninstall", "--yes", "rides_model"]
    assert pips[-1][-4:] == ["--editable", kit, "--editable", fares]

    # Into the Python that runs, as tox asks.
    assert command.main(["--packages", str(packages)]) == 0
    assert pips[-1][:2] == [sys.executable, "-m"]
    assert pips[-1][-4:] == ["--editable", kit, "--editable", fares]
    (packages / "fares_model/pyproject.toml").write_text("[")
    with pytest.raises(SetUpError, match=r"fares_model/pyproject\.toml: "):
        command.find_packages(packages)


def test_pip_s_configuration_cannot_put_packages_elsewhere(
    tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's places to find packages in hold; what would change where they go, or whether, does not."""
    wheel = foreign_wheel(tmp_path, "flask", "3.1.3")
    package = tmp_path / "package"
    package.mkdir()
    foreign_wheel(package, "rides", "1")
    (package / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'copied'\nbackend-path = ['.']\n"
    )
    copy = (
        "def build_editable(folder, *_):\n    return shutil.copy('rides-1-py3-none-any.whl', folder).split('/')[-1]\n"
    )
    (package / "copied.py").write_text(f"import shutil\n{copy}")
    lock.write_text(f"flask==3.1.3 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    (tmp_path / "constraint").write_text("flask==1\n")
    settings = {"find-links": str(tmp_path), "no-index": "true", "constraint": str(tmp_path / "constraint")}
    settings |= {"require-hashes": "1", "dry-run": "1", "no-binary": ":all:", "python": sys.executable}
    elsewhere = {"target": "elsewhere", "prefix": "elsewhere", "root": "elsewhere", "user": "yes"}
    settings |= {name: value if name == "user" else str(tmp_path / value) for name, value in elsewhere.items()}
    monkeypatch.delenv("PIP_CONFIG_FILE")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "pip").mkdir()
    words = "".join(f"{name} = {value}\n" for name, value in settings.items())
    (tmp_path / "pip/pip.conf").write_text(f"[global]\n{words}[install]\n{words}")
    for name in elsewhere:
        monkeypatch.setenv(f"PIP_{name.upper()}", settings[name])
    folder = tmp_path / "env"
    site = folder / f"lib/python3.{sys.version_info[1]}/site-packages"
    assert make_environment(folder, lock, [package], Path(sys.executable))
    assert {"flask", "flask-3.1.3.dist-info", "rides-1.dist-info"} <= {path.name for path in site.iterdir()}
    assert not (tmp_path / "elsewhere").exists()
    assert not make_environment(folder, lock, [package], Path(sys.executable))


def test_pip_s_progress_is_shown_and_its_failure_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = "for n in range(40): print('Collecting', f'p{n}==1')\nprint('Installing collected packages: p')\n"
    command.run_pip([sys.executable, "-c", lines], 40, tmp_path)
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"{tmp_path}: 20 of 40 packages, p19",
        f"{tmp_path}: 40 of 40 packages, p39",
        f"{tmp_path}: unpacking",
    ]
    with pytest.raises(SetUpError, match=r"pip failed in .*\nno wheel for you\n.*Run make again"):
        command.run_pip([sys.executable, "-c", "print('no wheel for you'); raise SystemExit(1)"], 1, tmp_path)


def test_progress_in_a_terminal_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    command.run_pip([sys.executable, "-c", "print('Collecting p==1')"], 1, tmp_path)
    assert "\n" not in capsys.readouterr().out


def test_what_serves_is_without_the_packages_own_tests(
    tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "env"
    site = folder / f"lib/python3.{sys.version_info[1]}/site-packages"

    def install(*_: object) -> None:
        for name in ("numpy/tests/test_a.py", "numpy/linalg/tests/data/x.txt", "jinja2/tests.py", "numpy/testing/a.py"):
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).touch()

    monkeypatch.setattr(command, "run_pip", install)
    monkeypatch.setattr(command, "find_missing", lambda *_: "")
    arguments = [str(folder), "--lock", str(lock), "--pip", sys.executable]
    assert command.main([*arguments, "--without-tests"]) == 0
    assert not (site / "numpy/tests").exists()
    assert not (site / "numpy/linalg/tests").exists()
    assert (site / "jinja2/tests.py").exists()
    assert (site / "numpy/testing/a.py").exists()

    lock.write_text("flask==3.1.4\n")
    assert command.main(arguments) == 0
    assert (site / "numpy/tests").exists(), "kept unless asked for"


@pytest.mark.parametrize(
    ("dependency", "is_needed"),
    [
        ("model-kit[scikit-learn]>=0.1,<0.2", True),
        ("model_kit [lightgbm, scikit-learn]", True),
        ("model-kit>=0.1", False),
        ("model-kit[train]", False),
        ("scikit-learn", False),
    ],
)
def test_scikit_learn_is_installed_where_it_serves_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dependency: str, is_needed: bool
) -> None:
    for name, dependencies in (("a_model", '"model-kit"'), ("b_model", f'"{dependency}"')):
        (tmp_path / "packages" / name).mkdir(parents=True)
        (tmp_path / "packages" / name / "pyproject.toml").write_text(
            f'[project]\nname = "{name}"\ndependencies = [{dependencies}]\n'
            f'entry-points."ml_api.models".{name[0]} = "{name}:DEFINITION.load"\n'
        )
    made: list[str] = []
    monkeypatch.setattr(command, "make_environment", lambda folder, lock, *_, **__: made.append(str(lock)))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    arguments = [str(tmp_path / "env"), "--lock", "requirements.txt", "--models", str(tmp_path / "packages")]
    assert command.main(arguments) == 0
    assert made == ["requirements.txt", *(["requirements/scikit-learn.txt"] if is_needed else [])]


def test_a_python_that_cannot_make_environments_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "ensurepip is not available")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SetUpError, match=r"ensurepip is not available\n.*python3-venv"):
        command.create(tmp_path / "env", with_pip=True)


def test_other_pythons_are_refused_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 13, "final", 0))
    assert command.main(["env", "--lock", "lock.txt"]) == 2
    assert "runs on Python 3.11 to 3.13; " in capsys.readouterr().err


@pytest.mark.parametrize(("error", "status"), [(SetUpError("told"), 1), (KeyboardInterrupt(), 130), (None, 0)])
def test_the_command_ends_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException | None, status: int
) -> None:
    def make(*_: object, **__: object) -> None:
        if error:
            raise error

    monkeypatch.setattr(command, "make_environment", make)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert command.main([str(tmp_path / "env"), "--lock", "lock.txt"]) == status


def test_requirements_txt_is_the_only_package_manager_file_at_the_root() -> None:
    others = ("pyproject.toml", "setup.py", "setup.cfg", "Pipfile", "Pipfile.lock", "poetry.lock", "uv.lock")
    assert [name for name in others if (ROOT / name).exists()] == []
