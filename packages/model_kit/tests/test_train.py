from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import model_kit
import numpy as np
import pytest
from model_kit.errors import DataError, FloorError, IntervalError, SpecError
from model_kit.records.row_warnings import Contradiction
from model_kit.scoring.about import About
from model_kit.scoring.bundle import read_bundle
from model_kit.scoring.definition import Floors
from model_kit.scoring.installed import source_digest
from model_kit.scoring.intervals import REPORTED_LEVELS, Intervals
from model_kit.spec import Field, InputSpec, Level, Row
from model_kit.testing import TARGET, load_rides, ride_definition
from model_kit.training.dataset import Dataset
from model_kit.training.evaluation import fit
from model_kit.training.provenance import git_commit
from model_kit.training.reference import reference
from model_kit.training.train import doubtful_levels, train
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from card_schema import assert_described

#: Where the code of the definition of rides is.
SOURCE = Path(model_kit.__file__).parent
ABOUT = About(title="Rides", limits=("By day.",))


@pytest.fixture
def trained(tmp_path: Path, rides: Dataset) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path / "bundle"
    return folder, train(ride_definition(about=ABOUT), rides, folder)


def test_trained_bundle_predicts_what_scikit_learn_predicted(
    trained: tuple[Path, dict[str, Any]], rides: Dataset
) -> None:
    expected = fit(ride_definition(), rides.rows, rides.target).predict(rides.rows)
    found = load_rides(trained[0]).predict(rides.rows)
    np.testing.assert_allclose(found, expected, rtol=5e-6)
    np.testing.assert_allclose(found, rides.target, rtol=0.25)


def test_golden_row_is_scored_by_scikit_learn_before_the_export(
    trained: tuple[Path, dict[str, Any]], rides: Dataset
) -> None:
    golden = read_bundle(trained[0]).json("golden.json")
    expected = fit(ride_definition(), rides.rows, rides.target).predict([golden["row"]])[0]
    assert golden["prediction"] == expected
    load_rides(trained[0]).check()


def test_repair_has_the_last_word_on_the_golden_row(tmp_path: Path, rides: Dataset) -> None:
    definition = ride_definition(repair=lambda row: {**row, "passengers": 4})
    train(definition, rides, tmp_path / "bundle", cv=False)
    assert read_bundle(tmp_path / "bundle").json("golden.json")["row"]["passengers"] == 4


def test_card_tells_data_scores_and_libraries(trained: tuple[Path, dict[str, Any]], rides: Dataset) -> None:
    card = read_bundle(trained[0]).json("card.json")
    assert card == json.loads(json.dumps(trained[1]))
    assert_described(card)
    assert card["data"] == {"name": "rides by dice", "sha256": "0" * 64, "rows": 300, "synthetic": True}
    assert card["evaluated"] is True
    assert 0.9 < card["metrics"]["r2"] < 1
    assert 0.04 < card["metrics"]["rmse"] < 0.06
    assert 0 < card["metrics"]["mae"] < 3
    assert set(card["libraries"]) >= {"python", "numpy", "scikit-learn", "skl2onnx", "onnxruntime"}
    assert card["agreement"]["train"] <= 5e-6
    assert card["agreement"]["generated"] <= 5e-6
    assert card["run"]["git_commit"] == git_commit(SOURCE)


def test_card_is_of_this_model_and_this_run(trained: tuple[Path, dict[str, Any]]) -> None:
    card = trained[1]
    assert set(card) == {
        *("format", "model", "version", "data", "evaluated", "metrics", "runtime", "agreement", "graph"),
        *("cross_validation", "preprocessing", "imputation", "intervals", "coverage"),
        *("about", "performance", "target_distribution", "importance", "errors"),
        *("code_sha256", "kit_sha256", "libraries", "run"),
    }
    assert card["about"] == {"title": "Rides", "limits": ["By day."]}
    assert card["performance"]["overall"]["mae"] == pytest.approx(card["metrics"]["mae"])
    assert card["graph"] == {"folded": True, "nodes": 4, "reason": None}
    assert (card["format"], card["model"], card["version"]) == (1, "rides", "1.2.3")
    assert card["code_sha256"] == source_digest(SOURCE)
    assert card["kit_sha256"] == source_digest(Path(model_kit.__file__).parent)
    run = card["run"]
    assert set(run) == {"trained_at", "git_commit", "fit_seconds", "cv_seconds"}
    trained_at = datetime.fromisoformat(run["trained_at"])
    assert trained_at.utcoffset() == timedelta(0)
    assert trained_at.microsecond == 0
    assert abs(datetime.now(UTC) - trained_at) < timedelta(minutes=5)
    for seconds in (run["fit_seconds"], run["cv_seconds"]):
        assert seconds >= 0
        assert seconds == round(seconds, 3)


def test_durations_are_told_in_milliseconds(tmp_path: Path, rides: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, times in (("train", [10.0, 11.23456]), ("evaluation", [100.0, 107.98765])):
        clock = SimpleNamespace(perf_counter=iter(times).__next__)
        monkeypatch.setattr(f"model_kit.training.{module}.time", clock)
    run = train(ride_definition(), rides, tmp_path / "bundle")["run"]
    assert (run["fit_seconds"], run["cv_seconds"]) == (1.235, 7.988)


def test_reference_is_of_the_training_rows(trained: tuple[Path, dict[str, Any]], rides: Dataset) -> None:
    bundle = read_bundle(trained[0])
    spec = InputSpec.from_json(bundle.files["spec.json"])
    document = bundle.json("reference.json")
    predictions = document.pop("prediction")
    assert document == json.loads(json.dumps(reference(spec, rides.rows)))
    # The graph's predictions of rows that it did not see.
    assert sum(predictions["counts"]) == len(rides.rows)
    assert predictions["edges"] == sorted(predictions["edges"])
    assert len(predictions["edges"]) == 9


def test_reference_of_a_model_without_evaluation_has_no_predictions(tmp_path: Path, rides: Dataset) -> None:
    train(ride_definition(), rides, tmp_path / "bundle", cv=False)
    assert set(read_bundle(tmp_path / "bundle").json("reference.json")) == {"rows", "fields"}


def test_each_step_is_told(tmp_path: Path, rides: Dataset) -> None:
    told: list[str] = []
    train(ride_definition(), rides, tmp_path / "bundle", cv=False, report=told.append)
    assert told == [
        "Fitting on all 300 rows",
        "Exporting, and comparing the graph with scikit-learn",
        "The graph has 4 nodes",
        f"Wrote {tmp_path / 'bundle'} (artefact {read_bundle(tmp_path / 'bundle').artifact_sha256[:12]})",
    ]


def test_why_a_graph_is_not_folded_is_told(tmp_path: Path, rides: Dataset) -> None:
    told: list[str] = []
    definition = ride_definition(estimator=make_pipeline(Normalizer(), Ridge()))
    card = train(definition, rides, tmp_path / "bundle", cv=False, report=told.append)
    assert f"The graph has {card['graph']['nodes']} nodes; it could not be folded: no rule for Normalizer" in told


def test_training_twice_gives_the_same_artefact(
    tmp_path: Path, trained: tuple[Path, dict[str, Any]], rides: Dataset
) -> None:
    train(ride_definition(about=ABOUT), rides, tmp_path / "again")
    assert read_bundle(tmp_path / "again").artifact_sha256 == read_bundle(trained[0]).artifact_sha256


def test_bundle_without_cross_validation_is_marked_unevaluated(tmp_path: Path, rides: Dataset) -> None:
    card = train(ride_definition(), rides, tmp_path / "bundle", cv=False)
    assert card["evaluated"] is False
    assert card["metrics"] is None


@pytest.mark.parametrize(
    ("floors", "message"), [(Floors(r2=0.999, rmse=1), "R2 is 0.9"), (Floors(r2=0, rmse=0.01), "RMSE is 0.04")]
)
def test_model_below_the_floors_is_not_exported_and_the_old_bundle_stays(
    trained: tuple[Path, dict[str, Any]], rides: Dataset, floors: Floors, message: str
) -> None:
    before = read_bundle(trained[0]).artifact_sha256
    with pytest.raises(FloorError, match=message):
        train(ride_definition(floors=floors), rides, trained[0])
    assert read_bundle(trained[0]).artifact_sha256 == before


def test_bundle_holds_no_training_row(trained: tuple[Path, dict[str, Any]], rides: Dataset) -> None:
    text = b"".join(read_bundle(trained[0]).files.values()).decode(errors="replace")
    distances = {row["distance"] for row in rides.rows}
    facts = json.loads((trained[0] / "spec.json").read_text())["fields"][0]["learned"]
    learned = {facts["typical"], facts["low"], facts["high"], *facts["bins"]}
    numbers = set(re.findall(r"[\d.]+", text))
    assert sum(f"{distance}" in numbers for distance in distances - learned) < len(distances) / 20


def test_card_has_ranges_that_hold_and_the_distribution_of_the_target(
    trained: tuple[Path, dict[str, Any]], rides: Dataset
) -> None:
    card = read_bundle(trained[0]).json("card.json")
    assert card["intervals"]["rows"] == 300
    low, high = Intervals.from_card(card, TARGET)(rides.target, 0.9)
    # Noise of 0.05 on the log, of which 1.645 standard deviations hold 90 %.
    np.testing.assert_allclose(np.log(high / low) / 2, 1.645 * 0.05, rtol=0.3)
    for told, level in zip(card["coverage"]["levels"], REPORTED_LEVELS, strict=True):
        assert told["level"] == level
        assert told["overall"] == pytest.approx(level, abs=0.04)
    shares = card["target_distribution"]["shares"]
    assert (len(shares), len(card["target_distribution"]["edges"])) == (15, 16)
    assert sum(shares) == pytest.approx(1)


def test_card_has_errors_by_level(trained: tuple[Path, dict[str, Any]], rides: Dataset) -> None:
    errors = read_bundle(trained[0]).json("card.json")["errors"]
    zones = {group["level"]: group for group in errors["zone"]}
    assert sum(group["n"] for group in zones.values()) == 300
    assert zones["A"]["n"] == sum(row["zone"] == "A" for row in rides.rows)
    assert zones["A"]["rmse"] == pytest.approx(trained[1]["metrics"]["rmse"], rel=0.5)


def test_without_cross_validation_or_rows_enough_there_are_no_ranges(tmp_path: Path, rides: Dataset) -> None:
    few = replace(rides, ids=rides.ids[:39], rows=rides.rows[:39], target=rides.target[:39])
    for data, cv, why in ((rides, False, "without cross-validation"), (few, True, "evaluated on 39 rows")):
        card = train(ride_definition(), data, tmp_path / "bundle", cv=cv)
        assert (card["intervals"], card["coverage"]) == (None, None)
        assert (card["errors"] is None) is not cv
        with pytest.raises(IntervalError, match=why):
            Intervals.from_card(card, TARGET)


def test_groups_that_were_declared_are_in_the_spec(tmp_path: Path, rides: Dataset) -> None:
    definition = ride_definition(together=(("zone", "comfort"),))
    train(definition, rides, tmp_path / "bundle", cv=False)
    assert load_rides(tmp_path / "bundle").spec.together == (("zone", "comfort"),)


def test_contradiction_about_no_field_is_refused_before_anything_is_done(tmp_path: Path, rides: Dataset) -> None:
    definition = ride_definition(contradictions=(Contradiction("x", ("colour",), lambda _: None),))
    with pytest.raises(SpecError, match="^x: there is no field colour$"):
        train(definition, rides, tmp_path / "bundle")


def test_row_of_typical_values_must_not_contradict_itself(tmp_path: Path, rides: Dataset) -> None:
    definition = ride_definition(contradictions=(Contradiction("x", ("zone",), lambda row: f"in {row['zone']}"),))
    with pytest.raises(SpecError, match="^the row of typical values contradicts itself: in [AB]; repair has to"):
        train(definition, rides, tmp_path / "bundle", cv=False)


def test_levels_that_are_doubtful_are_told_by_column() -> None:
    levels = ["Gilbert"] * 3 + ["gilbert", "Veenker", "GILBERT", "Veenker"]
    fields = (
        Field("open", "category", ""),
        Field("documented", "category", "", levels=(Level("Gilbert", ""), Level("gilbert", ""), Level("GILBERT", ""))),
        Field("size", "number", ""),
    )
    rows: list[Row] = [{"open": level, "documented": level, "size": 1} for level in levels]
    case = (
        "'gilbert' (1) differs from 'Gilbert' (3) in case only; 'GILBERT' (1) differs from 'Gilbert' (3) in case only"
    )
    assert list(doubtful_levels(fields, [*rows, {"size": 2}])) == [
        f"open: {case}",
        f"documented: 2 of 8 rows have an undocumented level, such as 'Veenker'; {case}",
    ]


def test_training_ends_with_doubtful_levels(rides: Dataset, tmp_path: Path) -> None:
    rows = ({**rides.rows[0], "zone": "a"}, *rides.rows[1:])
    lines: list[str] = []
    train(ride_definition(), replace(rides, rows=rows), tmp_path / "bundle", cv=False, report=lines.append)
    n_rows = sum(row["zone"] == "A" for row in rows)
    expected = f"such as 'a'; 'a' (1) differs from 'A' ({n_rows}) in case only"
    assert lines[-1] == f"zone: 1 of 300 rows have an undocumented level, {expected}"


def test_field_without_a_value_in_any_row_is_refused_by_name(rides: Dataset, tmp_path: Path) -> None:
    rows = tuple({**row, "passengers": None, "comfort": None} for row in rides.rows)
    said = "rides by dice: no row has a value of passengers, comfort, so there is nothing to learn from it; take it out"
    with pytest.raises(DataError, match=said):
        train(ride_definition(), replace(rides, rows=rows), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
