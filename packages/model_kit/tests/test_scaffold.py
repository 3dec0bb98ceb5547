"""A model package from a CSV file: inferred, proven, written whole, and served."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from model_kit.cli.main import main
from model_kit.errors import DataError, DefinitionError
from model_kit.scaffold import new, source
from model_kit.scaffold.table import read_table
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.predictor import Predictor
from model_kit.spec import Target

from strange_table import KINDS, LEFT_OUT, TARGET, strange_table

pytestmark = pytest.mark.usefixtures("forgotten_packages")

#: Code that a package has beside its fields, in lines; README promises as much.
MOST_LINES = 60


@pytest.fixture(scope="module")
def rides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of rides: three columns, an identifier, a constant, a target with a unit."""
    random = Random(1)
    lines = ["ride_id,km,zone,night,currency,fare"]
    for number in range(300):
        km, zone, night = round(random.uniform(1, 30), 1), random.choice("ABC"), random.random() < 0.2
        fare = 2.5 + 1.4 * km + "ABC".index(zone) + 3 * night + random.gauss(0, 0.3)
        lines.append(f"{1000 + number},{km},{zone},{'yes' if night else 'no'},EUR,{fare:.2f}")
    path = tmp_path_factory.mktemp("data") / "rides.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def make(name: str, data: Path, target: str, into: Path, *options: str) -> int:
    return main(
        ["new", name, "--data", str(data), "--target", target, "--into", str(into), *options], program="model-kit"
    )


def test_package_is_written_trained_and_predicts(
    rides: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make("taxi", rides, "fare", tmp_path, "--unit", "EUR", "--subject", "ride") == 0
    out = capsys.readouterr().out
    assert "fields    3: 1 boolean, 1 category, 1 number" in out
    assert "'ride_id': it is an identifier: a whole number of its own in each row" in out
    assert "'currency': it is constant" in out
    definition = new.written_definition(tmp_path / "taxi_model", "taxi_model")
    assert (definition.target.name, definition.target.unit, definition.target.subject) == ("fare", "EUR", "ride")
    model = definition.load()
    assert model.card["evaluated"] is True
    assert model.card["metrics"]["r2"] > 0.98
    answer = Predictor(model)([{"km": 10.0, "zone": "B", "night": True}, {"zone": "B"}])
    assert answer.predictions[0] == pytest.approx(2.5 + 14 + 1 + 3, abs=0.6)
    assert answer.errors == {1: {"km": ["Missing data for required field."]}}


@pytest.fixture(scope="module")
def taxi(rides: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A package that is written and not trained, and the report on it; never written to."""
    into = tmp_path_factory.mktemp("made") / "packages"
    options = ["--data", str(rides), "--target", "fare", "--into", str(into), "--no-train", "--json"]
    code = "import sys; from model_kit.cli.main import main; sys.exit(main(program='model-kit'))"
    command = [sys.executable, "-c", code, "new", "taxi", *options]
    document = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return into / "taxi_model", document


def test_report_as_json_counts_files_and_lines(taxi: tuple[Path, dict[str, Any]]) -> None:
    package, document = taxi
    lines = {file["name"]: file["lines"] for file in document["files"]}
    assert set(lines) == {
        "pyproject.toml",
        "src/taxi_model/__init__.py",
        "src/taxi_model/estimator.py",
        "src/taxi_model/fields.py",
        "tests/test_taxi_model.py",
    }
    assert sum(lines.values()) - lines["src/taxi_model/fields.py"] <= MOST_LINES
    assert [field["name"] for field in document["fields"]] == ["km", "zone", "night"]
    assert {one["column"] for one in document["left_out"]} == {"ride_id", "currency"}
    assert not (package / "src/taxi_model/bundle").exists()


def test_generated_code_has_no_value_of_the_data(rides: Path, taxi: tuple[Path, dict[str, Any]]) -> None:
    text = "".join(path.read_text() for path in taxi[0].rglob("*.py"))
    values = {cell for line in rides.read_text().splitlines()[1:] for cell in line.split(",")}
    assert [value for value in values if f'"{value}"' in text or f"'{value}'" in text] == []


def test_generated_code_is_formatted_and_its_test_passes(taxi: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    shutil.copytree(taxi[0], packages / "taxi_model")
    # Rules for tests are found by the path from the configuration.
    shutil.copy(Path(__file__).resolve().parents[3] / "ruff.toml", tmp_path)
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, str(packages)]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout
    pytest_ = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(packages),
        str(packages),
    ]
    environment = {"PYTHONPATH": str(packages / "taxi_model/src"), "PATH": ""}
    done = subprocess.run(pytest_, capture_output=True, text=True, check=False, env=environment, cwd=packages)
    assert "1 passed" in done.stdout, done.stdout


def test_any_delimiter_gives_the_same_columns() -> None:
    tables = [read_table(strange_table(200, delimiter=mark), TARGET, "x.csv") for mark in ",;\t"]
    assert tables[0].columns == tables[1].columns == tables[2].columns
    assert len(tables[0].columns) == 99


def test_every_row_of_a_strange_file_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "strange.csv"
    path.write_bytes(strange_table(delimiter=";"))
    found = new.draft("strange", path, TARGET)
    assert len(found.dataset.rows) == 1500
    kinds = {field.name: field.kind for field in found.definition.fields}
    assert {name: kinds[name] for name in KINDS} == KINDS
    reasons = dict(found.left_out)
    assert reasons.keys() == LEFT_OUT.keys()
    assert all(LEFT_OUT[name] in reasons[name] for name in LEFT_OUT)
    assert found.definition.target.scale == "identity"
    suspicions = dict(found.suspicions)
    assert suspicions["leak"].startswith("a LEAK? It alone gives 100.0% of the target")
    assert "leak" not in {field.name for field in found.definition.fields if field.required}
    # Whatever the names, the code that is written declares the same fields.
    files = source.package_files(replace(found.definition, name="strange"), found.guesses, found.left_out, "")
    code = files["src/strange_model/fields.py"]
    names: dict[str, object] = {}
    exec(compile(ast.parse(code), "fields.py", "exec"), names)
    assert names["FIELDS"] == found.definition.fields
    assert names["TARGET"] == found.definition.target


def test_package_that_exists_is_never_overwritten(
    rides: Path, taxi: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(taxi[0], tmp_path / "taxi_model")
    edited = tmp_path / "taxi_model/src/taxi_model/fields.py"
    edited.write_text("# mine\n")
    assert make("taxi", rides, "fare", tmp_path) == 2
    assert "taxi_model exists; nothing was written" in capsys.readouterr().err
    assert edited.read_text() == "# mine\n"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Taxi", "cannot be a model's name"),
        ("1taxi", "cannot be a model's name"),
        ("taxi model", "cannot be a model's name"),
        ("regression", "the model name regression is taken"),
    ],
)
def test_name_that_clashes_is_refused_before_anything_is_read(
    name: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make(name, tmp_path / "not there.csv", "fare", tmp_path) == 2
    assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_command_of_a_package_is_named_after_its_model() -> None:
    # The command finds its model by its own name, so an underscore stays one.
    project = tomllib.loads(
        source.package_files(ModelDefinition("house_price", Target("y"), (), ""), (), (), "")["pyproject.toml"]
    )["project"]
    assert project["name"] == "house-price-model"
    assert project["scripts"] == {"house_price-model": "model_kit.cli.main:main"}
    assert project["entry-points"]["ml_api.models"] == {"house_price": "house_price_model:DEFINITION.load"}


def test_module_that_is_installed_is_not_shadowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/taxi_model.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(DefinitionError, match="the module name taxi_model is taken"):
        new.check_name("taxi", tmp_path)


@pytest.mark.parametrize(
    ("content", "target", "reason"),
    [
        ("a,b\n1,2\n", "c", r"^x.csv: there is no column 'c'. Its columns: 'a', 'b'$"),
        ("a,Price\n1,2\n", "price", r"there is no column 'price', but 'Price'"),
        ("a,b\n1,2\n1\n", "b", r"^x.csv, line 3: 1 cell where the header has 2"),
        ("a,b,a\n1,2,3\n", "b", r"^x.csv: the header has a column more than once: a$"),
        ("", "b", r"the file is empty"),
    ],
)
def test_file_that_is_no_table_is_refused(content: str, target: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_table(content.encode(), target, "x.csv")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("currency", "the target 'currency' cannot be used: it is constant: there is nothing to predict"),
        ("code", "the target 'code' cannot be used: it is constant: it has 2 spellings of one number"),
    ],
)
def test_target_that_cannot_be_predicted_writes_nothing(
    rides: Path, target: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coded = tmp_path / "coded.csv"
    header, *rows = rides.read_text().splitlines()
    coded.write_text("\n".join([f"{header},code", *(f"{row},{'007' if n % 2 else '7'}" for n, row in enumerate(rows))]))
    assert make("taxi", coded, target, tmp_path / "packages") == 2
    assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [coded]


def test_duplicates_are_told(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    lines = [f"{number % 50 / 7},{number % 50}.5" for number in range(100)]
    path.write_text("x,y\n" + "\n".join(lines) + "\n")
    found = new.draft("twice", path, "y")
    assert ("rows", "50 occur more than once: the scores will flatter the model") in found.suspicions


def class_file(path: Path, **columns: Sequence[object]) -> Path:
    """A CSV file of 300 rows with a number ``x`` and a class ``t``, of which x says much and noise nothing."""
    random = Random(5)
    lines = [",".join(["x", "noise", *columns, "t"])]
    for number in range(300):
        x = random.gauss(0, 1)
        cells = [f"{x:.3f}", f"{random.gauss(0, 1):.3f}", *(str(column[number]) for column in columns.values())]
        lines.append(",".join([*cells, "yes" if random.random() < 1 / (1 + 2.718 ** (-2 * x)) else "No"]))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_share_of_a_class_is_near_what_the_field_knows_of_it(tmp_path: Path) -> None:
    found = new.draft("mood", class_file(tmp_path / "x.csv"), "t")
    # The variance of the true probabilities is .34 of that of the class.
    assert 0.25 < found.strengths["x"] < 0.4
    assert found.strengths["noise"] == 0
    assert {field.name: field.required for field in found.definition.fields} == {"x": True, "noise": False}


def test_field_that_says_nothing_is_not_required(tmp_path: Path) -> None:
    path = class_file(tmp_path / "x.csv")
    path.write_text("".join(f"{line.partition(',')[2]}\n" for line in path.read_text().splitlines()))
    found = new.draft("mood", path, "t")
    assert [(field.name, field.required) for field in found.definition.fields] == [("noise", False)]
    assert "required  none: no field that every row has tells enough alone; all may be missing\n" in new.describe(found)


def test_positive_class_and_its_reason_are_in_the_report_and_the_code(tmp_path: Path) -> None:
    found = new.draft("mood", class_file(tmp_path / "x.csv"), "t")
    assert found.definition.target.positive == "yes"
    reason = "of No and yes it is the affirmative one"
    assert f"one of the classes No, yes; rates and threshold are about yes: {reason}\n" in new.describe(found)
    new.write(found, tmp_path, "")
    code = (tmp_path / "mood_model/src/mood_model/fields.py").read_text()
    assert f'# Rates and threshold are about "yes": {reason}\nTARGET = Target("t", kind="class"' in code
    assert 'classes=("No", "yes"), positive="yes")' in code
    facts = new.to_document(found, {}, tmp_path / "mood_model")["target"]
    assert facts == {"name": "t", "classes": ["No", "yes"], "positive": "yes", "positive_reason": reason}


def test_columns_that_predict_adds_are_told_and_get_a_prefix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("error", "probability_yes", "explain_2_field")
    path = class_file(tmp_path / "x.csv", **{name: [f"{n % 7}.5" for n in range(300)] for name in names})
    assert make("mood", path, "t", tmp_path, "--no-train") == 0
    said = (
        "'error, probability_yes, explain_2_field': predict adds columns of these names: give it --prefix for its own"
    )
    assert said in capsys.readouterr().out


def test_texts_may_be_longer_than_those_of_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = Random(6)
    words = ["good", "bad", "slow", "fast", "cold", "warm"]
    texts = [" ".join(random.choices(words, k=12)) for _ in range(300)]
    path = tmp_path / "said.csv"
    path.write_text("said,t\n" + "".join(f"{text},{text.count('good') - text.count('bad')}.5\n" for text in texts))
    assert make("said", path, "t", tmp_path, "--no-train") == 0
    assert "text      said: at most 10,000 characters are accepted\n" in capsys.readouterr().out
    assert "max_length" not in (tmp_path / "said_model/src/said_model/fields.py").read_text()


def test_target_that_spans_orders_of_magnitude_is_learned_on_the_log(tmp_path: Path) -> None:
    random = Random(2)
    rows = [(x := random.uniform(0, 9), 2.718 ** (x + random.gauss(0, 0.1))) for _ in range(200)]
    path = tmp_path / "x.csv"
    path.write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in rows))
    assert new.draft("steep", path, "y").definition.target.scale == "log"
    assert new.draft("steep", path, "y", scale="identity").definition.target.scale == "identity"
