"""The benchmark's own conscience: when a run is void, what is made of wrk's words, how figures become tables."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_kit.records.generation import NEVER_SEEN, generate_rows
from model_kit.records.validation import Validator
from model_kit.scoring.bundle import CARD, SPEC, read_bundle
from model_kit.scoring.model import BundleModel
from model_kit.spec import InputSpec
from model_kit.testing import SPEC_OF_RIDES, write_ride_bundle
from regression_model import DEFINITION
from regression_model.derive import derive

import batch
import bench
import bodies
import generator
import instructions
import load
import memory
import prepare
import report
import servers
import workloads
from generator import Load, VoidError
from project import ROOT, Package, ScriptError
from service import install_houses
from workloads import BARE, CONSTANT, MODERN, NAIVE, OURS

PATH = "/v1/predict/regression"
needs_wrk = pytest.mark.skipif(not (shutil.which("wrk") and shutil.which("cc")), reason="needs wrk and a C compiler")

REPORT = """Running 1s test @ http://127.0.0.1:1/
  1 threads and 2 connections
@requests 4
@microseconds 1000000
@error connect 0
@error timeout 0
@status 200 4
@latency 90 1
@latency 100 2
@latency 110 1
"""


def test_what_wrk_reports_is_read() -> None:
    found = generator.read(REPORT, connections=2)
    assert found == Load(1.0, {200: 4}, {90: 1, 100: 2, 110: 1})
    assert found.rate == 4
    assert [found.quantile(share) for share in (0.25, 0.5, 0.75, 0.99)] == [0.09, 0.1, 0.1, 0.11]


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("@status 200 4", "@status 200 3\n@status 500 1", "500: 1"),
        ("@status 200 4", "@status 422 4", "every answer must be 200"),
        ("@status 200 4", "@status 200 3", "4 requests, 3 answers"),
        ("@error timeout 0", "@error timeout 1", "connections failed: {'timeout': 1}"),
        ("@requests 4", "@requests 0", "nothing was answered"),
        ("@latency 110 1", "", "3 latencies"),
    ],
)
def test_a_run_with_one_wrong_answer_is_void(old: str, new: str, word: str) -> None:
    with pytest.raises(VoidError, match=word.replace("{", r"\{")):
        generator.read(REPORT.replace(old, new), connections=2)


def test_bad_records_must_be_answered_by_422() -> None:
    text = REPORT.replace("@status 200", "@status 422")
    assert generator.read(text, connections=2, expected=422).statuses == {422: 4}


@given(
    st.dictionaries(st.integers(1, 400), st.integers(1, 5), min_size=1, max_size=40),
    st.integers(1, 100),
)
def test_the_latencies_that_wrk_makes_up_are_taken_back(measured: dict[int, int], interval: int) -> None:
    corrected = Counter(measured)
    for latency in range(2 * interval, max(measured) + 1):  # as wrk's stats_correct() does it
        count, made_up = corrected[latency], latency - interval
        while count and made_up > interval:
            corrected[made_up] += count
            made_up -= interval
    assert generator.uncorrected(corrected.items(), interval) == dict(sorted(measured.items()))


def test_what_cannot_be_installed_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    generator.install({"sh": ("dash",)})
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ScriptError, match="on Debian: apt-get install wrk"):
        generator.install({"wrk": ("wrk",)})


@needs_wrk
def test_wrk_sends_every_body_in_turn_to_a_real_server(tmp_path: Path) -> None:
    server = servers.constant()
    path = bodies.write(tmp_path / "bodies", iter([["a"], ["b", "c" * 100_000]]))
    with servers.running(server, tmp_path) as up:
        found = generator.drive(up.url("/"), path, connections=3, seconds=1)
        with pytest.raises(VoidError, match="every answer must be 422"):
            generator.drive(up.url("/"), path, connections=1, seconds=1, expected=422)
    assert found.statuses == {200: found.answers}
    assert found.answers > 100
    assert 0 < found.quantile(0.5) <= found.quantile(0.99) < 1000
    assert up.process.poll() is not None


def test_bodies_differ_and_have_the_rows_asked_for(tmp_path: Path) -> None:
    pool = bodies.records(SPEC_OF_RIDES, 50)
    assert pool == bodies.records(SPEC_OF_RIDES, 50)
    path = bodies.write(tmp_path / "b", bodies.batches(pool, 3))
    lines = path.read_text().splitlines()
    assert {len(json.loads(line)) for line in lines} == {3}
    assert len(set(lines)) == 50
    assert not Validator(SPEC_OF_RIDES)(pool).errors


def test_a_spoilt_record_is_refused() -> None:
    record = bodies.records(SPEC_OF_RIDES, 1)[0]
    assert Validator(SPEC_OF_RIDES)([record, bodies.spoil(record, SPEC_OF_RIDES)]).errors == {
        1: {"distance": ["Not a valid number."]}
    }


def test_rows_of_a_file_are_asked_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "rides.data"
    path.write_text("Id,distance,zone\n1,2.5,A\n2,NA,B\n")
    first, second, third = bodies.records(SPEC_OF_RIDES, 3, str(path))
    assert (first, second) == ({"distance": 2.5, "zone": "A"}, {"distance": None, "zone": "B"})
    assert third == first
    with pytest.raises(ScriptError, match="cannot be read"):
        bodies.records(SPEC_OF_RIDES, 3, str(tmp_path / "none"))
    path.write_text("distance,zone\n")
    with pytest.raises(ScriptError, match="has no rows"):
        bodies.records(SPEC_OF_RIDES, 3, str(path))


def test_without_a_model_it_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="make train"):
        bodies.read_spec(tmp_path)


def test_a_server_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    server = servers.Server("broken", (sys.executable, "-c", "print('no such model'); raise SystemExit(3)"))
    with pytest.raises(ScriptError, match=r"(?s)status 3.*no such model"), servers.running(server, tmp_path):
        pass


def test_servers_are_named_with_their_settings() -> None:
    assert load.parse_server("ours:THREADS=8:LOG_LEVEL=error").environ["THREADS"] == "8"
    assert load.parse_server("bare").command[-1] == "bare:app"
    for wrong in ("apache", "ours:THREADS"):
        with pytest.raises(ScriptError) as caught:
            load.parse_server(wrong)
        assert caught.value.status == 2


@needs_wrk
def test_the_real_service_is_held_to_a_line_for_each_request(tmp_path: Path, houses: Path) -> None:
    environ = servers.shipped(Path(sys.executable)) | installed(tmp_path / "site", houses)
    command = (sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py", "ml_api.wsgi:app")
    server = servers.Server("ml_api", command, environ, servers.ML_API, "/health/ready", logs=True)
    spec = InputSpec.from_json((houses / SPEC).read_bytes())
    tried = bench.Bench(PATH, {OURS: server}, bodies.records(spec, 100), spec, tmp_path, quick=True)
    with tried.start(OURS) as up:
        tried.run(OURS, up, workloads.WORKLOADS[0])
        tried.run(OURS, up, workloads.Workload("all bad", "", 3, 2, 1, (OURS,), "all"))
        tried.run(OURS, up, workloads.Workload("warned", "", 1, 1, 1, (OURS,), query=workloads.WARNINGS))
        for kind in (workloads.CSV, workloads.ARROW):
            tried.run(OURS, up, workloads.Workload(kind, "", 50, 1, 1, (OURS,), media_type=kind))
        bench.trace(up, PATH, tried.pool)
        assert len(up.resident()) == servers.WORKERS
        with pytest.raises(ScriptError, match="another model is installed"):
            bench.check_served(up, {"name": "regression", "artifact_sha256": "0"})
    assert tried.runs["one"][OURS][0]["answers"] > 10
    assert tried.runs["all bad"][OURS][0]["median"] > 0
    assert tried.runs["warned"][OURS][0]["answers"] > 0
    assert {tried.runs[kind][OURS][0]["answers"] > 0 for kind in (workloads.CSV, workloads.ARROW)} == {True}
    assert tried.logged_rows > tried.runs["one"][OURS][0]["answers"]


def installed(site: Path, houses: Path) -> dict[str, str]:
    """Make ``site`` a folder in which the model is installed; what finds it there."""
    install_houses(site)
    path = [str(site), *(entry for entry in sys.path if entry)]
    return {"HOUSES_BUNDLE": str(houses), "PYTHONPATH": os.pathsep.join(path)}


def line(name: str = "a", status: int = 200) -> dict[str, Any]:
    return {"message": "request", "request_id": name, "status": status}


def test_requests_under_way_at_the_end_may_be_logged_and_no_others() -> None:
    lines = [line("a"), line("b"), line("c")]
    bench.check_lines(lines, answers=3, connections=1, status=200)
    bench.check_lines(lines, answers=2, connections=1, status=200)
    bench.check_lines([line("a"), line("b"), line("c", 499)], answers=2, connections=1, status=200)
    with pytest.raises(VoidError, match="3 requests were logged; 4 were answered"):
        bench.check_lines(lines, answers=4, connections=1, status=200)
    with pytest.raises(VoidError, match="3 requests were logged; 1 were answered"):
        bench.check_lines(lines, answers=1, connections=1, status=200)


def test_a_request_that_was_logged_twice_or_with_another_status_voids_the_run() -> None:
    with pytest.raises(VoidError, match="same request id"):
        bench.check_lines([line("a"), line("a")], answers=2, connections=1, status=200)
    with pytest.raises(VoidError, match=r"\[200, 503\]"):
        bench.check_lines([line("a"), line("b", 503)], answers=2, connections=1, status=200)
    with pytest.raises(VoidError, match=r"\[200, 499\]"):
        bench.check_lines([line("a"), line("b", 499)], answers=2, connections=1, status=200)


def test_only_lines_of_requests_count(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"message":"model loaded"}\nnoise\n' + json.dumps(line("b")) + "\n")
    assert bench.request_lines(log, 0) == [line("b")]
    assert bench.request_lines(log, log.stat().st_size) == []


def test_different_prices_void_the_run() -> None:
    assert bench.compare_prices({OURS: [100.0, 200.0], NAIVE: [100.0005, 200.0]}) == pytest.approx(5e-6, rel=0.01)
    with pytest.raises(VoidError, match="do not give the same prices"):
        bench.compare_prices({OURS: [100.0, 200.0], NAIVE: [100.0, 200.01]})
    with pytest.raises(VoidError, match="nan apart"):
        bench.compare_prices({OURS: [100.0], MODERN: [float("nan")]})
    with pytest.raises(ValueError, match="shorter"):
        bench.compare_prices({OURS: [100.0, 200.0], NAIVE: [100.0]})


def test_a_generator_that_is_itself_measured_voids_the_run() -> None:
    bench.check_lead("x", {CONSTANT: 200.0, OURS: 100.0, BARE: 99.0})
    with pytest.raises(VoidError, match="the generator is what was measured"):
        bench.check_leads({"one": {CONSTANT: [{"rate": 199.0}], OURS: [{"rate": 10.0}], BARE: [{"rate": 100.0}]}})


def test_a_quick_run_measures_every_bar_and_no_more() -> None:
    asked = {
        (workload.name, name)
        for workload in workloads.WORKLOADS
        for name in workloads.TITLES
        if bench.takes_part(name, workload, quick=True)
    }
    assert {name for workload, name in asked if workload == "one"} >= {OURS, BARE, NAIVE, CONSTANT}
    assert MODERN not in {name for _, name in asked}
    assert {workload for workload, name in asked if name == OURS} == set(workloads.ROWS_OF)
    assert {workload for workload, name in asked if name == NAIVE} == {"one", "file"}
    assert {workload for workload, name in asked if name == CONSTANT} == {"one"}


def test_slow_servers_get_longer() -> None:
    whole = next(workload for workload in workloads.WORKLOADS if workload.name == "file")
    assert bench.workload_seconds(NAIVE, whole, quick=False) == 2 * bench.workload_seconds(OURS, whole, quick=False)
    assert bench.workload_seconds(NAIVE, whole, quick=True) == 2
    assert bench.curve_seconds(NAIVE, 10_000) > bench.curve_seconds(OURS, 10_000) > bench.curve_seconds(OURS, 1)


def measured(**changes: Any) -> dict[str, Any]:
    """Results of two rounds in which every bar holds, but for what was not measured."""

    def run(rate: float, median: float = 1.0, p99: float = 2.0) -> dict[str, float]:
        return {"rate": rate, "median": median, "p99": p99, "answers": 100}

    return {
        "date": "2026-01-02T03:04:05+00:00",
        "command": "make bench",
        "quick": False,
        "rounds": 2,
        "machine": {"processor": "A CPU", "cores": 2, "memory_gb": 8, "system": "Linux 6"},
        "versions": {"python": "3.11.7", "wrk": "4.1.0"},
        "commit": "abc",
        "model": {"artifact_sha256": "f" * 64, "data": "train.csv", "synthetic": False},
        "asked": "records made from the spec",
        "price difference": 1e-7,
        "runs": {
            "one": {
                OURS: [run(4000), run(6000)],
                BARE: [run(5000), run(10_000)],
                NAIVE: [run(100), run(100)],
                CONSTANT: [run(90_000), run(90_000)],
            },
            "alone": {OURS: [run(1, 0.7, 1.4), run(1, 0.9, 0.9)], BARE: [run(1, 0.5), run(1, 0.5)]},
            "hundred": {OURS: [run(500), run(600)]},
            "file": {OURS: [run(50, 40.0), run(50, 40.0)], NAIVE: [run(5), run(5)]},
            "one bad": {OURS: [run(40, 44.0), run(40, 48.0)]},
            "all bad": {OURS: [run(2, 800.0), run(2, 800.0)]},
            "tenth bad": {OURS: [run(20, 80.0), run(20, 80.0)]},
            "csv": {OURS: [run(60), run(60)]},
            "arrow": {OURS: [run(100), run(120)]},
        },
        "start": {OURS: [1.0, 1.2]},
        "in process": [50.0, 60.0],
        "training modules": [],
        "fast lane": 0.995,
        "curves": None,
    } | changes


def test_bars_are_medians_over_the_rounds_of_ratios_within_a_round() -> None:
    found = [bar.value(measured()) for bar in workloads.BARS]
    assert found[:4] == pytest.approx([(0.8 + 0.6) / 2, 0.3, 1.5, 50])
    assert found[4:8] == pytest.approx([55, 55_000, 50 * 1459, 10])
    assert found[8:11] == pytest.approx([46 / 40, 0.8, 800 / 1459 / (80 / 145)])
    assert found[11:15] == pytest.approx([60 * 1459, 110 * 1459, 1.1, 0])
    assert found[15:] == [None] * 5


def test_every_bar_of_the_table_can_be_missed_and_held() -> None:
    for bar in workloads.BARS:
        assert bar.holds(bar.bar)
        assert not bar.holds(bar.bar * 0.99 - 0.01 if bar.least else bar.bar * 1.01 + 0.01)
        if bar.aim is not None:
            assert bar.holds(bar.aim)


def test_the_table_says_what_holds_what_is_missed_and_what_measures_the_rest() -> None:
    text = report.bars(measured(**{"in process": [91.0, 91.0]}))
    assert "| 70% | >= 80% | 100% | **missed** |" in text
    assert "| 91 µs | <= 90 µs | 50 µs | **missed** |" in text
    assert text.count("not measured") == 5
    assert "| `make bench-batch` | >= 95,000 rows/s | 130,000 rows/s | not measured |" in text


def test_the_report_has_date_machine_versions_command_spread_and_ratios() -> None:
    text = report.markdown(measured())
    assert "2026-01-02, `make bench`: 2 rounds on 2 cores of A CPU, 8 GB, Linux 6; commit abc." in text
    assert "python 3.11.7, wrk 4.1.0." in text
    assert "| Flask, marshmallow, pandas, scikit-learn | 100.0 | 100.0-100.0 | 100 | 1.00 | 2.00 | 50.00x |" in text
    assert "99.5%" in text
    assert "synthetic" not in text
    quick = report.markdown(measured(quick=True, model=measured()["model"] | {"synthetic": True}))
    assert "**A quick run**" in quick
    assert "synthetic sample" in quick


def test_what_is_asked_for_besides_stands_beside_the_plain_answer_and_the_bare_view() -> None:
    found = measured()
    rich = {"interval": 2.0, "warned": 3.0}
    found["runs"] |= {
        name: {OURS: [{"rate": 10.0, "median": of, "p99": 9.0, "answers": 5}]} for name, of in rich.items()
    }
    assert report.asked_for(found).splitlines()[2:] == [
        "| a Flask view that returns a constant | 1 | 0.50 | 2.00 |",
        "| ml_api, no parameters | 1 | 0.80 | 1.15 |",
        "| `?interval=0.9` | 10 | 2.00 | 9.00 |",
        "| `?warnings=true` | 10 | 3.00 | 9.00 |",
    ]
    assert report.asked_for(found) in report.markdown(found)


@pytest.mark.parametrize("calibrated", [True, False])
def test_model_has_intervals_if_its_card_does(tmp_path: Path, calibrated: bool) -> None:
    intervals = {"rows": 100, "levels": [0.5, 0.9, 0.95], "edges": [], "widths": [[0.1, 0.2, 0.3]]}
    write_ride_bundle(tmp_path, **({"intervals": intervals} if calibrated else {}))
    assert bench.has_intervals(read_bundle(tmp_path), SPEC_OF_RIDES) is calibrated


def test_model_without_intervals_is_not_asked_for_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = bench.Bench(PATH, {OURS: servers.bare()}, [], SPEC_OF_RIDES, tmp_path, quick=True, calibrated=False)
    asked: list[str] = []
    monkeypatch.setattr(tried, "start", lambda _: nullcontext())
    monkeypatch.setattr(tried, "run", lambda _name, _up, workload: asked.append(workload.query))
    tried.round()
    assert set(asked) == {"", "explain=5", "warnings=true"}


def test_curves_are_told_in_figures_too() -> None:
    one = {"rate": 10.0, "median": 1.0, "p99": 2.0, "answers": 5}
    shape = {"rows": [1, 10], "milliseconds": {OURS: [1.0, 2.5]}, "connections": [1], "loads": {OURS: [one]}}
    text = report.markdown(measured(curves=shape))
    assert "| ml_api | 1.00 | 2.50 |" in text
    assert "| ml_api | 10 (2.0) |" in text


def test_a_page_gets_a_block_and_later_another_in_its_place() -> None:
    first = report.put_into_page("# Title\n\ntext\n", report.last_run_block(measured()))
    assert first.startswith("# Title\n\ntext\n\n## Benchmark\n\n<!-- bench -->\n")
    assert "| >= 80% |" in first
    moved = first + "\nafter\n"
    again = report.put_into_page(moved, report.last_run_block(measured(command=r"make bench DATA=\1")))
    assert again.count(report.BEGIN) == again.count(report.END) == 1
    assert r"`make bench DATA=\1`" in again
    assert again.endswith("<!-- /bench -->\n\nafter\n")


def test_the_report_command_writes_the_readme_from_whole_runs_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([], tmp_path, tmp_path) == 1
    assert "`make bench` does" in capsys.readouterr().err
    (tmp_path / "benchmarks").mkdir()
    for name in ("README.md", "benchmarks/README.md"):
        (tmp_path / name).write_text("# Title\n")
    (tmp_path / report.RESULTS).write_text(json.dumps(measured(quick=True)))
    assert report.main(["--readme"], tmp_path, tmp_path) == 1
    assert (tmp_path / "README.md").read_text() == "# Title\n"
    report.write(measured(), tmp_path)
    assert report.main(["--readme"], tmp_path, tmp_path) == 0
    short, whole = ((tmp_path / name).read_text() for name in ("README.md", "benchmarks/README.md"))
    assert "| >= 80% |" in whole
    assert "| >= 80% |" not in short
    assert report.rates(measured()) in short
    assert (tmp_path / "results.md").read_text().startswith("# Benchmark\n")


@pytest.mark.parametrize("full", [True, False])
def test_memory_and_batch_are_shown_if_they_ran_at_full_length(tmp_path: Path, full: bool) -> None:
    (tmp_path / report.RESULTS).write_text(json.dumps(measured()))
    (tmp_path / "memory.json").write_text(json.dumps({"full": full, "first": 90.0, "last": 92.0}))
    text = report.bars(report.read(tmp_path))
    assert ("| 2.0 MB | <= 3.0 MB |" in text) is full


def test_memory_is_compared_with_its_value_after_a_tenth() -> None:
    found = memory.describe([(0, 80.0), (15, 85.0), (25, 88.0), (110, 90.0), (205, 89.0)], 200)
    assert (found["first"], found["last"], found["most"], found["full"]) == (88.0, 89.0, 90.0, False)


def test_every_hundredth_body_is_large() -> None:
    sizes = [len(body) for body in memory.bodies(bodies.records(SPEC_OF_RIDES, 10), large=12)]
    assert sizes == ([12] + [1] * 99) * memory.GROUPS


def test_a_table_is_priced_and_its_lines_counted(tmp_path: Path) -> None:
    table, output = tmp_path / "table.csv", tmp_path / "priced.csv"
    batch.write_csv(table, bodies.records(SPEC_OF_RIDES, 3), 7)
    assert table.read_text().splitlines()[0] == "Id,distance,passengers,zone,comfort"
    assert [row.split(",")[0] for row in table.read_text().splitlines()[1:]] == list("1234567")
    copy = [sys.executable, "-c", "import shutil, sys; shutil.copy(*sys.argv[1:])", str(table)]
    found = batch.measure(copy, output, 7)
    assert found["rows_per_second"] == pytest.approx(7 / found["seconds"])
    with pytest.raises(ScriptError, match="7 rows were written for 9"):
        batch.measure(copy, output, 9)
    with pytest.raises(ScriptError, match="status 3"):
        batch.measure([sys.executable, "-c", "raise SystemExit(3)"], output, 7)
    batch.write_parquet(tmp_path / "table.parquet", table, SPEC_OF_RIDES)
    assert batch.count_rows(tmp_path / "table.parquet") == 7
    assert pq.read_schema(tmp_path / "table.parquet").types == [
        *(pa.int64(), pa.float64(), pa.float64(), pa.string(), pa.string())
    ]


PARENT = """
import subprocess, sys
held = b"x" * 60_000_000
child = "import sys; held = b'x' * 80_000_000; print(flush=True); sys.stdin.read()"
process = subprocess.Popen([sys.executable, "-c", child], stdin=-1, stdout=-1, process_group=0)
process.stdout.readline()
print(flush=True)
sys.stdin.read()
process.communicate()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_child_in_a_group_of_its_own_counts() -> None:
    """As those of the processes that a large file is shared among."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        assert len(batch.family(process.pid)) == 2
        shared, resident = batch.memory_of(batch.family(process.pid))
        # The interpreters themselves, and what measures the coverage in them, take some 20 to 50 MB.
        assert 140 < shared < resident < 280
        threading.Timer(3 * batch.LOOK, process.stdin.close).start()
        peak, peak_resident = batch.peak_while(process)
    assert peak >= shared * 0.95
    assert peak_resident >= resident * 0.95
    assert batch.memory_of([process.pid]) == (0, 0)


def trained(houses: Path, folder: Path) -> Package:
    """The package of houses as if it were in ``folder``, with the bundle ``houses``."""
    package = Package("regression-model", folder, "regression")
    package.source.mkdir(parents=True)
    package.bundle.symlink_to(houses)
    return package


def test_the_naive_server_prices_like_the_bundle(houses: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(prepare, "BUILD", tmp_path)
    package = trained(houses, tmp_path)
    path = prepare.pickle_pipeline(package)
    assert path == prepare.pickle_pipeline(package)
    monkeypatch.setenv("MODEL", str(path))
    import naive

    spec = InputSpec.from_json((houses / SPEC).read_bytes())
    asked = generate_rows(spec, 200, seed=1, nulls=0.3, unseen=0.2)
    for record in asked:
        # A tutorial's schema takes whole numbers only for a category of codes.
        record["MSSubClass"] = 20 if record["MSSubClass"] == NEVER_SEEN else record["MSSubClass"]
    client = naive.app.test_client()
    answer = client.post("/v1/predict/regression", json=asked)
    expected = BundleModel.load(houses, derive, "1").predict([validated(spec, record) for record in asked])
    assert answer.get_json()["predictions"] == pytest.approx(expected.tolist(), rel=1e-5)
    assert client.post("/v1/predict/regression", json=[{"GrLivArea": "large"}]).status_code == 400
    assert client.get("/health").status_code == 200


def validated(spec: InputSpec, record: bodies.Record) -> Any:
    (row,) = Validator(spec)([record]).rows
    return row


def test_the_estimator_is_fitted_on_the_very_data_or_not_at_all(houses: Path, tmp_path: Path) -> None:
    card = json.loads((houses / CARD).read_bytes())
    assert prepare.training_data(DEFINITION, card).synthetic
    other = tmp_path / "other"
    other.write_text("Id\n")
    with pytest.raises(ScriptError, match=f"not at {other}"):
        prepare.training_data(DEFINITION, {"data": {"name": "t", "sha256": "0" * 64, "synthetic": False}}, str(other))


def test_the_bare_view_answers_a_constant() -> None:
    import bare

    answer = bare.app.test_client().post("/v1/predict/regression", data="anything")
    assert answer.get_json()["predictions"] == [181234.56789012345]
    source = (servers.CONTESTANTS / "constant.c").read_text()
    assert f"Content-Length: {len(bare.ANSWER)}" in source
    assert bare.ANSWER.decode().replace('"', r"\"") in source


def test_instructions_are_held_to_the_figures_with_a_margin(capsys: pytest.CaptureFixture[str]) -> None:
    figure = {"instructions": {"one": 1000, "two": 1000, "three": 1000}}
    slower = instructions.compare({"one": 1099, "two": 1101, "three": 899}, figure)
    assert slower == ["two takes 10% more instructions than recorded"]
    assert capsys.readouterr().out.count("instructions-record") == 1


def test_callgrinds_total_is_read() -> None:
    assert instructions.read_total("version: 1\nfn=(1)\n1 5\nsummary: 1234\ntotals: 1234\n") == 1234
    with pytest.raises(ScriptError, match="no total"):
        instructions.read_total("version: 1\n")


def test_nothing_to_count_with_is_said_and_is_an_error_in_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(instructions, "RECORDED", tmp_path / "recorded.json")
    assert instructions.main([]) == 0
    assert f"no figure for Python {instructions.PYTHON}" in capsys.readouterr().out
    (tmp_path / "recorded.json").write_text(json.dumps({instructions.PYTHON: {"instructions": {}}}))
    monkeypatch.setenv("PATH", "")
    assert instructions.main([]) == 0
    assert "not counted: there is no valgrind" in capsys.readouterr().out
    monkeypatch.setenv("CI", "true")
    assert instructions.main([]) == 1
    assert "apt-get install valgrind" in capsys.readouterr().err


def test_more_instructions_than_recorded_are_an_error_that_says_how_to_agree(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(instructions, "ROOT", tmp_path)
    monkeypatch.setattr(instructions, "RECORDED", tmp_path / "recorded.json")
    monkeypatch.setattr(instructions, "model_folder", lambda: tmp_path)
    monkeypatch.setattr(instructions, "libraries", lambda: "new")
    monkeypatch.setattr(shutil, "which", lambda _: "valgrind")
    counted = {"one": 1000, "one request": 2000, "one request, metrics on": 2090}
    monkeypatch.setattr(instructions, "count", lambda _: counted)
    assert instructions.main(["--record"]) == 0
    assert instructions.main([]) == 0
    counted["one"] = 1200
    assert instructions.main([]) == 1
    assert "one takes 20% more instructions than recorded. If that is meant: `make instr" in capsys.readouterr().err
    counted |= {"one": 1000, "one request, metrics on": 2110}
    assert instructions.main([]) == 1
    assert "metrics add 5.5% to a request, more than 5%" in capsys.readouterr().err
    monkeypatch.setattr(instructions, "libraries", lambda: "newer")
    assert instructions.main([]) == 1
    assert "the libraries have changed since" in capsys.readouterr().err


def test_figures_are_recorded_for_this_project() -> None:
    figures = json.loads(instructions.RECORDED.read_text())
    assert set(figures["3.11"]["instructions"]) == set(instructions.WORK)


@pytest.mark.parametrize("script", ["bench", "load", "memory", "batch", "report", "instructions"])
def test_the_commands_teach_their_use(script: str) -> None:
    command = [sys.executable, str(ROOT / f"benchmarks/{script}.py")]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"usage: {script}.py")
    assert "make" in done.stdout or "python benchmarks/" in done.stdout
    assert subprocess.run([*command, "--nonsense"], capture_output=True, check=False).returncode == 2
