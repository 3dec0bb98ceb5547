"""What callers may send to the house-price model, over HTTP: one answer for each row, whatever comes."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from model_kit.records.generation import generate_rows
from model_kit.scoring.model import BundleModel
from regression_model.derive import derive

from service import CANARY, CANARY_NUMBER, HOUSE, URL, VERSION, Answer, Service, answers, request

MISSING = ["Missing data for required field."]
REQUIRED = ("OverallQual", "YearBuilt", "Neighborhood", "GrLivArea")
ALL_MISSING = dict.fromkeys(REQUIRED, MISSING)
NUMBER = "Not a valid number."
INTEGER = "Not a valid integer."
STRING = "Not a valid string."
CODE = "Not a valid string or whole number."
TOO_LARGE = "Number too large."
INFINITE = "Special numeric values (nan or infinity) are not permitted."
NEGATIVE = "Must be greater than or equal to 0."
FROM_1600 = "Must be greater than or equal to 1600."


@pytest.fixture(scope="module")
def model(houses: Path) -> BundleModel:
    return BundleModel.load(houses, derive, VERSION)


@pytest.fixture(scope="module")
def service(houses: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:
    running = Service(tmp_path_factory.mktemp("service"), houses)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def price(model: BundleModel) -> float:
    """Of ``HOUSE``."""
    return float(model.predict([HOUSE])[0])


def judge(answer: Answer, prices: list[float | None], errors: dict[str, Any] | None) -> None:
    """The whole of a prediction's response."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.status == (422 if prices and all(value is None for value in prices) else 200)
    assert answer.json == {"predictions": prices, "errors": errors, "version": VERSION}


def test_no_row(service: Service) -> None:
    with service.well(1):
        judge(service.predict([]), [], None)


def test_one_record_answers_as_one_element(service: Service, price: float) -> None:
    with service.well(1):
        judge(service.predict(HOUSE), [price], None)


@pytest.mark.parametrize("body", [{}, [{}]], ids=["record", "array"])
def test_empty_record_lacks_the_four_required_fields(service: Service, body: Any) -> None:
    with service.well(1):
        judge(service.predict(body), [None], {"0": ALL_MISSING})


def test_rows_that_are_no_objects_keep_their_places(service: Service, price: float) -> None:
    wrong = {"_schema": ["Invalid input type."]}
    with service.well(1):
        judge(
            service.predict([1, None, HOUSE, "x", [], {}]),
            [None, None, price, None, None, None],
            {"0": wrong, "1": wrong, "3": wrong, "4": wrong, "5": ALL_MISSING},
        )


@pytest.mark.parametrize(
    ("field", "literal", "said"),
    [
        ("LotFrontage", f'"{CANARY}"', NUMBER),
        ("LotFrontage", '"60"', NUMBER),
        ("LotFrontage", "true", NUMBER),
        ("LotFrontage", f'["{CANARY}"]', NUMBER),
        ("LotFrontage", f'{{"{CANARY}": 1}}', NUMBER),
        ("GrLivArea", "false", NUMBER),
        ("GrLivArea", "null", "Field may not be null."),
        ("FullBath", f"{CANARY_NUMBER}", INTEGER),
        ("FullBath", "3.7", INTEGER),
        ("FullBath", '"12"', INTEGER),
        ("FullBath", "true", INTEGER),
        ("FullBath", "[1]", INTEGER),
        ("FullBath", "{}", INTEGER),
        ("YearBuilt", "1975.5", INTEGER),
        ("YearBuilt", "null", "Field may not be null."),
        ("Street", "1", STRING),
        ("Street", "true", STRING),
        ("Street", f'["{CANARY}"]', STRING),
        ("Street", f'{{"{CANARY}": 1}}', STRING),
        ("Neighborhood", "null", "Field may not be null."),
        ("Neighborhood", f"{CANARY_NUMBER}", STRING),
        ("MSSubClass", "20.5", CODE),
        ("MSSubClass", "true", CODE),
        ("MSSubClass", "[20]", CODE),
        ("MSSubClass", "{}", CODE),
        ("MSSubClass", "1e400", CODE),
        ("MSSubClass", "9" * 400, CODE),
        ("GrLivArea", "1e400", INFINITE),
        ("GrLivArea", "-1e400", INFINITE),
        ("GrLivArea", "9" * 400, TOO_LARGE),
        ("GrLivArea", "9" * 5000, TOO_LARGE),
        ("GrLivArea", "-" + "9" * 5000, TOO_LARGE),
        ("FullBath", "1e400", INFINITE),
        ("FullBath", "9" * 400, TOO_LARGE),
        ("Street", "9" * 5000, STRING),
        ("GrLivArea", "-1", NEGATIVE),
        ("LotArea", "-0.001", NEGATIVE),
        ("PoolArea", f"-{CANARY_NUMBER}", NEGATIVE),
        ("FullBath", "-1", NEGATIVE),
        ("MoSold", "0", "Must be greater than or equal to 1 and less than or equal to 12."),
        ("MoSold", "13", "Must be greater than or equal to 1 and less than or equal to 12."),
        ("OverallQual", "0", "Must be greater than or equal to 1 and less than or equal to 10."),
        ("OverallQual", "11", "Must be greater than or equal to 1 and less than or equal to 10."),
        ("OverallCond", "11", "Must be greater than or equal to 1 and less than or equal to 10."),
        ("GarageYrBlt", "1599", FROM_1600),
    ],
    ids=lambda value: value if len(value) < 30 else f"{value[:12]}...{len(value)}",
)
def test_wrong_value_is_an_error_of_its_row(
    service: Service, price: float, field: str, literal: str, said: str
) -> None:
    """And of no other row: the one after it has its price."""
    house = json.dumps({**HOUSE, field: "here"}).replace('"here"', literal)
    with service.well(1):
        judge(service.predict(f"[{house},{json.dumps(HOUSE)}]".encode()), [None, price], {"0": {field: [said]}})


@pytest.mark.parametrize(
    ("changes", "same_as"),
    [
        ('"FullBath": 2.0', {"FullBath": 2}),
        ('"FullBath": 2e0', {"FullBath": 2}),
        ('"FullBath": 20e-1', {"FullBath": 2}),
        ('"YearBuilt": 1975.0', {}),
        ('"MSSubClass": 20', {"MSSubClass": "20"}),
        ('"MSSubClass": 20.0', {"MSSubClass": "20"}),
        ('"MSSubClass": "20"', {"MSSubClass": "20"}),
        ('"LotArea": 8000', {"LotArea": 8000.0}),
        ('"LotArea": -0.0', {"LotArea": 0}),
        ('"Alley": "NA"', {"Alley": None}),
        ('"Alley": null', {}),
        ('"LotFrontage": null', {}),
        (f'"Id": {CANARY_NUMBER}', {}),
        (f'"{CANARY}": ["{CANARY}", {{"a": null}}]', {}),
        (f'"SalePrice": "{CANARY}"', {}),
        ('"OverallQual": 1, "OverallQual": 5', {}),
        (f'"GrLivArea": "{CANARY}", "GrLivArea": 1500', {}),
        ('"Street": "caf\\u00e9 \\ud83c\\udfe0"', {"Street": "unheard of"}),
        ('"Street": "\\ud800"', {"Street": "unheard of"}),
        ('"Street": "\\u0000"', {"Street": "unheard of"}),
        ('"Street": ""', {"Street": None}),
        ('"Alley": "  "', {"Alley": None}),
        ('"Street": " Pave "', {"Street": "Pave"}),
        (f'"Street": "{CANARY}"', {"Street": "unheard of"}),
        ('"Street": "pave"', {"Street": "unheard of"}),
        ('"Street": "NA"', {"Street": None}),
        ('"MSSubClass": 150', {"MSSubClass": "unheard of"}),
        ('"MSSubClass": -20', {"MSSubClass": "unheard of"}),
        ('"MSSubClass": "20.0"', {"MSSubClass": "20"}),
        ('"MSSubClass": " 020 "', {"MSSubClass": "20"}),
        ('"SaleType": "VWD"', {"SaleType": "unheard of"}),
        ('"BsmtCond": "Ex"', {"BsmtCond": "unheard of"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_spellings_that_mean_the_same(
    service: Service, model: BundleModel, changes: str, same_as: dict[str, Any]
) -> None:
    expected = float(model.predict([{**HOUSE, **same_as}])[0])
    body = json.dumps(HOUSE)[:-1] + f", {changes}}}"
    with service.well(1):
        judge(service.predict(body.encode()), [expected], None)


@pytest.mark.parametrize("field", ["SaleType", "Condition1", "Neighborhood"])
def test_documented_level_without_training_is_as_unknown_as_any(
    service: Service, model: BundleModel, field: str
) -> None:
    (declared,) = [entry for entry in model.spec.fields if entry.name == field]
    unseen = [level.value for level in declared.levels if level.value not in (model.spec.learned[field].codes or {})]
    assert unseen
    known, *unknown = service.predict(
        [{**HOUSE, field: level} for level in [next(iter(model.spec.learned[field].codes or {})), *unseen, CANARY]]
    ).json["predictions"]
    assert len(set(unknown)) == 1
    assert known != unknown[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"GarageYrBlt": 2207},
        {"YrSold": 1974, "YearBuilt": 1975},
        {"YearRemodAdd": 1900},
        {"YearBuilt": 9999},
        {"YearBuilt": 10**300},
        {"GrLivArea": 0},
        {"GrLivArea": 5e-324},
        {"GrLivArea": 1.7976931348623157e308},
        {"LotArea": 1e308, "GrLivArea": 1e308, "1stFlrSF": 1e308, "2ndFlrSF": 1e308, "TotalBsmtSF": 1e308},
        {"1stFlrSF": 1e6, "2ndFlrSF": 0, "GrLivArea": 10},
        {"FullBath": 10**308},
        {"MiscVal": CANARY_NUMBER * 1e6},
    ],
    ids=str,
)
def test_beyond_the_training_range_is_priced(service: Service, changes: dict[str, Any]) -> None:
    with service.well(1):
        answer = service.predict({**HOUSE, **changes})
    (predicted,) = answer.json["predictions"]
    assert (answer.status, answer.json["errors"]) == (200, None)
    assert 0 < predicted < 1e9


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "The body is not JSON"),
        (b" \n\t", "The body is not JSON"),
        (b"[NaN]", "there is no NaN in JSON"),
        (b'{"GrLivArea": Infinity}', "there is no Infinity in JSON"),
        (b'{"GrLivArea": -Infinity}', "there is no -Infinity in JSON"),
        (b"[1] // " + CANARY.encode(), "The body is not JSON"),
        (b"[1 /* " + CANARY.encode() + b" */]", "The body is not JSON"),
        (b"# " + CANARY.encode() + b"\n[]", "The body is not JSON"),
        (b'[{"' + CANARY.encode(), "The body is not JSON"),
        (b'[{"GrLivArea": 15', "The body is not JSON"),
        (b"[{}", "The body is not JSON"),
        (b"[{}] " + CANARY.encode(), "The body is not JSON: Extra data"),
        (b"[][]", "The body is not JSON: Extra data"),
        (b"[]\x00", "The body is not JSON: Extra data"),
        (b"[1,]", "The body is not JSON"),
        (b"['" + CANARY.encode() + b"']", "The body is not JSON"),
        (CANARY.encode(), "The body is not JSON"),
        (b"[01]", "The body is not JSON"),
        (b"[.5]", "The body is not JSON"),
        (b"[+1]", "The body is not JSON"),
        (b"[0x10]", "The body is not JSON"),
        (b'["\n"]', "The body is not JSON"),
        (b'["' + CANARY.encode() + b'\xff"]', "The body is not UTF-8"),
        (b'["\xc3("]', "The body is not UTF-8"),
        (b'["\xed\xa0\x80"]', "The body is not UTF-8"),
        (b'["\xc0\x80"]', "The body is not UTF-8"),
        (f'["{CANARY}"]'.encode("utf-16"), "The body is not UTF-8"),
        ("[]".encode("utf-16-le"), "The body is not JSON"),
        ("[]".encode("utf-32-be"), "The body is not JSON"),
        ("[]".encode("utf-8-sig"), "The body begins with a byte order mark"),
        (b"[" * 200_000, "The body is nested too deeply"),
        (b"[" * 200_000 + b"]" * 200_000, "The body is nested too deeply"),
        (b'{"' + CANARY.encode() + b'":' + b'{"a":' * 200_000, "The body is nested too deeply"),
        (b'[{"a":' * 200_000, "The body is nested too deeply"),
        (b"3", "The body must be a JSON array"),
        (b"-31337.25", "The body must be a JSON array"),
        (f'"{CANARY}"'.encode(), "The body must be a JSON array"),
        (b"null", "The body must be a JSON array"),
        (b"true", "The body must be a JSON array"),
        (b"1e400", "The body must be a JSON array"),
        (b"9" * 5000, "The body must be a JSON array"),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, bytes) else "",
)
def test_what_is_no_json_array_or_object_is_a_bad_request(service: Service, body: bytes, said: str) -> None:
    with service.well(1):
        answer = service.predict(body)
    assert answer.status == answer.json["status"] == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json["detail"]
    assert CANARY not in answer.body.decode()


@pytest.mark.parametrize("depth", [50, 200])
def test_nesting_within_reason_is_ignored_where_no_field_is(service: Service, price: float, depth: int) -> None:
    body = json.dumps(HOUSE)[:-1] + ', "deep": ' + "[" * depth + "]" * depth + "}"
    with service.well(1):
        judge(service.predict(body.encode()), [price], None)


@pytest.mark.parametrize(
    ("content_type", "headers", "status"),
    [
        ("application/json", (), 200),
        ("application/json;charset=UTF-8", (), 200),
        ("APPLICATION/JSON", (), 200),
        ("application/json", ("Content-Encoding: identity",), 200),
        (None, (), 415),
        ("", (), 415),
        ("text/plain", (), 415),
        (f"text/{CANARY}", (), 415),
        ("multipart/form-data; boundary=x", (), 415),
        ("application/x-www-form-urlencoded", (), 415),
        ("application/problem+json", (), 415),
        ("application/json; charset=utf-16", (), 415),
        (f"application/json; charset={CANARY}", (), 415),
        ("application/json", ("Content-Encoding: gzip",), 415),
        ("application/json", ("Content-Encoding: GZip",), 415),
        ("application/json", ("Content-Encoding: br",), 415),
        ("application/json", (f"Content-Encoding: {CANARY}",), 415),
        ("application/json", ("Content-Encoding: gzip", "Content-Encoding: identity"), 415),
    ],
)
def test_content_type_and_encoding(
    service: Service, content_type: str | None, headers: tuple[str, ...], status: int
) -> None:
    with service.well(1):
        (answer,) = service.send(request(b"[]", *headers, content_type=content_type))
    assert answer.status == status


def test_as_many_rows_as_allowed(service: Service) -> None:
    with service.well(1):
        answer = service.predict(b"[" + b"0," * 9_999 + b"0]")
    assert answer.status == 422
    assert len(answer.json["predictions"]) == len(answer.json["errors"]) == 10_000


@pytest.mark.parametrize("row", ["0", "{}", '{"a": "b"}', json.dumps(HOUSE)], ids=["0", "{}", "unknown", "house"])
def test_more_rows_than_allowed(service: Service, row: str) -> None:
    with service.well(1):
        answer = service.predict(f"[{','.join([row] * 10_001)}]".encode())
    assert answer.status == 413
    assert answer.json["detail"] == "The body has 10001 records; at most 10000 are taken at a time."


LIMIT = 32 * 1024 * 1024


def large_body(model: BundleModel, rows: int) -> bytes:
    """So many records of which every field is given."""
    records = generate_rows(model.spec, 500, seed=1)
    return json.dumps([records[n % 500] for n in range(rows)]).encode()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_many_large_bodies_at_once_are_answered_in_bounded_memory(
    houses: Path, model: BundleModel, tmp_path: Path
) -> None:
    """Without MAX_HELD_BYTES, sixteen took 290 MiB; with it 45."""
    # As in run.sh.
    limits = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "1048576"}
    service = Service(tmp_path, houses, WEB_CONCURRENCY="1", **limits)
    body = large_body(model, 10_000)
    (worker,) = service.loaded
    assert service.predict(HOUSE).status == 200
    before = held(worker, "VmRSS")
    with service.well(), ThreadPoolExecutor(16) as pool:
        waiting = [pool.submit(service.send, request(body), patience=120) for _ in range(16)]
        while not all(future.done() for future in waiting):
            assert service.predict(HOUSE).status == 200
        found = [future.result() for future in waiting]
    statuses = [answer.status for (answer,) in found]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 2
    for (answer,) in found:
        if answer.status == 200:
            assert len(answer.json["predictions"]) == 10_000
        else:
            assert answer.headers["retry-after"] == "5"
            assert answer.json["detail"].startswith("The server holds as many large requests")
    taken = held(worker, "VmHWM") - before
    print(f"{len(body) >> 20} MiB each: {taken >> 20} MiB, {statuses.count(200)} answered")  # noqa: T201
    assert taken < 100 * 1024 * 1024
    service.stop()


def test_who_sends_a_large_body_slowly_gives_way_to_others(houses: Path, model: BundleModel, tmp_path: Path) -> None:
    """The other one would be 503, 30 s before the time of the slow one is over."""
    service = Service(tmp_path, houses, WEB_CONCURRENCY="1", MAX_HELD_BYTES="100000", REQUEST_TIMEOUT="60")
    body = large_body(model, 100)
    with service.well(3), service.connect() as slow:
        slow.sendall(request(body)[:-1])
        assert service.predict(HOUSE).status == 200
        (answer,) = service.send(request(body), patience=60)
        assert answer.status == 200
        (answer,) = answers(slow.recv(65536))
        assert answer.status == 408
    service.stop()


def test_who_takes_a_large_answer_slowly_gives_way_to_others(houses: Path, model: BundleModel, tmp_path: Path) -> None:
    limits = {"MAX_HELD_BYTES": "100000", "MAX_WARNED": "2000"}
    service = Service(tmp_path, houses, WEB_CONCURRENCY="1", REQUEST_TIMEOUT="60", **limits)
    long = request(json.dumps([HOUSE] * 2_000).encode(), path=f"{URL}?warnings=true")
    with service.well(2), service.connect() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(long)
        assert slow.recv(1)
        (answer,) = service.send(request(large_body(model, 100)), patience=60)
        assert answer.status == 200
    service.stop()


def fill(unit: bytes, before: bytes = b"[", after: bytes = b"]") -> bytes:
    """A body of 32 MiB of ``unit`` between commas."""
    many = (LIMIT - len(before) - len(after) + 1) // (len(unit) + 1)
    return before + b",".join([unit] * many) + after


#: The costliest bodies that the limit of bytes lets through.
COSTLY: dict[str, tuple[Callable[[], bytes], int]] = {
    "rows of nothing": (lambda: fill(b"{}"), 413),
    "rows of numbers": (lambda: fill(b"1"), 413),
    "one row of arrays": (lambda: fill(b"[]", b"[[", b"]]"), 413),
    "a million keys": (lambda: b"{" + b",".join(b'"%d":0' % i for i in range(999_000)) + b"}", 422),
    "a million objects in a row": (lambda: b'[{"a":[' + b",".join([b'{"a":1}'] * 999_000) + b"]}]", 422),
    "one string": (lambda: b'["' + b"x" * (LIMIT - 4) + b'"]', 422),
    "one string of commas": (lambda: b'["' + b"," * (LIMIT - 4) + b'"]', 422),
    "digits": (lambda: b"[" + b"9" * (LIMIT - 2) + b"]", 422),
    "a fraction": (lambda: b"[1." + b"7" * (LIMIT - 4) + b"]", 422),
    "an exponent": (lambda: b"[1e" + b"7" * (LIMIT - 4) + b"]", 422),
    "numbers of 4,300 digits": (lambda: fill(b"9" * 4300), 422),
    "nesting": (lambda: b"[" * LIMIT, 413),
    "nesting in objects": (lambda: b'{"a":' * (LIMIT // 5), 413),
    "spaces": (lambda: b" " * LIMIT, 400),
    "quotation marks": (lambda: b'"' * LIMIT, 400),
    "backslashes": (lambda: b'["' + b"\\" * (LIMIT - 5) + b'"]', 400),
}
#: Most that a worker may take, on top of what it holds, while it works on such a body, in bytes.
MOST_MEMORY = 512 * 1024 * 1024


def held(pid: int, what: str) -> int:
    """Memory of a process in bytes: ``VmRSS`` now, ``VmHWM`` at its highest since that was last cleared."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(what)]
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", COSTLY)
def test_costly_body_is_answered_in_bounded_memory(service: Service, case: str) -> None:
    make, status = COSTLY[case]
    body = make()
    before = {pid: held(pid, "VmRSS") for pid in service.loaded}
    for pid in service.loaded:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    with service.well(1):
        answer = service.predict(body)
    assert answer.status == status
    (line,) = [line for line in service.lines if line.get("request_id") == answer.headers["x-request-id"]]
    taken = max(held(pid, "VmHWM") - before[pid] for pid in service.loaded)
    print(f"{case}: {line['duration_ms']:.0f} ms, {taken >> 20} MiB")  # noqa: T201
    assert taken < MOST_MEMORY
