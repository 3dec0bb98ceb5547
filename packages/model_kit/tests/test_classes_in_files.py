"""Classes in files: the columns of predict in each format, and what evaluate says."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from model_kit.cli.main import main
from model_kit.scoring.definition import ModelDefinition
from model_kit.training.train import train

from staff import THREE, TWO, definition, make_dataset, make_rows


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    train(definition(TWO), make_dataset(), folder / "two")
    train(definition(THREE), make_dataset(classes=3), folder / "three")
    return folder


def run(monkeypatch: pytest.MonkeyPatch, found: ModelDefinition, *arguments: str) -> int:
    monkeypatch.setattr("model_kit.cli.main.find_definition", lambda _: found)
    return main([*arguments[:1], "--model", "staff", *arguments[1:]])


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_predict_adds_the_class_its_probabilities_and_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundles: Path
) -> None:
    source, wanted = tmp_path / "staff.csv", tmp_path / "out.csv"
    write(source, [*make_rows(30), {"hours": "much", "site": "north", "day": "2024-01-01"}])
    bundle = ("--bundle", str(bundles / "two"))
    assert run(monkeypatch, definition(TWO), "predict", str(source), "-o", str(wanted), *bundle) == 0
    plain = read(wanted)
    assert {row["prediction"] for row in plain[:30]} == {"stays", "leaves"}
    assert plain[30]["prediction"] == ""
    assert plain[30]["error"] == "hours: Not a valid number."
    more = ("--probabilities", "--interval", "0.9", "--explain", "1", "--class", "leaves")
    assert run(monkeypatch, definition(TWO), "predict", str(source), "-o", str(wanted), *more, *bundle) == 0
    detailed = read(wanted)
    for row, short in zip(detailed[:30], plain[:30], strict=True):
        assert row["prediction"] == short["prediction"]
        assert float(row["probability_stays"]) + float(row["probability_leaves"]) == pytest.approx(1, abs=1e-9)
        assert row["prediction"] in row["prediction_set"].split(" | ")
        total = float(row["explain_baseline"]) + float(row["explain_1_amount"]) + float(row["explain_rest_amount"])
        assert total == pytest.approx(float(row["probability_leaves"]), abs=1e-9)


def test_whole_numbers_keep_their_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundles: Path) -> None:
    lines, wanted = tmp_path / "staff.jsonl", tmp_path / "out.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in make_rows(40)))
    bundle = ("--bundle", str(bundles / "three"))
    assert run(monkeypatch, definition(THREE), "predict", str(lines), "-o", str(wanted), *bundle) == 0
    found = [json.loads(line)["prediction"] for line in wanted.read_text().splitlines()]
    assert {type(value) for value in found} == {int}
    source, parquet = tmp_path / "staff.csv", tmp_path / "out.parquet"
    write(source, make_rows(40))
    assert run(monkeypatch, definition(THREE), "predict", str(source), "-o", str(parquet), *bundle) == 0
    assert pq.read_table(parquet)["prediction"].to_pylist() == found


def test_probabilities_of_a_number_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("-o", str(tmp_path / "out.csv"), "--bundle", str(bundles / "two"), "--class", "gone")
    assert run(monkeypatch, definition(TWO), "predict", "absent.csv", *arguments) == 2
    assert "--class gone: left has the classes stays, leaves" in capsys.readouterr().err


def test_class_is_read_as_the_target_is_and_needs_an_explanation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, wanted = tmp_path / "staff.csv", tmp_path / "out.csv"
    write(source, make_rows(5))
    arguments = ("predict", str(source), "-o", str(wanted), "--bundle", str(bundles / "two"), "--class")
    assert run(monkeypatch, definition(TWO), *arguments, "leaves") == 2
    assert "--class says whose probability is explained: it needs --explain N" in capsys.readouterr().err
    assert not wanted.exists()
    tables = []
    for spelling in ("leaves", " LEAVES"):
        assert run(monkeypatch, definition(TWO), *arguments, spelling, "--explain", "1") == 0
        tables.append(read(wanted))
    assert tables[0] == tables[1]


def test_evaluate_tells_scores_by_class_and_fairness_by_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = make_dataset(500, seed=40)
    rows = [dict(row) | {"left": TWO.keys[one]} for row, one in zip(dataset.rows, dataset.target, strict=True)]
    rows.append(rows[0] | {"left": "gone"})
    source = tmp_path / "labelled.csv"
    write(source, rows)
    arguments = ("--data", str(source), "--by", "site", "--bundle", str(bundles / "two"))
    assert run(monkeypatch, definition(TWO), "evaluate", *arguments, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["overall"]["n"] == 500
    assert found["overall"]["accuracy"] > 0.75
    assert [one["name"] for one in found["classes"]] == ["stays", "leaves"]
    assert np.sum(found["confusion"]) == 500
    assert {group["name"] for group in found["by"]["site"]} == {"north", "south", "west"}
    for group in found["by"]["site"]:
        for rate in ("selection", "false_positive", "false_negative", "coverage"):
            share, error = group[rate]
            assert 0 <= share <= 1
            assert 0 < error < 0.2
    assert found["failures"][0]["reason"] == "left: None of the classes stays, leaves."
    assert found["coverage"]["file"]["levels"][2]["overall"] == pytest.approx(0.9, abs=0.05)
    assert run(monkeypatch, definition(TWO), "evaluate", *arguments) == 0
    text = capsys.readouterr().out
    assert "log loss" in text
    assert "false positive" in text
    assert "±" in text


def test_show_names_the_scores(
    monkeypatch: pytest.MonkeyPatch, bundles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, definition(TWO), "show", "--bundle", str(bundles / "two")) == 0
    text = capsys.readouterr().out
    assert "log loss" in text
    assert "stays, leaves" in text


def test_no_row_scored_is_no_success(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "staff.csv"
    write(source, [{"hours": "much", "site": "north", "day": "2024-01-01"}] * 3)
    arguments = ("predict", str(source), "-o", str(tmp_path / "out.csv"), "--bundle", str(bundles / "two"))
    assert run(monkeypatch, definition(TWO), *arguments) == 1
    assert "No row could be scored" in capsys.readouterr().err
    assert len(read(tmp_path / "out.csv")) == 3
