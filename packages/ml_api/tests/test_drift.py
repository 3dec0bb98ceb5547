"""Drift: what is found, what is not, and how it is counted, stored, told and shown."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.reference import PREDICTION, Reference, load_reference
from model_kit.spec import Field, InputSpec, Row, Target, fit_spec
from model_kit.testing import REFERENCE_OF_RIDES, load_rides, write_ride_bundle
from model_kit.training.reference import reference, reference_predictions
from prometheus_client import CollectorRegistry, generate_latest
from scipy.stats import chi2
from sqlalchemy import text

from ml_api.cli.main import main
from ml_api.drift import live
from ml_api.drift.report import as_html, as_text, report
from ml_api.drift.statistics import (
    ALPHA,
    LIMIT,
    SHARE_LIMIT,
    Finding,
    judge,
    merged,
    psi,
    quantile,
    tail,
    verdict_of,
)
from ml_api.drift.store import Artifact, add, windows
from ml_api.drift.tally import DriftLog, Tally
from ml_api.metrics.drift import LATEST, DriftGauges
from ml_api.prediction_log.database import Database
from ml_api.prediction_log.retention import purge
from ml_api.settings import LogSettings

# The index and its threshold


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 10, 39])
@pytest.mark.parametrize("probability", [0.5, 1e-3, 1e-7, 1e-9])
def test_quantiles_are_those_of_scipy(degrees: int, probability: float) -> None:
    expected = chi2.isf(probability, degrees)
    assert quantile(probability, degrees) == pytest.approx(expected, rel=1e-7)
    assert tail(expected, degrees) == pytest.approx(probability, rel=1e-6)


def test_index_is_its_formula_with_half_a_row_in_each_cell() -> None:
    w, r = np.array([30.5, 70.5]) / 101, np.array([50.5, 50.5]) / 101
    assert psi([30, 70], [50, 50]) == pytest.approx(float(((w - r) * np.log(w / r)).sum()))
    assert psi([10, 0], [5, 5]) < math.inf
    assert psi([5, 5], [500, 500]) == pytest.approx(0)


def test_index_without_drift_is_spread_as_the_threshold_says() -> None:
    random = np.random.default_rng(1)
    shares = np.full(10, 0.1)
    found = [psi(*(random.multinomial(size, shares).tolist() for size in (300, 1460))) for _ in range(3000)]
    spread = 1 / 300 + 1 / 1460
    for probability in (0.5, 0.1, 0.01):
        beyond = np.mean(np.array(found) > spread * quantile(probability, 9))
        assert beyond == pytest.approx(probability, abs=4 * math.sqrt(probability * (1 - probability) / 3000))


def test_rare_bins_are_merged_with_their_neighbours() -> None:
    assert merged([1, 2, 3], [50, 50, 50], has_levels=False)[1] == [150]
    window, training, places = merged([30, 1, 2, 40], [40, 5, 8, 60], has_levels=False)
    assert (window, training, places) == ([30, 43], [40, 73], [0, -1])
    # What is enough in the reference may be too little in the window.
    assert merged([50, 50], [30, 970], has_levels=False)[1] == [1000]
    assert merged([500, 500], [30, 970], has_levels=False)[1] == [30, 970]


def test_rare_levels_are_merged_into_others() -> None:
    window, training, places = merged([500, 30, 300, 0], [60, 5, 40, 18], has_levels=True)
    assert (window, training, places) == ([500, 300, 30], [60, 40, 23], [0, 2, -1])
    # In a small window less is expected of each.
    assert merged([50, 3, 30, 0], [60, 5, 40, 18], has_levels=True)[1] == [60, 63]
    # An empty last cell is none.
    assert merged([50, 30, 0], [60, 40, 0], has_levels=True) == ([50, 30], [60, 40], [0, 1])


# A made model of 80 fields, half of them numbers, with ties, missing values and rare levels

N_TRAINING = 1460
LEVELS = [f"level {number}" for number in range(12)]
WIDE = tuple(
    Field(f"f{n}", "number" if n % 2 else ("integer", "category", "boolean", "category")[n // 2 % 4], "")
    for n in range(80)
)


def population(random: np.random.Generator, n: int) -> np.ndarray[Any, Any]:
    """Values of all fields, shape (n, 80); of categories the number of a level."""
    columns = []
    for number, field in enumerate(WIDE):
        if field.kind == "number":
            values = random.normal(size=n) if number % 3 else np.exp(random.normal(size=n)).round(1)
        elif field.kind == "integer":
            values = random.poisson(2 + number / 10, n).astype(float)
        elif field.kind == "category":
            shares = np.array([1 / (level + 1) ** (number % 3) for level in range(len(LEVELS))])
            values = random.choice(len(LEVELS), n, p=shares / shares.sum()).astype(float)
        else:
            values = (random.random(n) < number / 80).astype(float)
        if number % 5 == 0:
            values[random.random(n) < (0.002, 0.01, 0.05, 0.3)[number // 5 % 4]] = np.nan
        columns.append(values)
    return np.column_stack(columns)


def as_row(values: np.ndarray[Any, Any]) -> Row:
    kinds: dict[str, Callable[[float], Any]] = {
        "category": lambda one: LEVELS[int(one)],
        "boolean": bool,
        "integer": int,
    }
    return {
        field.name: kinds.get(field.kind, float)(value)
        for field, value in zip(WIDE, values.tolist(), strict=True)
        if not math.isnan(value)
    }


class Wide:
    """The made model, trained on a sample of a population, which windows are samples of too."""

    def __init__(self) -> None:
        random = np.random.default_rng(1)
        self._values = population(random, 50_000)
        rows = [as_row(self._values[place]) for place in random.integers(len(self._values), size=N_TRAINING)]
        self.spec = fit_spec(WIDE, Target("y"), rows)
        out_of_fold = random.normal(size=(2, N_TRAINING))
        document = reference(self.spec, rows) | reference_predictions(out_of_fold, out_of_fold[0], Target("y"))
        self.reference = Reference(document, self.spec)
        self.encoded = self.encode({field.name: self._values[:, place] for place, field in enumerate(WIDE)})

    def draw(self, random: np.random.Generator, n: int) -> dict[str, np.ndarray[Any, Any]]:
        """Values of new rows, by field."""
        found = self._values[random.integers(len(self._values), size=n)]
        return {field.name: found[:, place] for place, field in enumerate(WIDE)}

    def encode(self, values: Mapping[str, Any]) -> np.ndarray[Any, Any]:
        """As the encoder does, in a hundredth of its time."""
        columns = []
        for field in WIDE:
            column = values[field.name]
            if field.kind == "category":
                codes = self.spec.learned[field.name].codes or {}
                table = np.array([codes.get(level, -1) for level in LEVELS], float)
                column = np.where(np.isnan(column), np.nan, table[np.nan_to_num(column).astype(int)])
            columns.append(column)
        return np.column_stack(columns)

    def judge(self, encoded: np.ndarray[Any, Any], predictions: Any) -> dict[str, Finding]:
        counts = {name: found.tolist() for name, found in self.reference.count(encoded, predictions).items()}
        return {finding.name: finding for finding in judge(counts, self.reference)}


@pytest.fixture(scope="module")
def wide() -> Wide:
    return Wide()


@pytest.mark.parametrize("rows", [200, 1_000, 10_000])
def test_nothing_is_raised_without_drift(wide: Wide, rows: int) -> None:
    worst = 0.0
    for seed in range(100):
        random = np.random.default_rng(1000 + seed)
        window = wide.encoded[random.integers(len(wide.encoded), size=rows)]
        found = wide.judge(window, random.normal(size=rows))
        assert len(found) == 81
        assert [name for name, finding in found.items() if finding.verdict != "steady"] == []
        worst = max(worst, *(finding.excess for finding in found.values()))
    assert worst < 0.97


def test_shift_of_half_a_standard_deviation_is_named(wide: Wide) -> None:
    for seed in range(10):
        random = np.random.default_rng(seed)
        values = wide.draw(random, 1000)
        # A normal, a skewed one with ties, and an integer.
        for name in ("f1", "f3", "f8"):
            values[name] = values[name] + 0.5 * np.nanstd(values[name])
        found = wide.judge(wide.encode(values), random.normal(size=1000) + 0.5)
        assert {name for name, one in found.items() if one.verdict == "drifted"} == {"f1", "f3", "f8", PREDICTION}


@pytest.mark.parametrize(("field", "level"), [("f2", 1), ("f10", 1), ("f20", 1)])
def test_doubled_share_of_a_level_is_named(wide: Wide, field: str, level: int) -> None:
    for seed in range(10):
        random = np.random.default_rng(seed)
        values = wide.draw(random, 1000)
        (usual,) = [one for one in wide.reference.distributions if one.name == field]
        share = usual.counts[usual.labels.index(LEVELS[level] if "level 0" in usual.labels else "true")] / N_TRAINING
        assert share >= 0.08
        others = np.flatnonzero(values[field] != level)
        n_more = int(2 * share * 1000) - int((values[field] == level).sum())
        values[field][random.choice(others, n_more, replace=False)] = level
        found = wide.judge(wide.encode(values), random.normal(size=1000))
        assert {name for name, one in found.items() if one.verdict == "drifted"} == {field}


def test_missing_values_and_unknown_levels_are_named(wide: Wide) -> None:
    random = np.random.default_rng(1)
    encoded = wide.encode(wide.draw(random, 1000))
    encoded[:60, 1] = np.nan
    encoded[:60, 2] = -1
    encoded[:60, 3] = 1e6
    found = wide.judge(encoded, random.normal(size=1000))
    assert [name for name, one in found.items() if one.verdict == "drifted"] == ["f1", "f2", "f3"]
    reasons = {name: [check.what for check in found[name].checks if check.has_drifted] for name in ("f1", "f2", "f3")}
    assert reasons == {"f1": ["missing"], "f2": ["unknown"], "f3": ["unknown"]}
    assert (found["f1"].missing, found["f2"].unknown) == (0.06, 0.06)


# Cases


def small(field: Field, rows: list[Any], **document: Any) -> tuple[InputSpec, Reference]:
    table = [{"x": value} for value in rows]
    spec = fit_spec((field,), Target("y"), table)
    return spec, Reference(reference(spec, table) | document, spec)


def found_in(model: tuple[InputSpec, Reference], encoded: Sequence[float]) -> Finding:
    scores = np.zeros(len(encoded))
    counts = model[1].count(np.array(encoded, float).reshape(-1, 1), scores)
    return judge({name: one.tolist() for name, one in counts.items()}, model[1])[0]


NUMBER, CATEGORY, DATE = Field("x", "number", ""), Field("x", "category", ""), Field("x", "date", "")


def test_few_rows_are_not_judged() -> None:
    model = small(NUMBER, [float(n) for n in range(1000)])
    assert found_in(model, [999.0] * 49).verdict == "too few rows"
    assert found_in(model, [999.0] * 50).verdict == "drifted"
    assert found_in(model, []) == Finding("x", "too few rows", 0, cells=found_in(model, []).cells)


def test_constant_field_drifts_when_it_has_another_value() -> None:
    model = small(NUMBER, [5.0] * 1000)
    assert found_in(model, [5.0] * 200).verdict == "steady"
    changed = found_in(model, [5.0] * 100 + [6.0] * 100)
    assert (changed.verdict, changed.unknown) == ("drifted", 0.5)


def test_window_without_any_value_has_drifted_unless_training_had_none_either() -> None:
    model = small(NUMBER, [float(n) for n in range(1000)])
    found = found_in(model, [math.nan] * 200)
    assert (found.verdict, found.missing, found.distribution) == ("drifted", 1.0, None)
    # Few values that were few in training too: the distribution is not told from them.
    model = small(NUMBER, [float(n) for n in range(100)] + [None] * 900)
    assert found_in(model, [math.nan] * 180 + [50.0] * 20).verdict == "too few rows"
    model = small(NUMBER, [1.0, 2.0] + [None] * 998)
    assert found_in(model, [math.nan] * 200).verdict == "steady"


def test_value_that_was_often_missing_and_no_longer_is_has_drifted() -> None:
    model = small(CATEGORY, ["a"] * 700 + [None] * 300)
    assert [check.what for check in found_in(model, [1.0] * 200).checks if check.has_drifted] == ["missing"]


def test_new_levels_are_named_from_a_share_on() -> None:
    model = small(CATEGORY, ["a"] * 600 + ["b"] * 400)
    encoded = [1.0] * 600 + [2.0] * 400
    assert found_in(model, [*encoded, -1.0]).verdict == "steady"
    assert found_in(model, encoded + [-1.0] * 30).verdict == "drifted"


def test_levels_of_which_training_had_many_rare_ones_may_be_new() -> None:
    model = small(CATEGORY, ["a"] * 500 + [f"rare {number}" for number in range(500)])
    assert found_in(model, [1.0] * 500 + [0.0] * 200 + [-1.0] * 300).verdict == "steady"


def test_time_goes_on_which_is_no_drift() -> None:
    days = [f"2024-{1 + n % 12:02}-{1 + n % 28:02}" for n in range(1000)]
    model = small(DATE, days)
    found = found_in(model, [30000.0] * 200)
    assert (found.verdict, found.unknown) == ("steady", 1.0)
    assert found_in(model, [math.nan] * 200).verdict == "drifted"


def test_counts_of_other_cells_are_not_compared() -> None:
    model = small(NUMBER, [float(n) for n in range(1000)])
    assert judge({"x": [0, 0, 5]}, model[1]) == [Finding("x", "no reference", 0)]
    assert judge({}, model[1])[0].verdict == "no reference"
    assert verdict_of([]) == "no reference"
    assert verdict_of(judge({}, model[1])) == "no reference"


def test_threshold_is_the_larger_of_limit_and_quantile() -> None:
    model = small(NUMBER, [float(n) for n in range(1460)])
    checks = found_in(model, [float(n % 1460) for n in range(0, 1460, 14)]).checks
    assert [check.what for check in checks] == ["distribution", "missing", "unknown"]
    n = 105
    n_cells = 5  # each has 20 rows at least in the window
    expected = (1 / n + 1 / 1460) * chi2.isf(ALPHA / 3, n_cells - 1)
    assert checks[0].threshold == pytest.approx(expected)
    assert expected > LIMIT
    checks = found_in(model, [float(n % 1460) for n in range(100_000)]).checks
    assert (checks[0].threshold, checks[1].threshold) == (LIMIT, SHARE_LIMIT)


# Counting and storing


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(LogSettings(f"sqlite:///{tmp_path}/log.db"))
    database.migrate()
    return database


@pytest.fixture
def rides(tmp_path: Path) -> Predictor:
    write_ride_bundle(tmp_path / "rides", reference=REFERENCE_OF_RIDES)
    return Predictor(load_rides(tmp_path / "rides"))


RIDE = {"distance": 2.0, "zone": "A", "passengers": 1, "comfort": "1"}


def a_tally(rides: Predictor) -> Tally:
    known = load_reference(rides.model)
    assert known is not None
    tally = Tally(Artifact.of("rides", rides.model), known)
    rides.observe = tally.observe
    return tally


def test_what_is_scored_is_counted_alone_and_in_batches(database: Database, rides: Predictor) -> None:
    tally = a_tally(rides)
    for _ in range(5):
        rides([RIDE])
    rides([{"distance": "x"}])  # an error is not scored
    rides([RIDE | {"zone": "C", "passengers": None}] * 300)
    tally.write(database)
    (window,) = windows(database)
    assert (window.rows, window.artifact.model) == (305, "rides")
    assert window.artifact.sha256 == rides.model.lineage["artifact_sha256"]
    assert window.counts["zone"] == [0, 300, 5, 0, 0]
    assert window.counts["passengers"] == [300, 0, 5, 0, 0]
    assert window.counts["distance"] == [0, 0, 0, 305, 0, 0]
    assert sum(window.counts[PREDICTION]) == 305


def test_few_rows_are_not_written_alone(database: Database, rides: Predictor) -> None:
    tally = a_tally(rides)
    rides([RIDE] * 9)
    tally.write(database)
    assert windows(database) == []
    rides([RIDE])
    tally.write(database)
    assert [window.rows for window in windows(database)] == [10]


def test_what_cannot_be_written_is_kept(database: Database, rides: Predictor, tmp_path: Path) -> None:
    tally = a_tally(rides)
    rides([RIDE] * 20)
    with pytest.raises(Exception, match="no tables"):
        tally.write(Database(LogSettings(f"sqlite:///{tmp_path}/empty.db")))
    rides([RIDE] * 5)
    tally.write(database)
    assert [window.rows for window in windows(database)] == [25]


def test_threads_and_workers_lose_no_count(database: Database, rides: Predictor) -> None:
    tallies = [a_tally(rides) for _ in range(2)]

    def work(tally: Tally) -> None:
        for _ in range(30):
            tally.observe(np.array([[2.0, 1.0, 1.0, 1.0]] * 7), np.full(7, 15.0))
            tally.write(database)

    threads = [threading.Thread(target=work, args=(tally,)) for tally in tallies * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for tally in tallies:
        tally.observe(np.array([[2.0, 1.0, 1.0, 1.0]] * 10), np.full(10, 15.0))
        tally.write(database)
    (window,) = windows(database)
    assert window.rows == 4 * 30 * 7 + 20
    assert window.counts["distance"] == [0, 0, 0, 860, 0, 0]


ARTIFACT = Artifact("m", "1", "a" * 64)
NOW = datetime.now(UTC)


def test_windows_are_hours_of_one_artifact(database: Database) -> None:
    other = Artifact("m", "1", "b" * 64)
    for hours, artifact, rows in ((0, ARTIFACT, 10), (1, ARTIFACT, 20), (30, ARTIFACT, 40), (2, other, 80)):
        add(database, artifact, rows, {"x": [0, 0, rows]}, NOW - timedelta(hours=hours))
    add(database, ARTIFACT, 5, {"x": [0, 1, 4]}, NOW)
    assert [(one.artifact.sha256[0], one.rows) for one in windows(database)] == [("a", 75), ("b", 80)]
    assert [one.rows for one in windows(database, start=NOW - timedelta(hours=10))] == [35, 80]
    assert [one.rows for one in windows(database, rows=20)] == [35, 80]
    (window, _) = windows(database, rows=15)
    assert (window.rows, window.counts) == (15, {"x": [0, 1, 14]})
    assert window.end - window.start == timedelta(hours=1)
    assert windows(database, model="n") == []


def test_counts_of_an_earlier_code_with_other_cells_are_left_out(database: Database) -> None:
    add(database, ARTIFACT, 10, {"x": [0, 0, 10], "y": [0, 0, 10]}, NOW - timedelta(hours=1))
    add(database, ARTIFACT, 10, {"x": [0, 0, 5, 5], "y": [0, 0, 10]}, NOW)
    assert windows(database)[0].counts == {"x": [0, 0, 5, 5], "y": [0, 0, 20]}


def test_counts_end_with_the_retention(database: Database) -> None:
    for days in (0, 89, 91):
        add(database, ARTIFACT, 10, {"x": [10]}, NOW - timedelta(days=days))
    purge(database, 90)
    assert [window.rows for window in windows(database)] == [20]


# The report


def references_of(rides: Predictor) -> dict[Artifact, Reference]:
    known = load_reference(rides.model)
    assert known is not None
    return {Artifact.of("rides", rides.model): known}


def fill(database: Database, rides: Predictor, n: int, *, zone: str = "B") -> None:
    """Rides as in training, but for the zones."""
    tally = a_tally(rides)
    random = np.random.default_rng(3)
    rows = []
    for _ in range(n):
        row: dict[str, Any] = {"distance": float(random.choice([0.5, 2.0, 5.0, 20.0])), "zone": "A"}
        if random.random() < 0.2:
            row["zone"] = zone
        if random.random() < 0.9:
            row["passengers"] = int(random.choice([1, 2, 3], p=[0.5, 0.28, 0.22]))
        if random.random() < 0.8:
            row["comfort"] = str(random.choice(["1", "2"]))
        rows.append(row)
    rides(rows)
    tally.write(database)


def test_each_version_is_compared_with_its_own_reference(database: Database, rides: Predictor) -> None:
    fill(database, rides, 1000, zone="C")
    add(database, Artifact("rides", "0.9", "0" * 64), 100, {"zone": [0, 0, 50, 50, 0]})
    document = report(windows(database), references_of(rides))
    assert document["verdict"] == "drifted"
    own, old = sorted(document["models"], key=lambda model: -model["rows"])
    assert (old["verdict"], old["fields"]) == ("no reference", [])
    assert old["reason"].startswith("this version is not installed")
    worst = own["fields"][0]
    assert (worst["field"], worst["verdict"]) == ("zone", "drifted")
    assert any(reason.startswith("unknown 2") for reason in worst["drifted"])


def test_text_and_html_have_the_same_figures(database: Database, rides: Predictor) -> None:
    fill(database, rides, 1000, zone="C")
    document = report(windows(database), references_of(rides))
    told, html = as_text(document), as_html(document)
    worst = document["models"][0]["fields"][0]
    assert told.startswith("rides 1.2.3: drifted\n1,000 rows from ")
    assert f"{worst['unknown']:.1%}" in told
    assert f"<td>{worst['unknown']:.1%}</td>" in html
    assert html.count("<svg viewBox") == len([one for one in document["models"][0]["fields"] if len(one["cells"]) > 1])
    assert "prefers-color-scheme: dark" in html
    assert "<script" not in html


def test_names_from_outside_are_escaped(database: Database) -> None:
    add(database, Artifact("<b>", "1", ""), 10, {"x": [10]})
    html = as_html(report(windows(database), {}))
    assert "&lt;b&gt;" in html
    assert "<b>:" not in html


def test_model_that_was_not_evaluated_has_no_reference_of_predictions(database: Database, tmp_path: Path) -> None:
    old = {key: value for key, value in REFERENCE_OF_RIDES.items() if key != "prediction"}
    write_ride_bundle(tmp_path / "old", reference=old)
    rides = Predictor(load_rides(tmp_path / "old"))
    fill(database, rides, 1000)
    (model,) = report(windows(database), references_of(rides))["models"]
    assert model["verdict"] == "steady"
    assert model["reason"].startswith("no reference of predictions")


# The command


@pytest.fixture
def command(
    database: Database, rides: Predictor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str]]:
    monkeypatch.setenv("PREDICTION_LOG", str(tmp_path / "log.db"))
    monkeypatch.setattr("ml_api.models.registry.installed_models", lambda: {"rides": lambda: rides.model})

    def run(*arguments: str) -> int:
        return main(["drift", *arguments])

    return run  # type: ignore[return-value]


def test_command_says_by_its_status_whether_something_has_drifted(
    command: Any, database: Database, rides: Predictor, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command() == 1
    assert "there are no counts of any model in the prediction log for this window; models that have some: none" in (
        capsys.readouterr().err
    )
    fill(database, rides, 1000)
    assert command("--since", "1d") == 0
    assert "rides 1.2.3: steady" in capsys.readouterr().out
    fill(database, rides, 3000, zone="C")
    assert command("--json", "--html", str(tmp_path / "drift.html")) == 3
    assert json.loads(capsys.readouterr().out)["models"][0]["rows"] == 4000
    assert "<h2>rides 1.2.3: drifted</h2>" in (tmp_path / "drift.html").read_text()
    assert command("--model", "boats") == 1
    assert (
        "no counts of boats in the prediction log for this window; models that have some: rides"
        in capsys.readouterr().err
    )
    assert command("--rows", "0") == 1
    assert "--rows is 0" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        command("--rows", "5", "--since", "1d")


def test_command_tells_which_model_cannot_be_loaded(
    command: Any,
    database: Database,
    rides: Predictor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(database, rides, 100)

    def broken() -> None:
        raise RuntimeError("no bundle")

    monkeypatch.setattr("ml_api.models.registry.installed_models", lambda: {"rides": broken})
    assert command() == 0
    printed = capsys.readouterr()
    assert "rides 1.2.3: no reference" in printed.out
    assert "the model rides cannot be loaded: no bundle" in printed.err


def test_command_without_a_log_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drift"]) == 1
    assert "PREDICTION_LOG is not set" in capsys.readouterr().err


# Live


def scraped(folder: Path) -> str:
    registry = CollectorRegistry()
    registry.register(DriftGauges(folder))
    return generate_latest(registry).decode()


def test_one_worker_computes_and_all_show_it(database: Database, rides: Predictor, tmp_path: Path) -> None:
    fill(database, rides, 1000, zone="C")
    references = references_of(rides)
    assert scraped(tmp_path) == ""
    assert live.refresh(database, tmp_path, references)
    shown = scraped(tmp_path)
    assert 'ml_api_drift_window_rows{model="rides"} 1000.0' in shown
    assert 'ml_api_drift_drifted{field="zone",model="rides"} 1.0' in shown
    assert 'ml_api_drift_drifted{field="distance",model="rides"} 0.0' in shown
    assert 'ml_api_drift_missing_ratio{field="zone",model="rides"} 0.0' in shown
    assert 'ml_api_drift_psi{field="(prediction)",model="rides"}' in shown
    assert 'ml_api_drift_missing_ratio{field="(prediction)"' not in shown
    # It is not time yet.
    assert not live.refresh(database, tmp_path, references)
    os.utime(tmp_path / "drift.json", (0, time.time() - live.INTERVAL - 1))
    assert live.refresh(database, tmp_path, references)


def test_worker_that_computes_keeps_the_others_from_it_until_it_ends(
    database: Database, rides: Predictor, tmp_path: Path
) -> None:
    fill(database, rides, 100)
    references = references_of(rides)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        import fcntl

        descriptor = os.open(tmp_path / "drift.lock", os.O_CREAT | os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(writing, b"1")
        time.sleep(600)
    os.read(reading, 1)
    assert not live.refresh(database, tmp_path, references)
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert live.refresh(database, tmp_path, references)


def test_drift_that_nobody_has_computed_for_long_is_not_shown(
    database: Database, rides: Predictor, tmp_path: Path
) -> None:
    fill(database, rides, 100)
    live.refresh(database, tmp_path, references_of(rides))
    assert scraped(tmp_path)
    os.utime(tmp_path / "drift.json", (0, time.time() - LATEST - 1))
    assert scraped(tmp_path) == ""


def test_counts_are_written_by_a_thread_that_survives_failures(
    rides: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr("ml_api.drift.tally.WRITE_INTERVAL", 0.02)
    database = Database(LogSettings(f"sqlite:///{tmp_path}/log.db"))
    refreshed: list[Any] = []
    drift = DriftLog(database, {"rides": rides}, refreshed.append)
    rides([RIDE] * 20)
    wait_for(lambda: any("are not written" in line["message"] for line in log))
    assert not refreshed
    database.migrate()
    wait_for(lambda: bool(refreshed) and [window.rows for window in windows(database)] == [20])
    wait_for(lambda: any("are written again" in line["message"] for line in log))
    rides([RIDE] * 30)
    drift.close(10)
    assert [window.rows for window in windows(database)] == [50]
    assert sum("are not written" in line["message"] for line in log) == 1


def wait_for(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_model_whose_reference_cannot_be_read_is_served_all_the_same(
    rides: Predictor, database: Database, log: list[dict[str, Any]]
) -> None:
    rides.model.__dict__["reference"] = {"fields": {"zone": {}}}
    DriftLog(database, {"rides": rides}).close(1)
    assert rides.observe is None
    assert "drift is not told" in log[-1]["message"]
    assert rides([RIDE]).errors == {}


def test_tables_hold_no_record(database: Database, rides: Predictor) -> None:
    fill(database, rides, 100)
    with database.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM predictions")) == 0
        (row,) = connection.execute(text("SELECT * FROM drift_counts")).mappings()
    assert set(row) == {"hour", "model", "version", "artifact_sha256", "rows", "counts"}
    assert set(json.loads(row["counts"])) == {"distance", "passengers", "zone", "comfort", PREDICTION}
