"""Which model a command is about, what is said where it cannot be told, and how commands end."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from model_kit import __version__
from model_kit.cli import show
from model_kit.cli.common import EndedBySignal, needing_training
from model_kit.cli.main import chosen_definition, main
from model_kit.errors import BundleError, DataError, DefinitionError, MissingLibraryError, ModelKitError
from model_kit.scoring import definition as module
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.protocol import ENTRY_POINT_GROUP
from model_kit.testing import GOLDEN_PREDICTION

COMMANDS = ("train", "data", "predict", "consume", "evaluate", "compare", "show", "sample", "export", "spark")
Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """A function that makes these the only entry points of models."""

    def install(*names: str) -> None:
        points = EntryPoints(EntryPoint(name, "installed_rides:DEFINITION.load", ENTRY_POINT_GROUP) for name in names)
        monkeypatch.setattr(module, "entry_points", points.select)

    return install


@pytest.fixture
def rides_alone(installed: ModelDefinition, install: Install) -> ModelDefinition:
    """The model ``rides``, with no other installed."""
    install("rides")
    return installed


# which model


@pytest.mark.parametrize(
    ("program", "options"),
    [("rides-model", []), ("model-kit", ["--model", "rides"]), ("model-kit", [])],
    ids=["program", "option", "only one installed"],
)
def test_model_is_that_of_the_program_the_option_or_the_only_one(
    program: str,
    options: list[str],
    rides_alone: ModelDefinition,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = tmp_path / "rides.csv"
    source.write_text("distance,passengers,zone,comfort\n3.5,1,A,2\n")
    assert main(["predict", str(source), "-o", "-", *options], program=program) == 0
    assert capsys.readouterr().out.splitlines()[1] == f"3.5,1,A,2,{GOLDEN_PREDICTION!r},"
    assert main(["show", *options], program=program) == 0
    assert "rides 1.2.3\n" in capsys.readouterr().out
    assert chosen_definition("rides") is rides_alone


def test_program_is_by_default_the_name_of_the_process(
    rides_alone: ModelDefinition, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["/opt/bin/rides-model", "show"])
    assert main() == 0
    assert f"{rides_alone.name} 1.2.3\n" in capsys.readouterr().out


def test_several_models_and_none_named_is_unusable_and_lists_them(
    rides_alone: ModelDefinition, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    several = {"rides": rides_alone, "flights": rides_alone, "boats": rides_alone}
    monkeypatch.setattr("model_kit.cli.main.installed_definitions", lambda: several)
    assert main(["show"], program="model-kit") == 2
    assert capsys.readouterr() == (
        "",
        "model-kit: several models are installed; choose one: --model boats|flights|rides\n",
    )
    assert main(["show", "--model", "rides"], program="model-kit") == 0


@pytest.mark.parametrize(
    ("program", "arguments", "reason"),
    [
        ("model-kit", ["show"], "no model is installed"),
        ("model-kit", ["show", "--model", "rides"], "no model rides is installed; installed: none"),
        ("rides-model", ["show"], "no model rides is installed; installed: none"),
    ],
)
def test_without_a_model_a_command_is_unusable(
    program: str, arguments: list[str], reason: str, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install()
    assert main(arguments, program=program) == 2
    assert capsys.readouterr().err == f"{program}: {reason}\n"


@pytest.mark.usefixtures("rides_alone")
def test_program_of_a_model_has_no_option_for_another(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["show", "--model", "rides"], program="rides-model")
    assert ended.value.code == 2
    assert "unrecognized arguments: --model rides" in capsys.readouterr().err


@pytest.mark.usefixtures("rides_alone")
def test_new_is_a_command_of_the_kit_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["new", "boats"], program="rides-model")
    assert ended.value.code == 2
    assert "invalid choice: 'new'" in capsys.readouterr().err


# how it ends


@pytest.mark.usefixtures("rides_alone")
@pytest.mark.parametrize(
    ("error", "text", "status"),
    [
        (DataError("rides.csv: empty"), "rides.csv: empty", 2),
        (DefinitionError("rides: no estimator"), "rides: no estimator", 2),
        (ModelKitError("no space"), "no space", 1),
        (
            BundleError("model.onnx", "sha256 differs"),
            "model.onnx: sha256 differs; `rides-model train` writes a new bundle",
            1,
        ),
        (MissingLibraryError("needs pyarrow"), 'needs pyarrow: pip install "model-kit[batch]"', 1),
        (OSError(errno.ENOSPC, "No space left on device", "out.csv"), "out.csv: No space left on device", 1),
        (OSError(errno.EIO, "Input/output error"), "output: Input/output error", 1),
        (KeyboardInterrupt(), "interrupted", 130),
        (EndedBySignal(signal.SIGTERM), "ended by SIGTERM", 143),
    ],
)
def test_error_is_one_line_and_its_status(
    error: BaseException, text: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(show, "model_of", fail)
    assert main(["show"], program="rides-model") == status
    assert capsys.readouterr() == ("", f"rides-model: {text}\n")


@pytest.mark.usefixtures("rides_alone")
def test_a_damaged_bundle_is_trained_again_by_the_command_for_its_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise BundleError("model.onnx", "sha256 differs")

    monkeypatch.setattr(show, "model_of", fail)
    assert main(["show", "--model", "rides"], program="model-kit") == 1
    assert "; `model-kit train --model rides` writes a new bundle\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("library", "advice"),
    [
        ("sklearn.svm", 'needs sklearn.svm, which is not installed: pip install "model-kit[train]"'),
        ("xgboost", "install xgboost, and add it to the dependencies of the model's package"),
    ],
)
def test_a_library_of_the_package_is_not_taken_for_one_of_the_kit(library: str, advice: str) -> None:
    def fail() -> None:
        raise ModuleNotFoundError(name=library)

    with pytest.raises(ModelKitError) as raised:
        needing_training(fail)
    assert advice in str(raised.value)


@pytest.mark.usefixtures("rides_alone")
def test_error_names_the_program_that_was_called(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "nowhere.csv"
    for program in ("rides-model", "model-kit"):
        assert main(["train", "--data", str(missing), "--bundle", str(tmp_path)], program=program) == 2
        err = capsys.readouterr().err
        assert err == f"{program}: {missing}: cannot be read: No such file or directory\n"


# help


@pytest.mark.usefixtures("rides_alone")
@pytest.mark.parametrize(
    ("program", "command"),
    [
        *((program, [command]) for program in ("rides-model", "model-kit") for command in COMMANDS),
        ("model-kit", ["new"]),
        ("model-kit", []),
        ("rides-model", []),
    ],
)
def test_help_is_about_any_model(program: str, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"], program=program)
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: {' '.join([program, *command])} ")
    assert "{program}" not in text
    assert ("--model NAME" in text) == (program == "model-kit" and command not in ([], ["new"]))
    # "price" is a column of the example of `new`, whatever the model is about.
    for word in ("house", "sale", "neighborhood", "dollar", *(() if command == ["new"] else ("price",))):
        assert word not in text.lower()


@pytest.mark.usefixtures("rides_alone")
def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for program, commands in (("rides-model", COMMANDS), ("model-kit", ("new", *COMMANDS))):
        with pytest.raises(SystemExit):
            main(["--help"], program=program)
        text = capsys.readouterr().out
        assert all(f"\n    {command} " in text for command in commands), text


def test_version_is_that_of_the_kit_or_of_the_model(
    rides_alone: ModelDefinition, capsys: pytest.CaptureFixture[str]
) -> None:
    for program, version in (("model-kit", __version__), ("rides-model", rides_alone.version)):
        with pytest.raises(SystemExit) as ended:
            main(["--version"], program=program)
        assert ended.value.code == 0
        assert capsys.readouterr().out == f"{program} {version}\n"


def test_version_of_the_kit_needs_no_model(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install()
    with pytest.raises(SystemExit) as ended:
        main(["--version"], program="model-kit")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"model-kit {__version__}\n"
