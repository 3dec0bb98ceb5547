"""What becomes of each message: its answer, its dead letter, and when it is acknowledged."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit.cli import consume
from model_kit.errors import DataError, IntervalError, NotReadyError, StreamError
from model_kit.scoring.model import BundleModel
from model_kit.scoring.predictor import Predictor
from model_kit.streams.answers import MOST_ERRORS, MOST_ROWS, AnswerMaker, Batch, Options
from model_kit.streams.broker import Letter, Message, Route, Stop, header_text
from model_kit.streams.consumer import StreamConsumer
from model_kit.streams.settings import read_settings
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW

from project import ROOT

ROUTE = Route("in", "out", "out.errors", "group")
GOLDEN = json.dumps(GOLDEN_ROW).encode()
BAD = b'{"distance": -1, "zone": "A"}'
BAD_ERRORS = {"distance": ["Must be greater than or equal to 0."]}


def message(value: bytes | None, number: int = 0) -> Message:
    return Message(value, f"group/in/0/{number}", {"source-offset": str(number)}, number)


@pytest.fixture
def make(model: BundleModel) -> Callable[..., AnswerMaker]:
    def make(max_rows: int = 500, options: Options = Options()) -> AnswerMaker:  # noqa: B008
        return AnswerMaker(Predictor(model), ROUTE, max_rows, options)

    return make


def letters(maker: AnswerMaker, *values: bytes | None) -> list[Letter]:
    (batch,) = maker.batches([message(value, number) for number, value in enumerate(values)])
    return batch.letters


def test_record_and_array_are_answered_as_over_http(make: Callable[..., AnswerMaker]) -> None:
    one, several, none = letters(make(), GOLDEN, b"[" + GOLDEN + b"," + GOLDEN + b"]", b" []")
    assert [letter.topic for letter in (one, several, none)] == ["out"] * 3
    assert [letter.id for letter in (one, several, none)] == ["group/in/0/0", "group/in/0/1", "group/in/0/2"]
    assert json.loads(one.value) == {"predictions": [GOLDEN_PREDICTION], "errors": None, "version": "1.2.3"}
    assert json.loads(several.value)["predictions"] == [GOLDEN_PREDICTION] * 2
    assert json.loads(none.value)["predictions"] == []
    assert one.headers == {
        "content-type": "application/json",
        "model": "rides",
        "version": "1.2.3",
        "source-offset": "0",
    }


def test_row_with_an_error_is_a_dead_letter_and_the_rows_beside_it_are_answered(
    make: Callable[..., AnswerMaker],
) -> None:
    value = b"[" + BAD + b"," + GOLDEN + b"]"
    whole, (dead, answer) = letters(make(), GOLDEN), letters(make(), value)
    assert (dead.topic, dead.value, dead.id) == ("out.errors", value, "group/in/0/0/error")
    assert dead.headers["reason"] == "Rows have errors: 1 of 2."
    assert json.loads(dead.headers["errors"]) == {"0": BAD_ERRORS}
    assert dead.headers["source-offset"] == "0"
    assert json.loads(answer.value) == {
        "predictions": [None, GOLDEN_PREDICTION],
        "errors": {"0": BAD_ERRORS},
        "version": "1.2.3",
    }
    assert len(whole) == 1


def test_errors_stay_with_their_message(make: Callable[..., AnswerMaker]) -> None:
    found = letters(make(), GOLDEN, BAD, b"[" + GOLDEN + b"," + BAD + b"]")
    assert [(letter.message.receipt, letter.topic) for letter in found] == [
        (0, "out"),
        (1, "out.errors"),
        (2, "out.errors"),
        (2, "out"),
    ]
    assert json.loads(found[2].headers["errors"]) == {"1": BAD_ERRORS}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "The message is empty."),
        (b"", "The message is empty."),
        (b"distance=3", "The message is not JSON: Expecting value at line 1, column 1."),
        (b'{"distance": NaN}', "The message is not JSON: there is no NaN in JSON."),
        (b'"\xff"', "The message is not UTF-8: invalid byte at offset 1."),
        (b"3", "The message must be a JSON array of records or one record, which is a JSON object."),
        (b"[" * 200_000, "The message is nested too deeply."),
        (b"[" + b"1," * MOST_ROWS + b"1]", "The message has 10001 records; at most 10000 are taken in one message."),
    ],
)
def test_what_holds_no_records_is_a_dead_letter_as_it_is(
    value: bytes | None, reason: str, make: Callable[..., AnswerMaker]
) -> None:
    (dead,) = letters(make(), value)
    assert (dead.topic, dead.value, dead.headers["reason"]) == ("out.errors", value or b"", reason)


def test_errors_of_many_rows_are_cut_to_what_a_header_holds(make: Callable[..., AnswerMaker]) -> None:
    (dead,) = letters(make(), b"[" + BAD + b"," * 0 + (b"," + BAD) * 4999 + b"]")
    shown = json.loads(dead.headers["errors"])
    assert 0 < len(shown) == 5000 - int(dead.headers["errors-omitted"])
    assert len(dead.headers["errors"]) <= MOST_ERRORS
    assert list(shown) == [str(row) for row in range(len(shown))]


def test_batches_have_so_many_rows_and_all_messages_in_order(make: Callable[..., AnswerMaker]) -> None:
    array = b"[" + GOLDEN + (b"," + GOLDEN) * 2 + b"]"
    values = [GOLDEN, array, b"junk", GOLDEN, array, GOLDEN]
    batches = list(make(max_rows=4).batches([message(value, n) for n, value in enumerate(values)]))
    assert [[one.receipt for one in batch.messages] for batch in batches] == [[0, 1, 2], [3, 4], [5]]
    assert [(batch.n_scored, batch.n_rejected, batch.n_dead) for batch in batches] == [(4, 0, 1), (4, 0, 0), (1, 0, 0)]


def test_answer_that_is_too_large_is_a_dead_letter_and_that_one_loses_the_message(
    make: Callable[..., AnswerMaker],
) -> None:
    maker = make()
    (answer,) = letters(maker, GOLDEN)
    dead = maker.smaller(answer)
    assert (dead.topic, dead.value, dead.id) == ("out.errors", GOLDEN, "group/in/0/0/answer")
    assert dead.headers["reason"] == f"The answer has {len(answer.value)} bytes, more than out takes."
    bare = maker.smaller(dead)
    assert (bare.value, bare.id) == (b"", dead.id)
    assert bare.headers["value-omitted"] == str(len(GOLDEN))
    assert bare.headers["value-sha256"] == sha256(GOLDEN).hexdigest()
    with pytest.raises(StreamError, match="out.errors does not even take a dead letter without the message"):
        maker.smaller(bare)


def test_message_that_the_model_fails_at_is_a_dead_letter_alone(
    model: BundleModel, make: Callable[..., AnswerMaker], monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = make()
    score = model.score

    def fail_at_7(encoded: Any) -> Any:
        if (encoded[:, 0] == 7).any():
            raise ZeroDivisionError
        return score(encoded)

    monkeypatch.setattr(model, "score", fail_at_7)
    seven = b'{"distance": 7, "zone": "A"}'
    one, dead, other = letters(maker, GOLDEN, seven, GOLDEN)
    assert (one.topic, dead.topic, other.topic) == ("out", "out.errors", "out")
    assert (dead.value, dead.headers["reason"]) == (seven, "The model failed with ZeroDivisionError.")


def test_model_that_fails_at_everything_makes_no_dead_letters(
    model: BundleModel, make: Callable[..., AnswerMaker], monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = make()

    def fail(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(model, "score", fail)
    with pytest.raises(ZeroDivisionError):
        letters(maker, GOLDEN)
    monkeypatch.setattr(model, "score", lambda encoded: np.zeros(len(encoded)))
    with pytest.raises(NotReadyError):
        make()


def test_ranges_that_the_model_does_not_have_are_refused_before_the_first_message(
    make: Callable[..., AnswerMaker],
) -> None:
    with pytest.raises(IntervalError):
        make(options=Options(interval=0.9))


class Recorder:
    """A broker that notes what is asked of it, and whose first letters are too large."""

    def __init__(self, deliveries: Sequence[Sequence[Message]], stop: Stop, n_refused: int = 0) -> None:
        self.deliveries, self.stop, self.n_refused = list(deliveries), stop, n_refused
        self.calls: list[Any] = []
        self.before_revoke: Callable[[], None] = lambda: None

    def receive(self, count: int, seconds: float) -> list[Message]:
        if not self.deliveries:
            self.stop.request()
            return []
        return list(self.deliveries.pop(0))

    def send(self, given: Sequence[Letter]) -> Any:
        self.calls.append(("send", [letter.id for letter in given]))
        return _Waiting(self, given)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self.calls.append(("acknowledge", [one.receipt for one in messages]))

    def lag(self) -> int | None:
        return None

    def close(self) -> None:
        self.calls.append(("close",))


class _Waiting:
    def __init__(self, broker: Recorder, given: Sequence[Letter]) -> None:
        self._broker, self._given = broker, given

    def wait(self) -> list[Letter]:
        self._broker.calls.append(("stored", [letter.id for letter in self._given]))
        refused = list(self._given[: self._broker.n_refused])
        self._broker.n_refused = 0
        return refused


class _Silent:
    def received(self, n_in_flight: int) -> None:
        pass

    def settled(self, batch: Batch, seconds: float) -> None:
        pass

    def lag(self, messages: int | None) -> None:
        pass


def test_messages_are_acknowledged_when_their_letters_are_stored_one_batch_later(
    make: Callable[..., AnswerMaker],
) -> None:
    stop = Stop(1)
    broker = Recorder([[message(GOLDEN, 0)], [message(GOLDEN, 1)]], stop, n_refused=1)
    StreamConsumer(broker, make(), 10, 0.1, stop, _Silent()).run()
    first, second = "group/in/0/0", "group/in/0/1"
    assert broker.calls == [
        ("send", [first]),
        ("send", [second]),
        ("stored", [first]),
        ("send", [f"{first}/answer"]),
        ("stored", [f"{first}/answer"]),
        ("acknowledge", [0]),
        ("stored", [second]),
        ("acknowledge", [1]),
        ("close",),
    ]


def test_messages_are_acknowledged_before_others_get_them(make: Callable[..., AnswerMaker]) -> None:
    stop = Stop(1)
    broker = Recorder([[message(GOLDEN, 0)], []], stop)
    receive = broker.receive

    def revoke(count: int, seconds: float) -> list[Message]:
        if broker.calls:
            broker.before_revoke()
            broker.calls.append(("revoked",))
        return receive(count, seconds)

    broker.receive = revoke  # type: ignore[method-assign]
    StreamConsumer(broker, make(), 10, 0.1, stop, _Silent()).run()
    assert broker.calls[:4] == [
        ("send", ["group/in/0/0"]),
        ("stored", ["group/in/0/0"]),
        ("acknowledge", [0]),
        ("revoked",),
    ]


def test_time_to_stop_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("model_kit.streams.broker.time.monotonic", lambda: now[0])
    stop = Stop(5)
    stop.check()
    stop.request()
    now[0] = 104.0
    stop.request()  # a second signal gives no more time
    stop.check()
    now[0] = 105.5
    with pytest.raises(StreamError, match="did not store the answers within 5 s"):
        stop.check()


def test_settings_are_lines_of_a_file_and_the_environment_overrides_them(tmp_path: Path) -> None:
    path = tmp_path / "kafka.properties"
    path.write_text("# TLS\nsecurity.protocol = SASL_SSL\n\n! as in Java\nsasl.password=a=b\n")
    assert read_settings(path, {}) == {"security.protocol": "SASL_SSL", "sasl.password": "a=b"}
    environ = {"MODEL_KIT_STREAM_SASL_PASSWORD": "secret", "PATH": "/bin"}
    assert read_settings(path, environ) == {"security.protocol": "SASL_SSL", "sasl.password": "secret"}
    assert read_settings(None, environ) == {"sasl.password": "secret"}
    with pytest.raises(DataError, match=r"--settings .*/none: FileNotFoundError"):
        read_settings(tmp_path / "none", {})
    path.write_text("sasl.password=x\nhunter2\n")
    with pytest.raises(DataError, match=r"kafka.properties, line 2: write name=value$"):
        read_settings(path, {})


def test_docs_name_every_option() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    consume.add_arguments(parser)
    docs = (ROOT / "docs/streams.md").read_text()
    assert [
        name
        for name in parser.format_help().split()
        if name.startswith("--") and f"{name} " not in docs and f"{name}`" not in docs
    ] == []


def test_key_becomes_a_header_of_ascii() -> None:
    assert header_text("order/7 é\r\nEvil: 1".encode()) == "order/7 %C3%A9%0D%0AEvil: 1"
