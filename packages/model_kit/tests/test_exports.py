"""Models in the formats of others, used where model-kit cannot be imported, or is only what the export carries."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest
import yaml
from model_kit.cli.main import main
from model_kit.errors import ExportError
from model_kit.exports.onnx import write_onnx
from model_kit.records.generation import generate_rows
from model_kit.scoring.bundle import CARD, GOLDEN, MODEL, SPEC, dump_json, read_bundle, write_bundle
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.predictor import Predictor
from model_kit.spec import Field, InputSpec, Learned, Target
from model_kit.testing import FIELDS, GOLDEN_PREDICTION, GOLDEN_ROW, LEARNED, ride_definition, ride_files

from bookings import BOOKING, BOOKING_FIELDS, SPEC_OF_BOOKINGS

#: Runs a script in a process that has no model-kit.
WITHOUT_US = """
import runpy, sys
sys.modules["model_kit"] = None
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
#: Log-odds of classes before and after calibration.
TABLE = [[-2.0, -3.0], [0.0, 0.5], [2.0, 1.5]]


def graph(n_features: int, n_outputs: int) -> bytes:
    """A graph of one product, a missing feature as 0."""
    weights = np.random.default_rng(n_features).normal(0, 0.3, n_features * n_outputs)
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        m (float[N, {n_features}] X) => (float[N, {n_outputs}] y)
        <float[{n_features}, {n_outputs}] weights = {{{", ".join(map(str, weights))}}}, float zero = {{0.0}}>
        {{
            missing = IsNaN(X)
            known = Where(missing, zero, X)
            y = MatMul(known, weights)
        }}
    """)
    return bytes(model.SerializeToString())


def made(
    folder: Path, spec: InputSpec, content: bytes, golden: Mapping[str, Any], definition: ModelDefinition, **card: Any
) -> tuple[ModelDefinition, Path]:
    """A bundle of a graph and a spec."""
    files = ride_files(model=definition.name, **card)
    expected = {"row": dict(golden), "prediction": 0.0}
    files |= {MODEL: content, SPEC: spec.to_json().encode(), GOLDEN: dump_json(expected)}
    write_bundle(folder / "bundle", files)
    return definition, folder / "bundle"


def bookings(folder: Path) -> tuple[ModelDefinition, Path]:
    definition = ModelDefinition("bookings", SPEC_OF_BOOKINGS.target, BOOKING_FIELDS, "none:none", package="model_kit")
    return made(folder, SPEC_OF_BOOKINGS, graph(22, 1), BOOKING, definition)


def of_class(folder: Path, target: Target, n_outputs: int, **card: Any) -> tuple[ModelDefinition, Path]:
    definition = ride_definition(target=target)
    spec = InputSpec(FIELDS, LEARNED, target)
    return made(folder, spec, graph(4, n_outputs), GOLDEN_ROW, definition, **card)


def two(folder: Path) -> tuple[ModelDefinition, Path]:
    target = Target("late", kind="class", classes=(False, True), threshold=0.9, positive=False)
    runtime = {"kind": "onnx", "output": "log_odds", "classes": [0, 1]}
    return of_class(folder, target, 1, runtime=runtime, calibration={"tables": [TABLE]})


def four(folder: Path) -> tuple[ModelDefinition, Path]:
    target = Target("grade", kind="class", classes=(1, 2, 3, 4))
    runtime = {"kind": "onnx", "output": "log_odds", "classes": [0, 1, 3]}
    return of_class(folder, target, 3, runtime=runtime, calibration={"tables": [TABLE, [], TABLE, TABLE]})


def rides(folder: Path) -> tuple[ModelDefinition, Path]:
    write_bundle(folder / "bundle", ride_files())
    return ride_definition(), folder / "bundle"


@pytest.mark.parametrize("make", [rides, bookings, two, four])
def test_script_scores_as_the_predictor_does_where_there_is_no_model_kit(make: Any, tmp_path: Path) -> None:
    definition, source = make(tmp_path)
    folder = tmp_path / "onnx"
    write_onnx(definition, read_bundle(source), folder)
    lines = [line for line in (folder / "score.py").read_text().splitlines() if line.strip()]
    assert len(lines) == (24 if make is bookings else 19)
    model = definition.load_bundle(source)
    rows = generate_rows(model.spec, 40, seed=11, nulls=0.2, unseen=0.2, extremes=0.2)
    if make is rides:
        rows += [GOLDEN_ROW, GOLDEN_ROW | {"comfort": 2}, GOLDEN_ROW | {"comfort": " 2.0 ", "passengers": None}]
    if make is bookings:
        rows += [BOOKING | {"paid": "2024-06-01T18:00:00.0019+02:00", "booked": "2024-06-01 18:00"}]
    given = tmp_path / "rows.json"
    given.write_text(json.dumps(rows), "utf-8")
    command = [sys.executable, "-c", WITHOUT_US, str(folder / "score.py"), str(given)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    if model.spec.target.is_class:
        answer = Predictor(model).detailed(rows, probabilities=True)
        assert [one["prediction"] for one in found] == answer.predictions
        assert len({str(one["prediction"]) for one in found}) > 1
        for one, expected in zip(found, answer.probabilities or (), strict=True):
            assert one["probabilities"] == pytest.approx(expected, abs=1e-9)
    else:
        assert found == pytest.approx(Predictor(model)(rows).predictions, rel=1e-9)
    for name in ("derive.py", "finish.py", "score.py"):
        assert "model_kit" not in (folder / name).read_text()
    readme = (folder / "README.md").read_text()
    assert all(kind in readme for kind in {f"| {field.kind} |" for field in model.spec.fields})


def decides(encoded: Any) -> Any:
    return encoded if len(encoded) < 100 else encoded * 2


def test_features_that_follow_from_the_number_of_rows_are_noticed(tmp_path: Path) -> None:
    definition, source = rides(tmp_path)
    object.__setattr__(definition, "derive", decides)
    with pytest.raises(ExportError, match="decides by values or by the number of rows"):
        write_onnx(definition, read_bundle(source), tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()
    object.__setattr__(definition, "derive", lambda x: x if x[0, 0] > 1 else x + 1)
    with pytest.raises(ExportError, match="model rides cannot be scored by ONNX and NumPy alone: its derived"):
        write_onnx(definition, read_bundle(source), tmp_path / "onnx")


def test_a_text_is_refused_by_name(tmp_path: Path) -> None:
    fields = (Field("review", "text", "what was said"),)
    spec = InputSpec(fields, {"review": Learned(0.0, None, 1, 9, (2.0,))}, Target("stars"))
    definition = ModelDefinition("reviews", spec.target, fields, "none:none", package="model_kit")
    made(tmp_path, spec, graph(1, 1), {"review": "good"}, definition)
    with pytest.raises(ExportError, match="review: texts become numbers"):
        write_onnx(definition, read_bundle(tmp_path / "bundle"), tmp_path / "onnx")


@pytest.fixture(scope="module")
def exported(site: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The installed model of rides in each format, by the command."""
    folder = tmp_path_factory.mktemp("exports")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        for form in ("onnx", "mlflow", "azure"):
            assert main(["export", form, "--model", "rides", "-o", str(folder / form)], program="model-kit") == 0
    return {form: folder / form for form in ("onnx", "mlflow", "azure")}


def run_carried(folder: Path, code: str) -> Any:
    """What some code prints as JSON, in a process that has of ours what an export carries."""
    command = [sys.executable, "-c", code]
    environ = {"PYTHONPATH": str(folder / "code"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_mlflow_folder_is_what_mlflow_reads_and_has_no_pickle(exported: dict[str, Path], site: Path) -> None:
    folder = exported["mlflow"]
    found = yaml.safe_load((folder / "MLmodel").read_text())
    flavor = found["flavors"]["python_function"]
    assert flavor["loader_module"] == "model_kit.exports.pyfunc"
    assert (folder / flavor["data"] / MODEL).read_bytes() == (site / "installed_rides/bundle" / MODEL).read_bytes()
    columns = json.loads(found["signature"]["inputs"])
    assert [(column["name"], column["type"], column["required"]) for column in columns] == [
        ("distance", "double", True),
        ("passengers", "double", False),
        ("zone", "string", True),
        ("comfort", "string", False),
    ]
    assert {one["name"] for one in json.loads(found["signature"]["params"])} == {
        "interval",
        "probabilities",
        "warnings",
    }
    assert found["metadata"]["artifact_sha256"] == read_bundle(site / "installed_rides/bundle").artifact_sha256
    # The golden row, which no training data has.
    example = json.loads((folder / found["saved_input_example_info"]["artifact_path"]).read_text())
    assert dict(zip(example["columns"], example["data"][0], strict=True)) == GOLDEN_ROW
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {
        ".py",
        ".toml",
        ".jinja",
        ".typed",
        ".json",
        ".onnx",
        ".txt",
        ".yaml",
        "",
    }
    # Protocol 2 and later begin with this byte; no text does.
    assert not any(path.read_bytes().startswith(b"\x80") for path in files)
    pins = (folder / "requirements.txt").read_text().split()
    assert {pin.partition("==")[0] for pin in pins} == {"marshmallow", "mlflow", "msgspec", "numpy", "onnxruntime"}
    assert all(pin.partition("==")[2] for pin in pins)


def test_mlflow_loader_predicts_from_what_the_folder_carries(exported: dict[str, Path]) -> None:
    code = """
import json, model_kit, pandas as pd
from model_kit.exports.pyfunc import _load_pyfunc
rows = [{"distance": 3.5, "zone": "A", "comfort": "2"}, {"distance": -1.0, "zone": "A"}]
found = _load_pyfunc("bundle").predict(pd.DataFrame(rows), {"interval": 0.0, "warnings": True})
print(json.dumps([model_kit.__file__, *found.to_dict("records")]))
"""
    origin, good, bad = run_carried(exported["mlflow"], code)
    assert Path(origin).is_relative_to(exported["mlflow"])
    assert good["prediction"] == pytest.approx(GOLDEN_PREDICTION, rel=1e-9)
    assert good["error"] is None
    assert good["warnings"] == "imputed: passengers was not given"
    assert bad["prediction"] is None
    assert bad["error"].startswith("distance: ")


def test_azure_script_answers_from_what_the_folder_carries(exported: dict[str, Path]) -> None:
    folder = exported["azure"]
    code = """
import json, score
score.init()
bodies = [open("sample-request.json").read(), '{"distance": -1, "zone": "A"}',
          '{"input_data": [{"distance": 3.5, "zone": "A"}], "params": {"warnings": true}}']
answers = [score.run(body) for body in bodies]
for body in ("[", "3", '{"input_data": [], "params": {"level": 1}}', '{"input_data": [], "params": {"interval": 0.9}}'):
    try:
        score.run(body)
    except Exception as error:
        answers.append(f"{type(error).__name__}: {error}")
print(json.dumps(answers))
"""
    sample, one, asked, *refused = run_carried(folder, code)
    assert sample["predictions"] == [pytest.approx(GOLDEN_PREDICTION, rel=1e-9)]
    assert sample["errors"] is None
    assert sample["version"].startswith("1.2.3+")
    assert one["predictions"] == [None]
    assert list(one["errors"]["0"]) == ["distance"]
    assert [warning["code"] for warning in asked["warnings"][0]] == ["imputed"]
    assert [text.split(" ")[0] for text in refused] == ["DataError:"] * 4
    assert "no calibrated intervals" in refused[3]
    environment = yaml.safe_load((folder / "conda.yml").read_text())
    assert environment["dependencies"][-1]["pip"] == (folder / "requirements.txt").read_text().split()


def test_command_says_what_is_wrong(
    exported: dict[str, Path], site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(site)
    folder = exported["onnx"]
    assert main(["export", "onnx", "--model", "rides", "-o", str(folder)], program="model-kit") == 2
    assert f"{folder} is there already" in capsys.readouterr().err
    assert main(["export", "onnx", "--model", "rides", "-o", str(folder / "no/such")], program="model-kit") == 2
    assert "no such folder" in capsys.readouterr().err
    card = json.loads((folder / CARD).read_text())
    assert card["model"] == "rides"
