"""Two models compared and judged, and what people and machines see of it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit.comparison import html, run, text
from model_kit.comparison.gate import read_gate
from model_kit.comparison.run import Comparison, Data, compare
from model_kit.comparison.scorer import Scorer
from model_kit.comparison.sources import Package, find
from model_kit.errors import DataError
from model_kit.scoring.bundle import GOLDEN, SPEC, dump_json, write_bundle
from model_kit.scoring.definition import Floors
from model_kit.spec import Field, InputSpec, Learned, Level, Target
from model_kit.testing import FIELDS, GOLDEN_PREDICTION, GOLDEN_ROW, LEARNED, ride_files

Rides = Callable[..., Path]

N_ROWS = 500
FLOORS = Floors(r2=0.5, rmse=0.5)
PACKAGE = Package("rides-model", "model_kit.testing:load_rides")
RIDES = "distance,zone,comfort\n2,A,2\n8,B,1\nfar,A,2\n"
#: All checks of a comparison of two bundles; their names are what reviewed entries use.
CHECKS = [
    "floor.golden_row",
    "floor.r2",
    "floor.rmse",
    "floor.evaluated",
    "floor.real_data",
    "difference.median",
    "difference.p90",
    "difference.p99",
    "difference.max",
    "difference.share",
    "rows.compared",
    "rows.newly_failing",
    "metric.rmse",
    "metric.r2",
    "metric.removed",
    "data.sha256",
    "data.rows",
    "spec.breaking",
    "size.bundle",
    "latency.one_row",
    "latency.thousand_rows",
]


@pytest.fixture(scope="module")
def running() -> Iterator[Callable[[Path], Scorer]]:
    """A function that runs a bundle or wheel; each once."""
    scorers: dict[Path, Scorer] = {}
    with ExitStack() as stack:

        def start(path: Path) -> Scorer:
            if path not in scorers:
                source = find(str(path), PACKAGE, path.parent / "unpacked", {})
                assert source is not None
                scorers[path] = stack.enter_context(closing(Scorer(source)))
            return scorers[path]

        yield start


@pytest.fixture(scope="module")
def live(write_rides: Rides) -> Path:
    """What is live."""
    return write_rides()


@pytest.fixture(autouse=True)
def fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rides have four fields: a tenth of the rows says as much."""
    monkeypatch.setattr(run, "N_GENERATED", N_ROWS)


@pytest.fixture
def rides(tmp_path: Path) -> Data:
    """A few rows that every model here takes: what is about the models takes no more."""
    path = tmp_path / "few.csv"
    path.write_text("distance,passengers,zone,comfort\n2,2,A,2\n8,4,B,1\n")
    return Data(str(path))


@pytest.fixture
def judged(live: Path, running: Callable[[Path], Scorer], write_gate: Callable[..., Path]) -> Callable[..., Comparison]:
    """A function that compares a model with what is live."""

    def judge(new: Path, entry: str = "", *, old: Path | None = live, data: Data | None = None) -> Comparison:
        gate = read_gate(write_gate(entry))
        return compare(running(old) if old else None, running(new), gate, FLOORS, data or Data())

    return judge


def beyond(comparison: Comparison) -> list[str]:
    return [check["name"] for check in comparison.document["checks"] if check["status"] == "beyond"]


def check(comparison: Comparison, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in comparison.document["checks"] if entry["name"] == name)
    return found


def test_a_model_that_says_the_same_passes(judged: Callable[..., Comparison], live: Path) -> None:
    comparison = judged(live)
    document = comparison.document
    assert comparison.passed
    assert [entry["name"] for entry in document["checks"]] == CHECKS
    assert document["differences"]["max"] == 0.0
    assert document["data"]["rows"] == {
        "total": N_ROWS,
        "compared": N_ROWS,
        "only_old": 0,
        "only_new": 0,
        "neither": 0,
    }
    assert document["notes"][0] == "Both are the same artefact."
    assert len(comparison.old) == N_ROWS


def test_predictions_beyond_a_threshold_are_stopped(judged: Callable[..., Comparison], write_rides: Rides) -> None:
    comparison = judged(write_rides(1.03))
    assert not comparison.passed
    assert beyond(comparison) == ["difference.median"]
    assert comparison.document["differences"]["median"] == pytest.approx(0.03)
    assert comparison.document["differences"]["signed_median"] == pytest.approx(0.03)
    assert np.allclose(comparison.new, comparison.old * 1.03)
    comparison = judged(write_rides(0.7))
    assert beyond(comparison) == [f"difference.{name}" for name in ("median", "p90", "p99", "max", "share")]
    assert comparison.document["worst"][0]["difference"] == pytest.approx(-0.3)


ONE_ZONE = LEARNED | {"zone": Learned(0.0, "A", codes={"A": 1})}
STRICT = tuple(replace(field, required=True) if field.name == "comfort" else field for field in FIELDS)
NARROW = tuple(replace(field, minimum=2) if field.name == "passengers" else field for field in FIELDS)


@pytest.mark.parametrize(
    ("changes", "stopped"),
    [
        ({"metrics": {"r2": 0.88, "rmse": 0.1}}, ["metric.r2"]),
        ({"metrics": {"r2": 0.9, "rmse": 0.106}}, ["metric.rmse"]),
        ({"metrics": {"r2": 0.95, "rmse": 0.05}}, []),
        ({"metrics": {"r2": 0.9, "rmse": 0.1, "mae": 3.0}}, []),
        ({"data": {"name": "x", "sha256": "b" * 64, "rows": 100, "synthetic": False}}, ["data.sha256"]),
        ({"data": {"name": "x", "sha256": "a" * 64, "rows": 99, "synthetic": False}}, ["data.rows"]),
        ({"data": {"name": "x", "sha256": "a" * 64, "rows": 500, "synthetic": False}}, []),
        ({"data": {"name": "x", "sha256": "a" * 64, "rows": 100, "synthetic": True}}, ["floor.real_data"]),
        ({"metrics": {"r2": 0.4, "rmse": 0.1}}, ["floor.r2", "metric.r2"]),
        ({"metrics": {"r2": 0.9, "rmse": 0.6}}, ["floor.rmse", "metric.rmse"]),
        (
            {"evaluated": False, "metrics": None},
            ["floor.r2", "floor.rmse", "floor.evaluated", "metric.rmse", "metric.r2", "metric.removed"],
        ),
        ({"golden": 1.1}, ["floor.golden_row"]),
        ({"fields": NARROW}, ["spec.breaking", "spec.version"]),
        ({"fields": NARROW, "version": "2.0.0"}, ["spec.breaking"]),
        ({"notes": "x" * 9000}, ["size.bundle"]),
    ],
)
def test_what_else_is_beyond_a_threshold_is_stopped(
    changes: dict[str, Any], stopped: list[str], judged: Callable[..., Comparison], write_rides: Rides, rides: Data
) -> None:
    comparison = judged(write_rides(**changes), data=rides)
    assert beyond(comparison) == stopped
    assert comparison.passed is not bool(stopped)


def test_a_metric_that_is_gone_is_stopped_by_name(judged: Callable[..., Comparison], write_rides: Rides) -> None:
    old = write_rides(metrics={"r2": 0.9, "rmse": 0.1, "bias": 3.0})
    comparison = judged(write_rides(), old=old)
    assert beyond(comparison) == ["metric.removed"]
    assert check(comparison, "metric.removed")["value"] == ["bias"]


def test_a_level_lost_is_named_and_accepted_by_name(judged: Callable[..., Comparison], write_rides: Rides) -> None:
    new = write_rides(learned=ONE_ZONE, version="2.0.0")
    comparison = judged(new)
    assert beyond(comparison) == ["spec.breaking"]
    assert check(comparison, "spec.breaking")["value"] == ["zone:level:B"]
    spec = comparison.document["spec"]
    assert spec["verdict"] == "breaking"
    assert spec["changes"][0] == {
        "id": "zone:level:B",
        "text": "zone: the level B was known, is scored as unknown",
        "breaking": True,
    }
    entry = """
[[accepted]]
from = "1.2.3"
to = "2.0.0"
reason = "B is no tariff zone any more"
by = "Ada"
on = 2026-01-31
checks = { spec.breaking = ["zone:level:B"], data.rows = 50 }
"""
    comparison = judged(new, entry)
    assert comparison.passed
    accepted = check(comparison, "spec.breaking")
    assert accepted["status"] == "accepted"
    assert accepted["accepted"] == {
        "from": "1.2.3",
        "to": "2.0.0",
        "limit": ["zone:level:B"],
        "reason": "B is no tariff zone any more",
        "by": "Ada",
        "on": "2026-01-31",
    }
    assert comparison.document["stale_entries"] == [
        "the entry from 1.2.3 to 2.0.0 (Ada, 2026-01-31): data.rows needs no acceptance here"
    ]
    told = text.report(comparison.document)
    assert "Ada, 2026-01-31, up to zone:level:B: B is no tariff zone any more" in told
    assert "stale: the entry" in told
    assert ", 1 accepted by a reviewed entry" in told.splitlines()[0]


@pytest.mark.parametrize(
    ("old", "new", "passes"),
    [
        ("1.9.0", "2.0.0", True),
        ("1.9.0", "2.0.0+abc123", True),
        ("1.9.0+abc123", "1.10.0", False),
        ("1.9.0", "1.9.0+abc123", False),
        ("0.3.0", "0.4.0", False),
        ("0.3.0", "1.0.0", True),
    ],
)
def test_a_breaking_change_needs_a_new_major_version_even_if_it_is_accepted(
    old: str,
    new: str,
    passes: bool,
    judged: Callable[..., Comparison],
    write_rides: Rides,
    make_wheel: Rides,
    rides: Data,
) -> None:
    entry = f"""
[[accepted]]
from = "{old}"
to = "{new}"
reason = "B is no tariff zone any more"
by = "Ada"
on = 2026-01-31
checks = {{ spec.breaking = ["zone:level:B"] }}
"""
    before, after = make_wheel(write_rides(), old), make_wheel(write_rides(learned=ONE_ZONE), new)
    comparison = judged(after, entry, old=before, data=rides)
    assert check(comparison, "spec.breaking")["status"] == "accepted"
    assert check(comparison, "spec.version")["status"] == ("within" if passes else "beyond")


def test_an_identical_spec_needs_no_new_version(judged: Callable[..., Comparison], live: Path, rides: Data) -> None:
    comparison = judged(live, data=rides)
    assert comparison.document["spec"] == {"verdict": "identical", "changes": []}
    assert "spec  identical\n" in text.report(comparison.document)
    assert "<p>Spec: identical</p>" in html.page(comparison)


def test_targets_around_zero_are_compared_relative_to_their_spread(
    judged: Callable[..., Comparison], tmp_path: Path
) -> None:
    def degrees(name: str, offset: float, **card: Any) -> Path:
        spec = InputSpec(FIELDS, LEARNED, Target("temperature", "", "identity", offset))
        golden = {"row": GOLDEN_ROW, "prediction": math.log(GOLDEN_PREDICTION) - 2.5 + offset}
        data = {"name": "rides.csv", "sha256": "a" * 64, "rows": 100, "synthetic": False}
        files = ride_files(**{"data": data, "metrics": {"r2": 0.75, "rmse": 0.3}} | card)
        write_bundle(tmp_path / name, files | {SPEC: spec.to_json().encode(), GOLDEN: dump_json(golden)})
        return tmp_path / name

    old = degrees("old", -1.0)
    comparison = judged(degrees("new", -0.994), old=old)
    assert comparison.passed
    assert comparison.old.min() < 0 < comparison.old.max()
    differences = comparison.document["differences"]
    assert differences["spread"] == pytest.approx(0.6)
    # Never more than 0.006 of the spread of 0.6, however near to 0 a prediction is.
    assert differences["max"] == pytest.approx(0.01)
    assert np.allclose(comparison.differences, 0.006 / np.maximum(abs(comparison.old), 0.6))
    assert "(new - old) / max(|old|, 0.6)" in html.page(comparison)
    assert "old model: temperature</text>" in html.page(comparison)
    worse = judged(degrees("worse", -1.0, metrics={"r2": -0.1, "rmse": 0.3}), old=old)
    assert beyond(worse) == ["floor.r2", "metric.r2"]


def test_rows_that_only_the_old_model_takes_are_stopped(
    judged: Callable[..., Comparison], write_rides: Rides, tmp_path: Path
) -> None:
    path = tmp_path / "rides.csv"
    path.write_text("distance,zone,comfort\n2,A,2\n8,B,\n3,B,NA\n1,A,1\n")
    comparison = judged(write_rides(fields=STRICT), data=Data(str(path)))
    assert beyond(comparison) == ["rows.compared", "rows.newly_failing", "spec.breaking", "spec.version"]
    assert comparison.document["data"]["rows"]["only_old"] == 2


def test_models_with_no_row_in_common_are_stopped(
    judged: Callable[..., Comparison], write_rides: Rides, tmp_path: Path
) -> None:
    path = tmp_path / "rides.csv"
    path.write_text("distance,zone,comfort\n2,A,\n")
    comparison = judged(write_rides(fields=STRICT), data=Data(str(path)))
    assert {f"difference.{name}" for name in ("median", "p90", "p99", "max", "share")} <= set(beyond(comparison))
    assert comparison.document["latency"] is None
    assert comparison.document["differences"] is None
    assert "not known" in text.report(comparison.document)
    assert "<svg" not in html.page(comparison)


def test_a_table_is_scored_as_predict_reads_it(
    judged: Callable[..., Comparison], write_rides: Rides, tmp_path: Path
) -> None:
    path = tmp_path / "rides.csv"
    path.write_text(RIDES)
    comparison = judged(write_rides(1.01), data=Data(str(path)))
    data = comparison.document["data"]
    assert (data["source"], data["name"], data["seed"]) == ("file", "rides.csv", None)
    assert data["rows"] == {"total": 3, "compared": 2, "only_old": 0, "only_new": 0, "neither": 1}
    assert comparison.old.tolist() == pytest.approx(
        [math.exp(2.5 + 2 / 8 + 1 / 16 + 2 / 32), math.exp(2.5 + 1 + 1 / 16 - 1 / 4 + 1 / 32)]
    )
    # Whose data this is, nobody knows: where the rows are is told, not what is in them.
    assert [row["row"] for row in comparison.document["worst"]] in ([2, 3], [3, 2])
    assert all("value" not in fact for row in comparison.document["worst"] for fact in row["unusual"])


def test_a_table_without_rows_is_unusable(judged: Callable[..., Comparison], live: Path, tmp_path: Path) -> None:
    path = tmp_path / "rides.csv"
    path.write_text("distance,zone\n")
    with pytest.raises(DataError, match=r"rides\.csv: has no row"):
        judged(live, data=Data(str(path)))


@pytest.mark.parametrize("better", [True, False])
def test_without_a_previous_version_the_floors_alone_judge(
    better: bool, judged: Callable[..., Comparison], write_rides: Rides
) -> None:
    comparison = judged(write_rides(metrics={"r2": 0.9 if better else 0.3, "rmse": 0.1}), old=None)
    assert comparison.passed is better
    assert [entry["name"] for entry in comparison.document["checks"]] == CHECKS[:5]
    assert comparison.document["old"] is None
    told = text.report(comparison.document)
    assert "old   none" in told
    assert "There is no previous version on the index: nothing to compare with, only the floors are checked." in told
    assert "There is no previous version" in html.page(comparison)


def test_model_without_declared_floors_must_reproduce_its_golden_row_be_evaluated_and_know_real_data(
    running: Callable[[Path], Scorer], write_gate: Callable[..., Path], write_rides: Rides
) -> None:
    synthetic = {"name": "x", "sha256": "a" * 64, "rows": 100, "synthetic": True}
    bundle = write_rides(evaluated=False, metrics=None, golden=1.1, data=synthetic)
    comparison = compare(None, running(bundle), read_gate(write_gate("")), None, Data())
    assert beyond(comparison) == ["floor.golden_row", "floor.evaluated", "floor.real_data"]


def test_another_model_and_a_damaged_old_one_are_unusable(
    judged: Callable[..., Comparison], write_rides: Rides
) -> None:
    with pytest.raises(DataError, match="these are two models, not two versions: rides and boats"):
        judged(write_rides(model="boats"))
    with pytest.raises(DataError, match="the golden row scores .*; it cannot stand for what is live"):
        judged(write_rides(), old=write_rides(golden=1.1))


def test_wheels_are_compared_by_their_own_code_and_size(
    judged: Callable[..., Comparison], write_rides: Rides, make_wheel: Rides
) -> None:
    bundle = write_rides()
    old, new = make_wheel(bundle, "1.2.0"), make_wheel(bundle, "1.3.0", 1.5)
    comparison = judged(new, old=old)
    assert comparison.document["differences"]["median"] == pytest.approx(0.5)
    assert check(comparison, "size.wheel")["status"] == "within"
    sides = [comparison.document[side] for side in ("old", "new")]
    assert [side["version"] for side in sides] == ["1.2.0", "1.3.0"]
    assert {side["scored_by"] for side in sides} == {"its own code"}
    assert "  wheel " in text.report(comparison.document)


def test_of_a_development_version_it_is_said_and_not_judged_that_it_is_no_release(
    judged: Callable[..., Comparison], write_rides: Rides, make_wheel: Rides
) -> None:
    synthetic = {"name": "made", "sha256": "a" * 64, "rows": 100, "synthetic": True}
    bundle = write_rides(evaluated=False, metrics=None, data=synthetic)
    comparison = judged(make_wheel(bundle, "1.3.0+abc"), old=None)
    assert comparison.passed
    assert "The new model was not evaluated." in comparison.document["notes"]
    assert "The new model was trained on synthetic data: its predictions mean nothing." in comparison.document["notes"]
    assert not judged(make_wheel(bundle, "1.3.0"), old=None).passed


class Page(HTMLParser):
    """Elements and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in {"meta", "br", "circle", "path", "line"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in {"circle", "path", "line"}:
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_report_shows_all_and_needs_nothing_from_outside(
    judged: Callable[..., Comparison], write_rides: Rides
) -> None:
    swapped = LEARNED | {"zone": Learned(0.0, "A", codes={"A": 2, "B": 1})}
    comparison = judged(write_rides(fields=NARROW, learned=swapped))
    source = html.page(comparison)
    page = Page(source)
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object", "a", "form", "base", "use", "image"} & set(page.tags)
    assert not {"src", "href", "xlink:href", "srcset", "action", "onload"} & {name for name, _ in page.attributes}
    assert not re.search(r"https?:|//|url\(|@import", source.replace("<!doctype html>", ""))
    assert "default-src 'none'" in source
    assert "prefers-color-scheme: dark" in source
    shown = " ".join(page.texts)
    for heading in (
        "Checks",
        "Changes of the spec",
        "Predictions, old and new",
        "Where they differ",
        "Worst rows",
        "Metrics of the cards",
        "Size and speed",
    ):
        assert heading in shown
    assert "STOPPED" in shown
    assert "passengers:minimum:2" in shown
    assert comparison.document["by_field"][0]["field"] == "zone"
    assert re.search(r"^  zone +\d+% +28.40% B +22.12% A$", text.report(comparison.document), re.MULTILINE)
    # One dot for each place where a row is, all of them far from the line; ten circles.
    dots = re.search(r'class="far" d="([^"]+)"', source)
    assert dots
    assert 300 < dots[1].count("M") <= N_ROWS
    assert 'class="near" d=""' in source
    assert page.tags.count("circle") == 10


def test_the_report_escapes_whatever_it_is_given(judged: Callable[..., Comparison], write_rides: Rides) -> None:
    evil = '<script>alert("1")</script>&'
    data = {"name": evil, "sha256": "a" * 64, "rows": 100, "synthetic": False}
    zone = replace(FIELDS[2], levels=(Level(evil, evil), *FIELDS[2].levels))
    learned = LEARNED | {"zone": Learned(0.0, "A", codes={"A": 1, evil: 2, "B": 3})}
    fields = (*FIELDS[:2], zone, FIELDS[3])
    old = write_rides(data=data, fields=fields, learned=learned)
    entry = f"""
[[accepted]]
from = "1.2.3"
to = "1.2.3"
reason = '{evil}'
by = '{evil}'
on = 2026-01-31
checks = {{ spec.breaking = ['zone:level:{evil}'], data.rows = 3 }}
"""
    comparison = judged(write_rides(1.01, data=data, metrics={"r2": 0.9, "rmse": 0.1, evil: 1.0}), entry, old=old)
    source = html.page(comparison)
    assert Page(source).open == []
    assert "<script" not in source
    assert "alert(" in "".join(Page(source).texts)
    assert source.count("&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;&amp;") >= 6


def test_what_is_infinite_is_told_in_json_as_a_text(judged: Callable[..., Comparison], write_rides: Rides) -> None:
    old, new = write_rides(metrics={"r2": 0.9, "rmse": 0.0}), write_rides()
    comparison = judged(new, old=old)
    assert check(comparison, "metric.rmse")["value"] == "inf"
    assert "Infinity" not in json.dumps(comparison.document, allow_nan=False)
    assert "inf" in text.report(comparison.document)
    assert check(judged(old, old=old), "metric.rmse")["value"] == 0.0


def test_the_table_tells_people_what_is_in_the_document(judged: Callable[..., Comparison], write_rides: Rides) -> None:
    comparison = judged(write_rides(1.03))
    told = text.report(comparison.document)
    assert told.startswith("STOPPED: 1 of 21 checks beyond their limits\n")
    assert re.search(
        r"^BEYOND +difference.median +half of the rows differ by at most +3.00% +at most 2.00%$", told, re.MULTILINE
    )
    assert re.search(r"^ok +data.sha256 +training data +aaaaaaaaaaaa +aaaaaaaaaaaa$", told, re.MULTILINE)
    assert re.search(r"^ok +latency.one_row .* \d+\.\d\d x +at most 50.00 x$", told, re.MULTILINE)
    assert re.search(r"^  rmse +0\.1 +0\.1 +0\.00%  lower is better$", told, re.MULTILINE)
    assert re.search(
        r"^rows  generated from the new model's spec, seed 20240: 500 rows, 500 scored by both$", told, re.MULTILINE
    )
    assert re.search(r"^  1,000 rows, median +[\d.]+ ms +[\d.]+ ms$", told, re.MULTILINE)


def test_changes_of_the_spec_are_shown_with_a_verdict_breaking_ones_first(
    judged: Callable[..., Comparison], write_rides: Rides, make_wheel: Rides, rides: Data
) -> None:
    tip = Field("tip", "number", "Tip")
    learned = LEARNED | {"tip": Learned(0.0, 1.0, 0.0, 2.0)}
    many = learned | {"zone": Learned(0.0, "A", codes={"A": 1, "B": 2} | {f"Z{n}": 3 for n in range(25)})}
    # Whoever has another field has other code as well: this one leaves it alone.
    more = "\n\nrides = derive\n\n\ndef derive(encoded):\n    return rides(encoded[:, :4])\n"
    old = make_wheel(write_rides(learned=many, fields=(*FIELDS, tip)), "1.2.0", more=more)
    new = make_wheel(write_rides(learned=learned, fields=(*FIELDS, tip)), "1.3.0", more=more)
    comparison = judged(new, old=old, data=rides)
    told = text.report(comparison.document)
    assert "spec  breaking: 25 of 26 changes\n" in told
    assert re.search(
        r"\n  zone: the level Z19 was known, is scored as unknown +breaking +zone:level:Z19\n  and 6", told
    )
    assert re.search("spec.breaking +breaking changes of the spec +25 +none$", told, re.MULTILINE)
    assert check(comparison, "spec.version")["note"] == (
        "the spec has breaking changes: raise the version from 1.2.0 to 2.0.0 or higher"
    )
    assert "  spec.version: the spec has breaking changes: raise the version from 1.2.0 to 2.0.0 or higher" in told
    comparison = judged(new, data=rides)
    changes = comparison.document["spec"]["changes"]
    assert comparison.document["spec"]["verdict"] == "compatible"
    assert changes == [{"id": "tip:added", "text": "tip is new and optional", "breaking": False}]
    assert re.search(
        r"^  tip is new and optional +compatible +tip:added$", text.report(comparison.document), re.MULTILINE
    )
    assert "Spec: compatible: 1 change, clients need none" in html.page(comparison)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0.00%"), (0.0004, "0.040%"), (-0.25, "-25.00%"), ("inf", "inf"), (None, "not known")],
)
def test_shares_are_told_with_the_digits_that_matter(value: object, shown: str) -> None:
    assert text.percent(value) == shown
