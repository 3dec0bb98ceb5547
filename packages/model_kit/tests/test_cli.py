"""The command of a model package, without what it compares."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit.batch import csv_files, json_lines
from model_kit.batch.rows import PREFIX_ADVICE
from model_kit.batch.scoring import Scored, predict_table
from model_kit.cli.main import main
from model_kit.errors import FloorError
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.predictor import Answer, Predictor
from model_kit.testing import write_ride_bundle
from model_kit.training import dataset
from model_kit.training.dataset import Dataset

#: What the sample of rides says of itself, see conftest.py.
NOTICE = "*** MADE-UP RIDES ***"
#: Rides with fares by hand, see ``model_kit.testing``.
RIDES = 'id,distance,passengers,zone,comfort,note\n7,8,1,A,2,"one, two"\n8,far,,B,NA,\n7,16.0,NA,B,,x\n9,8,9,,2,x\n'
SHORT_FARE = float(np.exp(2.5 + 8 / 8 + 1 / 16 + 2 / 32))
LONG_FARE = float(np.exp(2.5 + 16 / 8 + 1 / 16 - 1 / 4))
PRICED = (
    "id,distance,passengers,zone,comfort,note,prediction,error\n"
    f'7,8,1,A,2,"one, two",{SHORT_FARE!r},\n'
    "8,far,,B,NA,,,distance: Not a valid number.\n"
    f"7,16.0,NA,B,,x,{LONG_FARE!r},\n"
    "9,8,9,,2,x,,passengers: Must be greater than or equal to 1 and less than or equal to 8.; "
    "zone: Field may not be null.\n"
)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def run(arguments: Sequence[str]) -> int:
    """The exit status of ``rides-model``."""
    return main(arguments, program="rides-model")


@pytest.fixture(autouse=True)
def model(installed: ModelDefinition) -> ModelDefinition:
    """The installed model of rides."""
    return installed


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rides.csv"
    path.write_text(RIDES)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "priced.csv"


class Trainer:
    """Stands in for training: keeps the calls, returns a card."""

    def __init__(self) -> None:
        self.calls: list[tuple[Dataset, bool, Path]] = []
        self.failure: Exception | None = None

    def train(
        self, definition: ModelDefinition, data: Dataset, bundle: Path, *, cv: bool, report: Callable[[str], None]
    ) -> dict[str, Any]:
        assert definition.name == "rides"
        self.calls.append((data, cv, bundle))
        report("Fitting")
        if self.failure:
            raise self.failure
        facts = {"name": data.name, "sha256": data.sha256, "rows": len(data.rows), "synthetic": data.synthetic}
        metrics = {"rmse": 0.11854, "rmse_core": 0.10612, "r2": 0.9, "mae": 13349.2}
        return {"data": facts, "metrics": metrics if cv else None}


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    trainer = Trainer()
    monkeypatch.setattr("model_kit.training.train.train", trainer.train)
    return trainer


# predict


def piped(content: bytes, encoding: str = "utf-8") -> io.TextIOWrapper:
    """What standard input is."""
    return io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)), encoding=encoding)


def test_predict_adds_prices_and_reasons_and_keeps_every_row(
    source: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(source), "-o", str(target)]) == 0
    assert target.read_text() == PRICED
    assert capsys.readouterr().err.splitlines()[-1] == "2 rows scored, 2 failed"


def test_predict_names_its_columns_with_a_prefix(
    source: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header, first, *_ = PRICED.splitlines()
    source.write_text(f"{header}\n{first}\n")
    options = ("--warnings", "--prefix", "model_")
    assert run(["predict", str(source), "-o", str(target), *options]) == 0
    assert target.read_text() == f"{header},model_prediction,model_error,model_warnings\n{first},{SHORT_FARE!r},,\n"
    # Once more clashes with what is there now, and a prefix of its own with nothing.
    assert run(["predict", str(target), "-o", str(source), *options]) == 2
    assert "has a column model_prediction and model_error and model_warnings already" in capsys.readouterr().err
    assert run(["predict", str(target), "-o", str(source), "--prefix", "new "]) == 0
    source.write_text("distance,zone,error\nfar,A,\n")
    assert run(["predict", str(source), "-o", str(target), "--prefix", "p_"]) == 1
    assert "the column p_error has the reasons" in capsys.readouterr().err


def test_predict_sums_up_as_json(source: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.write_text(RIDES + "1,5e15,NA,B,2,y\n")
    assert run(["predict", str(source), "-o", str(target), "--json"]) == 0
    text = capsys.readouterr()
    assert text.err.splitlines()[-1] == "3 rows scored, 2 failed"
    found = json.loads(text.out)
    assert found["model"]["name"] == "rides"
    assert (found["synthetic"], found["output"]) == (True, str(target))
    counts = {"rows": 5, "scored": 3, "failed": 2, "local_numbers": 0, "imputed": []}
    assert found["data"] == {"name": "rides.csv", **counts}
    assert [(one["field"], one["out_of_range"], one["example"]) for one in found["columns"]] == [
        ("distance", 1, "5e15")
    ]


def test_predict_into_a_pipe_sums_up_as_json_beside_it(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", str(source), "-o", "-", "--json"]) == 0
    text = capsys.readouterr()
    assert text.out == PRICED
    assert json.loads(text.err)["data"]["failed"] == 2


def test_predict_strict_fails_if_a_row_failed(source: Path, target: Path) -> None:
    assert run(["predict", str(source), "-o", str(target), "--strict"]) == 1
    assert target.read_text() == PRICED


def test_predict_strict_succeeds_if_all_rows_were_scored(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "good.csv"
    source.write_text("distance,zone\n8,A\n")
    assert run(["predict", str(source), "-o", str(target), "--strict"]) == 0


def test_predict_through_pipes(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    monkeypatch.setattr(sys, "stdin", piped(RIDES.replace("x", "é").encode(), "ascii"))
    assert run(["predict", "-", "-o", "-"]) == 0
    assert capsysbinary.readouterr().out.decode() == PRICED.replace("x", "é")


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_predict_reads_and_writes_block_by_block(
    suffix: str, tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(csv_files, "SIZE", 1000)
    monkeypatch.setattr(json_lines, "SIZE", 1000)
    sizes: list[int] = []

    def counted(*arguments: Any) -> Generator[Scored]:
        for result in predict_table(*arguments):
            sizes.append(result.batch.size)
            yield result

    monkeypatch.setattr("model_kit.cli.predict.predict_table", counted)
    source = tmp_path / f"many.{suffix}"
    rows = [f"8,A,{number}" for number in range(2500)]
    if suffix == "jsonl":
        rows = [json.dumps({"distance": 8, "zone": "A", "id": str(number)}) for number in range(2500)]
    header = "" if suffix == "jsonl" else "distance,zone,id\n"
    source.write_text(header + "".join(f"{row}\n" for row in rows))
    output = target.with_suffix(f".{suffix}")
    assert run(["predict", str(source), "-o", str(output), "--workers", "2"]) == 0
    assert sum(sizes) == len(source.read_bytes()) - len(header)
    # The first has what was read with the header.
    assert max(sizes[1:]) < 2100
    written = rows_of(output) if suffix == "csv" else [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["id"] for row in written] == [str(number) for number in range(2500)]
    assert len({row["prediction"] for row in written}) == 1
    assert "2500 rows scored, 0 failed" in capsys.readouterr().err


def test_predict_keeps_rows_with_a_wrong_number_of_cells_in_place(
    source: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.write_text('distance,zone,note\n8,A\n8,A,x\n8,A,x,"y, z",7\n16,B,NA\n')
    fare, other = float(np.exp(2.5 + 8 / 8 + 1 / 16)), float(np.exp(2.5 + 16 / 8 + 1 / 16 - 1 / 4))
    assert run(["predict", str(source), "-o", str(target), "--strict"]) == 1
    assert target.read_text() == (
        "distance,zone,note,prediction,error\n"
        "8,A,,,2 cells where the header has 3\n"
        f"8,A,x,{fare!r},\n"
        '8,A,x,,"5 cells where the header has 3; beyond them: ""y, z"",7"\n'
        f"16,B,NA,{other!r},\n"
    )
    assert capsys.readouterr().err.splitlines()[-1] == "2 rows scored, 2 failed"
    converted = target.with_suffix(".jsonl")
    assert run(["predict", str(source), "-o", str(converted)]) == 0
    assert [json.loads(line)["error"] for line in converted.read_text().splitlines()] == [
        "2 cells where the header has 3",
        None,
        '5 cells where the header has 3; beyond them: "y, z",7',
        None,
    ]


def test_predict_shows_progress_on_a_terminal_only(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["predict", str(source), "-o", str(target)])
    assert "\r" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run(["predict", str(source), "-o", str(target)])
    assert "\r\x1b[KPredicting 100% [########################] 4 rows" in capsys.readouterr().err


def test_predict_of_no_rows_is_the_header(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "none.csv"
    source.write_text("distance,zone\n")
    assert run(["predict", str(source), "-o", str(target)]) == 0
    assert target.read_text() == "distance,zone,prediction,error\n"


def test_predict_names_the_fields_that_a_file_lacks(
    tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "short.csv"
    source.write_text("distance,zone\n8,A\n")
    run(["predict", str(source), "-o", str(target)])
    assert "short.csv: imputing 2 fields that the file lacks: passengers, comfort\n" in capsys.readouterr().err


def test_predict_says_that_the_model_knows_synthetic_data_only(
    source: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["predict", str(source), "-o", str(target)])
    assert NOTICE in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "rides.csv: the file is empty"),
        ("zone\nA\n", "rides.csv: the header lacks the required columns distance"),
        ("distance,zone,prediction\n", f"rides.csv: has a column prediction already; {PREFIX_ADVICE}"),
        ("distance,zone,error,prediction\n", f"rides.csv: has a column prediction and error already; {PREFIX_ADVICE}"),
        (
            "distance,zone\n8,A\n9",
            "rides.csv, line 3: 1 cell where the header has 2; it is the last line: the file is cut off",
        ),
    ],
)
def test_predict_refuses_an_unusable_file_and_leaves_the_output_alone(
    text: str, reason: str, source: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.write_text(text)
    target.write_text("before")
    assert run(["predict", str(source), "-o", str(target)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"rides-model: {reason}"
    assert target.read_text() == "before"
    assert os.listdir(target.parent) == [target.name]


def test_predict_of_a_file_that_is_not_there(tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", str(tmp_path / "nowhere.csv"), "-o", str(target)]) == 2
    assert capsys.readouterr().err.endswith("nowhere.csv: cannot be read: No such file or directory\n")


def test_predict_into_a_folder_that_is_not_there(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "nowhere" / "out.csv"
    assert run(["predict", str(source), "-o", str(target)]) == 2
    assert capsys.readouterr().err == f"rides-model: {target}: there is no folder {target.parent}\n"


def test_predict_interrupted_leaves_no_half_file(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any) -> Answer:
        assert len(os.listdir(target.parent)) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "__call__", interrupt)
    assert run(["predict", str(source), "-o", str(target)]) == 130
    assert os.listdir(target.parent) == []
    assert capsys.readouterr().err.splitlines()[-1] == "rides-model: interrupted"


def test_predict_over_its_own_input(source: Path) -> None:
    assert run(["predict", str(source), "-o", str(source)]) == 0
    assert source.read_text() == PRICED


def test_predict_to_a_device_leaves_the_device(source: Path) -> None:
    assert run(["predict", str(source), "-o", os.devnull]) == 0
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_predict_into_a_pipe_that_closes_does_not_complain() -> None:
    program = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from model_kit.cli.main import main\n"
        "sys.exit(main(['predict', '-', '-o', '-'], program='rides-model'))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.write(b"distance,zone\n" + b"8,A\n" * 5000)
    process.stdin.close()
    complaints = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() == 1
    assert "Traceback" not in complaints
    assert "BrokenPipe" not in complaints


def test_damaged_bundle_is_one_line_that_says_what_to_do(
    model: ModelDefinition,
    source: Path,
    target: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = shutil.copytree(model.bundle, tmp_path / "damaged")
    (damaged / "model.onnx").write_bytes(b"")
    monkeypatch.setattr(ModelDefinition, "bundle", damaged)
    assert run(["predict", str(source), "-o", str(target)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("rides-model: model.onnx: sha256 is ")
    assert line.endswith("; `rides-model train` writes a new bundle")


def test_predict_keeps_faulty_lines_of_json_in_place(
    tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "rides.jsonl"
    source.write_text(
        '{"id": 7, "distance": 8, "passengers": 1, "zone": "A", "comfort": "2"}\n{"distance": \n7\n'
        '{"distance": "8", "zone": "B"}\n\n{"distance": 16, "zone": "B", "note": "é"}\n'
    )
    output = target.with_suffix(".ndjson")
    assert run(["predict", str(source), "-o", str(output)]) == 0
    assert [json.loads(line) for line in output.read_text().splitlines()] == [
        {
            "id": 7,
            "distance": 8,
            "passengers": 1,
            "zone": "A",
            "comfort": "2",
            "prediction": SHORT_FARE,
            "error": None,
        },
        {"input": '{"distance":', "prediction": None, "error": "not JSON: Expecting value at character 13"},
        {"input": 7, "prediction": None, "error": "_schema: Invalid input type."},
        {"distance": "8", "zone": "B", "prediction": None, "error": "distance: Not a valid number."},
        {"distance": 16, "zone": "B", "note": "é", "prediction": LONG_FARE, "error": None},
    ]
    assert capsys.readouterr().err.splitlines()[-1] == "2 rows scored, 3 failed"
    assert run(["predict", str(source), "-o", str(output), "--strict"]) == 1


def test_predict_json_through_pipes(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(sys, "stdin", piped(b'{"distance": 16, "zone": "B"}\n'))
    assert run(["predict", "-", "-o", "-", "--format", "jsonl"]) == 0
    assert json.loads(capsysbinary.readouterr().out)["prediction"] == LONG_FARE


def test_predict_turns_csv_from_a_pipe_into_json_for_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(sys, "stdin", piped("distance,zone,note\n16,B,é\n".encode()))
    assert run(["predict", "-", "-o", "-", "--output-format", "jsonl"]) == 0
    assert json.loads(capsysbinary.readouterr().out) == {
        "distance": 16,
        "zone": "B",
        "note": "é",
        "prediction": LONG_FARE,
        "error": None,
    }


def test_predict_json_that_has_a_prediction_is_unusable(
    tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "rides.jsonl"
    source.write_text('{"distance": 16, "zone": "B"}\n{"prediction": 1}\n')
    target.write_text("before")
    assert run(["predict", str(source), "-o", str(target), "--output-format", "jsonl"]) == 2
    assert capsys.readouterr().err.endswith(f"rides.jsonl, line 2: has a key prediction already; {PREFIX_ADVICE}\n")
    assert target.read_text() == "before"


def test_predict_parquet_keeps_types_and_adds_two_columns(tmp_path: Path, target: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pq = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = [
        {"id": 7, "distance": 8.0, "passengers": 1, "zone": "A", "comfort": 2},
        {"id": 8, "distance": None, "passengers": None, "zone": "B", "comfort": None},
        {"id": 9, "distance": 16.0, "passengers": None, "zone": "B", "comfort": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rides.parquet")
    output = target.with_suffix(".parquet")
    assert run(["predict", str(tmp_path / "rides.parquet"), "-o", str(output)]) == 0
    assert pq.read_table(output).to_pylist() == [
        {**rows[0], "prediction": SHORT_FARE, "error": None},
        {**rows[1], "prediction": None, "error": "distance: Field may not be null."},
        {**rows[2], "prediction": LONG_FARE, "error": None},
    ]
    assert pq.read_schema(output).field("id").type == pa.int64()
    # Read again, its own output has the columns already.
    assert run(["predict", str(output), "-o", os.devnull]) == 2


def test_predict_parquet_without_pyarrow_says_what_to_install(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert run(["predict", str(source), "-o", str(target), "--format", "parquet"]) == 1
    assert capsys.readouterr().err == (
        'rides-model: CSV and Parquet files need pyarrow, which is not installed: pip install "model-kit[batch]"\n'
    )


def test_predict_reads_and_writes_files_as_spreadsheets_do(
    tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "rides.csv"
    source.write_bytes('\ufeff"zone";"distance";"note"\r\n"A";"8";"é; x"\r\n"B";"16,5";""\r\n'.encode())
    assert run(["predict", str(source), "-o", str(target)]) == 0
    fare = float(np.exp(2.5 + 8 / 8 + 1 / 16))
    assert target.read_bytes().decode() == (
        f'\ufeffzone;distance;note;prediction;error\r\n"A";"8";"é; x";{fare!r};\r\n'
        '"B";"16,5";"";;distance: Not a valid number.\r\n'
    )
    assert (
        "rides.csv: numbers written with a comma, like 12,5 or 1,000, were refused (1);"
        " write 12.5, 1000, or see --decimal and --thousands\n"
    ) in capsys.readouterr().err


def test_predict_with_another_bundle(
    source: Path, target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ride_bundle(tmp_path / "other")
    assert run(["predict", str(source), "-o", str(target), "--bundle", str(tmp_path / "other")]) == 0
    assert target.read_text() == PRICED
    assert run(["predict", str(source), "-o", str(target), "--bundle", str(tmp_path / "nowhere")]) == 1
    assert "manifest.json: cannot be read from" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
def test_predict_ended_by_control_c_leaves_no_half_file(target: Path) -> None:
    program = (
        # A shell that runs the tests in the background has its children ignore Ctrl-C.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from model_kit.cli.main import main\n"
        f"sys.exit(main(['predict', '-', '-o', {str(target)!r}], program='rides-model'))\n"
    )
    target.write_text("before")
    # Measuring coverage takes a lock that an interrupt may leave locked for ever.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environ
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(b"distance,zone\n" + b"8,A\n" * 3000)
    process.stdin.flush()
    while len(os.listdir(target.parent)) == 1:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    process.stdin.close()
    complaints = process.stderr.read().decode()
    process.stderr.close()
    assert complaints.splitlines()[-1] == "rides-model: interrupted"
    assert "Traceback" not in complaints
    assert target.read_text() == "before"
    assert os.listdir(target.parent) == [target.name]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_predict_imports_neither_pandas_nor_other_commands(source: Path, target: Path, suffix: str) -> None:
    program = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from model_kit.cli.main import COMMANDS, main\n"
        f"arguments = ['predict', {str(source)!r}, '-o', {str(target.with_suffix(suffix))!r}]\n"
        "status = main(arguments, program='rides-model')\n"
        "print(status, 'pandas' in sys.modules, [one for one in COMMANDS if f'model_kit.cli.{one}' in sys.modules])\n"
        # Whoever asks for a DataFrame gets one still.
        "import pyarrow; print(type(pyarrow.table({'a': [1]}).to_pandas()).__name__)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "0 False ['predict']\nDataFrame\n"


# predict, in several threads


LONG_ROW = b"8,A," + b"x" * 400 + b"\n"
PROGRAM = (
    # A shell that runs the tests in the background has its children ignore Ctrl-C, and nohup the hang-up.
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    "import sys; sys.path[:] = PATH\n"
    "from model_kit.cli.main import main\n"
    "sys.exit(main(program='rides-model'))\n"
)


@pytest.fixture
def predicting(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command, predicting rides that come through a pipe, in two threads; some are written already."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "priced.csv").write_text("before")
    arguments = ["predict", "-", "-o", str(folder / "priced.csv"), "--workers", "2"]
    # Measuring coverage takes a lock that an interrupt may leave locked for ever.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("PATH", repr(sys.path)), *arguments],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
        process_group=0,
    )
    assert process.stdin is not None
    process.stdin.write(b"distance,zone,note\n" + LONG_ROW * 40_000)
    process.stdin.flush()
    while sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000:
        assert process.poll() is None
        time.sleep(0.02)
    with process:
        yield process
        if process.poll() is None:
            process.kill()


def complaint(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    complaints = process.stderr.read().decode()
    assert "Traceback" not in complaints
    return complaints.splitlines()[-1]


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "ended by SIGTERM"),
        (signal.SIGHUP, 129, "ended by SIGHUP"),
    ],
)
def test_predict_that_is_ended_leaves_no_half_file(
    number: signal.Signals, status: int, words: str, predicting: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    # As a terminal does: to the whole group.
    os.killpg(predicting.pid, number)
    assert predicting.wait(20) == status
    assert complaint(predicting) == f"rides-model: {words}"
    assert (tmp_path / "out" / "priced.csv").read_text() == "before"
    assert os.listdir(tmp_path / "out") == ["priced.csv"]


@pytest.mark.parametrize(("suffix", "counts"), [("csv", "580 rows scored, 20"), ("jsonl", "400 rows scored, 200")])
def test_predict_in_several_threads_writes_the_same_bytes(
    suffix: str, counts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "SIZE", 2000)
    monkeypatch.setattr(json_lines, "SIZE", 2000)
    source = tmp_path / f"rides.{suffix}"
    if suffix == "jsonl":
        records = [{"distance": n / 8, "zone": "AB"[n % 2], "passengers": [None, 2, "x"][n % 3]} for n in range(600)]
        source.write_text("".join(json.dumps(record) + "\n" for record in records))
    else:
        rows = [f'{n / 8},{"AB"[n % 2]},{n % 8 + 1 if n % 5 else ""},"a, {n}"' for n in range(600)]
        rows[::30] = ["8,A,1"] * 20
        source.write_text("distance,zone,passengers,note\n" + "\n".join(rows) + "\n")
    results = []
    for workers in ("1", "3"):
        output = tmp_path / f"predicted-{workers}.{suffix}"
        assert run(["predict", str(source), "-o", str(output), "--workers", workers]) == 0
        results.append((output.read_bytes(), capsys.readouterr().err))
    assert results[0] == results[1]
    assert len(results[0][0].splitlines()) == 600 + (suffix == "csv")
    assert results[0][1].splitlines()[-1] == f"{counts} failed"


@pytest.mark.parametrize("number", ["0", "257", "many"])
def test_number_of_threads_is_checked(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["predict", "x.csv", "-o", "y.csv", "--workers", number])
    assert ended.value.code == 2
    assert "--workers" in capsys.readouterr().err


def test_signals_are_as_they_were_after_a_command(source: Path, target: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert run(["predict", str(source), "-o", str(target)]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_predict_works_in_a_thread(source: Path, target: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run, ["predict", str(source), "-o", str(target)]).result() == 0
    assert target.read_text() == PRICED


# train


def test_train_uses_the_synthetic_sample_loudly(
    model: ModelDefinition, trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train"]) == 0
    assert run(["train", "--sample"]) == 0
    assert [(data.name, len(data.rows), cv, bundle) for data, cv, bundle in trainer.calls] == [
        ("synthetic sample", 60, True, model.bundle)
    ] * 2
    output = capsys.readouterr()
    assert NOTICE in output.err
    assert NOTICE in output.out


def test_train_reads_a_file_and_prints_the_scores(
    model: ModelDefinition, trainer: Trainer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rides.csv"
    path.write_bytes(dataset.require_sample(model).csv().replace(b"\n9", b"\n1"))
    assert run(["train", "--data", str(path), "--bundle", str(tmp_path / "bundle")]) == 0
    [(data, cv, bundle)] = trainer.calls
    assert (data.name, data.synthetic, len(data.rows), cv) == ("rides.csv", False, 60, True)
    assert bundle == tmp_path / "bundle"
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        "data                         rides.csv, 60 rows",
        f"data sha256                  {data.sha256}",
        "RMSE of log fare             0.1185",
        "RMSE of log fare, core rows  0.1061",
        "R2 of log fare               0.9000",
        "MAE, EUR                     13,349",
    ]
    assert output.err == "Fitting\n"


def test_train_without_cross_validation_says_so(trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--sample", "--no-cv"]) == 0
    assert trainer.calls[0][1] is False
    assert "scores       not evaluated\n" in capsys.readouterr().out


def test_train_on_an_unusable_file_is_one_line(
    trainer: Trainer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.csv").write_text("<html>")
    assert run(["train", "--data", str(tmp_path / "page.csv")]) == 2
    assert trainer.calls == []
    assert capsys.readouterr().err == (
        "rides-model: page.csv: an HTML or XML page, not CSV; was it downloaded without signing in?\n"
    )


def test_train_below_the_floor_is_one_line(trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    trainer.failure = FloorError("R2 is 0.1000, below the floor of 0.8; the model is not exported")
    assert run(["train"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "rides-model: R2 is 0.1000, below the floor of 0.8; the model is not exported"
    )


def test_train_interrupted(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: ModelDefinition) -> Dataset:
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "synthetic", interrupt)
    assert run(["train"]) == 130
    assert trainer.calls == []


def test_train_without_its_libraries_says_what_to_install(tmp_path: Path) -> None:
    # In a process of its own: no module that others have imported may hold on to them.
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; sys.modules['sklearn'] = None\n"
        "from model_kit.cli.main import main; sys.exit(main(program='rides-model'))"
    )
    command = [sys.executable, "-c", code, "train", "--sample", "--bundle", str(tmp_path / "bundle")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert 'which is not installed: pip install "model-kit[train]"\n' in ended.stderr


def test_data_and_sample_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["train", "--data", "x.csv", "--sample"])
    assert ended.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


# show


def test_show_is_readable_and_loud(model: ModelDefinition, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == NOTICE
    facts = dict(line.split("  ", 1) for line in lines[1:])
    assert {name: value.strip() for name, value in facts.items()} == {
        "model": "rides 1.2.3",
        "data": "rides by hand, 100 rows",
        "data sha256": "0" * 64,
        "R2 of log fare": "0.9000",
        "fields": "4, required: distance, zone",
        "target": "fare, EUR",
        "libraries": "numpy 2",
        "trained": "2026-01-01T00:00:00+00:00, commit unknown",
        "artefact sha256": model.load().lineage["artifact_sha256"],
    }


def test_show_of_a_model_of_real_data_is_not_loud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"name": "rides.csv", "sha256": "0" * 64, "rows": 100, "synthetic": False}
    write_ride_bundle(tmp_path / "bundle", data=data, metrics=None)
    assert run(["show", "--bundle", str(tmp_path / "bundle")]) == 0
    output = capsys.readouterr().out
    assert NOTICE not in output
    assert "scores           not evaluated\n" in output


def test_show_has_the_prose_and_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    errors = {"rows": 100, "mae": 1.0, "relative": 0.05, "guess_mae": 4.0, "guess_relative": 0.3}
    write_ride_bundle(
        tmp_path / "bundle",
        about={"title": "Taxi fares", "period": "2024", "place": "Utrecht", "limits": ["By day.", "No vans."]},
        performance={"guess": 12.0, "overall": errors, "thirds": [], "edges": []},
    )
    said = (
        "Much better than a guess: half of the predictions are within 5.0 % of what was true, and they are off by 1 "
        "EUR on average, 75 % less than if 12 EUR were predicted for every record."
    )
    assert run(["show", "--bundle", str(tmp_path / "bundle")]) == 0
    facts = [[part.strip() for part in line.split("  ", 1)] for line in capsys.readouterr().out.splitlines()[1:]]
    assert facts[1:8] == [
        ["title", "Taxi fares"],
        ["place", "Utrecht"],
        ["period", "2024"],
        ["limit", "By day."],
        ["limit", "No vans."],
        ["verdict", said],
        ["predicts", "EUR of 2024, Utrecht"],
    ]
    assert run(["show", "--json", "--bundle", str(tmp_path / "bundle")]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == said


def test_show_json_is_the_card_and_all_that_show_says(
    model: ModelDefinition, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    loaded = model.load()
    assert document == {
        **loaded.card,
        "version": "1.2.3",
        "artifact_sha256": loaded.lineage["artifact_sha256"],
        "files": loaded.lineage["files"],
        "fields": ["distance", "passengers", "zone", "comfort"],
        "required": ["distance", "zone"],
        "target": {"name": "fare", "unit": "EUR"},
    }


# sample, help, version


def test_sample_is_written_and_said_to_be_synthetic(
    model: ModelDefinition, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sample", "-o", str(target)]) == 0
    assert target.read_bytes() == dataset.require_sample(model).csv()
    assert NOTICE in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["data"], ["train"], ["predict"], ["evaluate"], ["compare"]])
def test_help_teaches_with_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run([*command, "--help"])
    assert ended.value.code == 0
    assert "examples:\n  rides-model " in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["--version"])
    assert capsys.readouterr().out == "rides-model 1.2.3\n"


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run([])
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err
