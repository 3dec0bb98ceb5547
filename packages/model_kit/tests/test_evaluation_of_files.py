"""The command ``evaluate``: errors on labelled rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit.batch import evaluation as evaluate
from model_kit.cli.main import main
from model_kit.records.column_summary import ColumnSummary
from model_kit.scoring.definition import ModelDefinition
from model_kit.spec import InputSpec
from model_kit.testing import LEARNED, SPEC_OF_RIDES, write_ride_bundle


def fare(distance: float, zone: str, passengers: float = 1, comfort: float = 0) -> float:
    """By the weights of ``model_kit.testing``."""
    return float(np.exp(2.5 + distance / 8 + passengers / 16 - (zone == "B") / 4 + comfort / 32))


def run(arguments: Sequence[str]) -> int:
    """The exit status of ``rides-model``."""
    return main(arguments, program="rides-model")


@pytest.fixture(autouse=True)
def definition(installed: ModelDefinition) -> ModelDefinition:
    """The installed model of rides."""
    return installed


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Twelve rides whose fares are 10 % above the model's in zone A and what it says in zone B, and four bad rows."""
    rows = [f"{number},{number},A,{fare(number, 'A') * 1.1!r},north" for number in range(1, 7)]
    rows += [f"{number},{number},B,{fare(number, 'B')!r},NA" for number in range(7, 13)]
    rows += ["13,far,A,9,north", "14,8,A,,north", "15,8,B,cheap,south", "524,8,,0,south"]
    path = tmp_path / "rides.csv"
    path.write_text("Id,distance,zone,fare,area\n" + "\n".join(rows) + "\n")
    return path


def document(*arguments: str, capsys: pytest.CaptureFixture[str], expected: int = 0) -> dict[str, Any]:
    assert run(["evaluate", "--json", *arguments]) == expected
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_scores_are_overall_by_third_and_by_group(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document("--data", str(labelled), "--by", "zone", "--by", "area", capsys=capsys)
    error = np.log(1.1)
    assert found["overall"]["n"] == 12
    assert found["overall"]["rmse"] == pytest.approx(error / 2**0.5, rel=1e-5)
    assert found["overall"]["bias"] == pytest.approx(-error / 2, rel=1e-5)
    assert [(group["name"], group["n"], group["few"]) for group in found["by"]["zone"]] == [
        ("A", 6, True),
        ("B", 6, True),
    ]
    assert found["by"]["zone"][0]["rmse"] == pytest.approx(error, rel=1e-5)
    assert found["by"]["zone"][0]["relative"] == pytest.approx(1 - 1 / 1.1, rel=1e-5)
    assert found["by"]["zone"][1]["rmse"] == pytest.approx(0, abs=1e-5)
    assert [group["name"] for group in found["by"]["area"]] == ["north", "(missing)"]
    assert [group["n"] for group in found["thirds"]] == [4, 4, 4]
    assert found["target"] == {"name": "fare", "unit": "EUR", "scale": "log"}
    assert found["model"]["trained_on"]["name"] == "rides by hand"


def test_rows_that_cannot_be_scored_are_counted_and_named(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document("--data", str(labelled), capsys=capsys)
    assert found["data"] == {
        "name": "rides.csv",
        "sha256": hashlib.sha256(labelled.read_bytes()).hexdigest(),
        "rows": 16,
        "scored": 12,
        "failed": 4,
        "trained_on_this": False,
    }
    assert found["failures"] == [
        {"number": 14, "id": "13", "reason": "distance: Not a valid number."},
        {"number": 15, "id": "14", "reason": "fare: missing."},
        {"number": 16, "id": "15", "reason": "fare: Not a finite number."},
        {"number": 17, "id": "524", "reason": "zone: Field may not be null.; fare: Must be greater than 0."},
    ]


def test_strict_fails_if_a_row_was_not_scored(labelled: Path) -> None:
    assert run(["evaluate", "--data", str(labelled), "--strict"]) == 1
    labelled.write_text("\n".join(labelled.read_text().splitlines()[:13]) + "\n")
    assert run(["evaluate", "--data", str(labelled), "--strict"]) == 0


def test_core_leaves_the_two_known_sales_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rides.csv"
    rows = "".join(f"{name},8,A,{fare(8, 'A') * factor!r}\n" for name, factor in (("1", 1), ("524.0", 5), ("1299", 5)))
    path.write_text("Id,distance,zone,fare\n" + rows)
    found = document("--data", str(path), capsys=capsys)
    assert (found["overall"]["n"], found["core"]["n"]) == (3, 1)
    assert found["core"]["rmse"] == pytest.approx(0, abs=1e-6)
    assert found["left_out_of_core"] == ["1299", "524"]


def test_file_without_identifiers_is_all_core(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rides.csv"
    path.write_text(f"distance,zone,fare\n8,A,{fare(8, 'A')}\n9,A,x\n")
    found = document("--data", str(path), capsys=capsys)
    assert found["core"] == found["overall"]
    assert found["failures"] == [{"number": 3, "id": None, "reason": "fare: Not a finite number."}]


def test_formats_give_the_same(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split(",") for line in labelled.read_text().splitlines()[1:13]]
    records = [
        {
            "Id": int(name),
            "distance": float(distance),
            "zone": zone,
            "fare": float(price),
            "area": None if area == "NA" else area,
        }
        for name, distance, zone, price, area in lines
    ]
    as_json = tmp_path / "rides.jsonl"
    as_json.write_text("".join(json.dumps(record) + "\n" for record in records) + "{\n7\n" + '{"fare": true}\n')
    first = document("--data", str(labelled), "--by", "area", capsys=capsys)
    second = document("--data", str(as_json), "--by", "area", capsys=capsys)
    for part in ("overall", "core", "thirds", "by"):
        assert second[part] == first[part]
    assert [failure["reason"] for failure in second["failures"]] == [
        "not JSON: Expecting property name enclosed in double quotes at character 2",
        "_schema: Invalid input type.; fare: missing.",
        (
            "distance: Missing data for required field.; zone: Missing data for required field.; "
            "fare: Not a finite number."
        ),
    ]


def test_parquet_gives_the_same(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    path = tmp_path / "rides.parquet"
    frame = pd.read_csv(labelled, nrows=12, keep_default_na=False, na_values=["NA", ""])
    frame.loc[12] = [16, 8, "A", float("nan"), None]
    frame.to_parquet(path)
    first = document("--data", str(labelled), "--by", "area", "--by", "zone", capsys=capsys)
    second = document("--data", str(path), "--by", "area", "--by", "zone", capsys=capsys)
    for part in ("overall", "core", "thirds", "by"):
        assert second[part] == first[part]
    assert second["failures"] == [{"number": 13, "id": "16", "reason": "fare: missing."}]


def test_number_of_many_values_is_grouped_by_the_bins_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rides.csv"
    rows = [(number / 2, 1 + number % 3) for number in range(1, 31)]
    path.write_text("distance,zone,passengers,fare\n" + "".join(f"{d},A,{p},{fare(d, 'A', p)}\n" for d, p in rows))
    found = document("--data", str(path), "--by", "distance", "--by", "passengers", capsys=capsys)
    assert {group["name"]: group["n"] for group in found["by"]["distance"]} == {
        "up to 1": 2,
        "1 to 3.5": 5,
        "3.5 to 8": 9,
        "above 8": 14,
    }
    assert {group["name"]: group["n"] for group in found["by"]["passengers"]} == {"1": 10, "2": 10, "3": 10}


def test_code_is_the_same_group_however_it_is_spelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rides.csv"
    path.write_text("distance,zone,comfort,fare\n8,A,1,9\n8,A,1.0,9\n8,A,,9\n")
    found = document("--data", str(path), "--by", "comfort", capsys=capsys)
    assert {group["name"]: group["n"] for group in found["by"]["comfort"]} == {"1": 2, "(missing)": 1}


def test_table_is_for_people(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "--data", str(labelled), "--by", "zone"]) == 0
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert lines[:5] == [
        "*** MADE-UP RIDES ***",
        "model  rides 1.2.3, trained on rides by hand",
        "data   rides.csv: 16 rows, 12 scored, 4 failed",
        "",
        "                             rows  RMSE (log)     R2  MAE, EUR  median error   bias",
    ]
    assert lines[5].split() == ["all", "12", "0.0674", "0.948", "1.027", "4.5%", "-4.7%"]
    assert "by fare, thirds" in lines
    start = lines.index("by zone, the largest error first")
    assert lines[start + 1].split()[:4] == ["A", "*", "6", "0.0953"]
    assert lines[start + 2].split()[:4] == ["B", "*", "6", "0.0000"]
    assert lines[start + 3 :] == [
        "* few rows: says little",
        "not scored, row at line 14 (Id 13): distance: Not a valid number.",
        "not scored, row at line 15 (Id 14): fare: missing.",
        "not scored, row at line 16 (Id 15): fare: Not a finite number.",
        "not scored, row at line 17 (Id 524): zone: Field may not be null.; fare: Must be greater than 0.",
    ]
    assert "rides.csv: imputing 2 fields that the file lacks: passengers, comfort\n" in output.err


def test_table_names_the_first_failures_and_the_worst_groups(
    labelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluate, "NAMED", 1)
    monkeypatch.setattr(evaluate, "SHOWN", 1)
    run(["evaluate", "--data", str(labelled), "--by", "zone"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4:] == [
        "  and 1 more: --json",
        "* few rows: says little",
        "not scored, row at line 14 (Id 13): distance: Not a valid number.",
        "not scored: 3 more: --json",
    ]


def test_training_file_flatters_and_that_is_said(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = hashlib.sha256(labelled.read_bytes()).hexdigest()
    data = {"name": "rides.csv", "sha256": digest, "rows": 16, "synthetic": False}
    write_ride_bundle(tmp_path / "bundle", data=data, metrics=None)
    assert run(["evaluate", "--data", str(labelled), "--bundle", str(tmp_path / "bundle"), "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["data"]["trained_on_this"] is True
    assert "The model was trained on this very file: these figures flatter it." in output.err


@pytest.mark.parametrize(
    ("text", "by", "reason"),
    [
        ("distance,zone\n8,A\n", [], "rides.csv: lacks the column fare, which predictions are compared with"),
        ("distance,zone,fare\n8,A,9\n", ["--by", "area"], "rides.csv: lacks the column area to group by"),
        ("distance,zone,fare\n", [], "rides.csv: no row could be scored"),
        (
            "distance,zone,fare\n8,A,\n",
            [],
            "rides.csv: no row could be scored; the first, row at line 2: fare: missing.",
        ),
        ("<html>", [], "rides.csv: an HTML or XML page, not CSV; was it downloaded without signing in?"),
    ],
)
def test_unusable_file_is_one_sentence(
    text: str, by: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rides.csv"
    path.write_text(text)
    assert run(["evaluate", "--data", str(path), *by]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines()[-1] == f"rides-model: {reason}"


def test_standard_input_has_no_digest(
    labelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with labelled.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        found = document("--data", "-", capsys=capsys)
    assert (found["data"]["name"], found["data"]["sha256"]) == ("standard input", None)


def test_decimal_commas_are_pointed_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rides.csv"
    path.write_text("distance;zone;fare\n8;A;9\n8,5;A;9\n")
    assert run(["evaluate", "--data", str(path)]) == 0
    assert (
        "rides.csv: numbers written with a comma, like 12,5 or 1,000, were refused (1);"
        " write 12.5, 1000, or see --decimal and --thousands"
    ) in capsys.readouterr().err


def test_identity_scale_has_no_logs(definition: ModelDefinition) -> None:
    target = replace(definition.target, scale="identity")
    scored = evaluate.Scored(ColumnSummary(SPEC_OF_RIDES), [1.0, -2.0], [1.5, -2.0], [True, True], {}, [])
    assessment = scored.assess(InputSpec(definition.fields, LEARNED, target))
    assert evaluate.table(scored, assessment, replace(definition, target=target)).splitlines()[1].split() == [
        "all",
        "2",
        "0.35",
        "0.944",
        "0.25",
        "+0.25",
    ]


def test_rows_with_a_wrong_number_of_cells_are_named_and_not_scored(
    labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled.write_text(labelled.read_text() + "525,8,A\n526,8,A,9,x,y\n")
    found = document("--data", str(labelled), capsys=capsys)
    assert found["data"]["scored"] == 12
    assert found["failures"][-2:] == [
        {"number": 18, "id": "525", "reason": "3 cells where the header has 5"},
        {"number": 19, "id": "526", "reason": "6 cells where the header has 5; beyond them: y"},
    ]
