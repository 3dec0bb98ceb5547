"""From messages to their answers and dead letters; no I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec

from model_kit.errors import StreamError
from model_kit.records import json_text
from model_kit.records.validation import RowErrors
from model_kit.scoring.predictor import Answer, DetailedAnswer, Predictor
from model_kit.streams.broker import Letter, Message, Route

#: Records in one message. The errors of more would take much memory.
MOST_ROWS: Final = 10_000
#: Bytes of the header with the errors of rows.
MOST_ERRORS: Final = 16_384
CONTENT_TYPE: Final = {"content-type": "application/json"}


class Options(NamedTuple):
    """What an answer has beside predictions.

    Attributes:
        interval: level of the ranges; ``None`` for none.
        probabilities: of the classes.
    """

    interval: float | None = None
    probabilities: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages with the letters that must be stored before the messages are acknowledged.

    Attributes:
        messages: in the order of delivery.
        letters: answers and dead letters.
        n_scored, n_rejected: rows.
        n_dead: messages with a dead letter.
    """

    messages: list[Message]
    letters: list[Letter]
    n_scored: int
    n_rejected: int
    n_dead: int


class _Unreadable(Exception):  # noqa: N818 - it is what becomes of a message
    """A message holds no records; the text says why."""


class AnswerMaker:
    """Scores messages, and writes what is sent about them.

    Args:
        predictor: what scores.
        route: where letters go.
        max_rows: rows of a batch, unless one message has more.
        options: what answers have beside predictions.

    Raises:
        NotReadyError: the model does not score its golden row as recorded.
        IntervalError: the model has no ranges of that level.
    """

    def __init__(self, predictor: Predictor, route: Route, max_rows: int, options: Options) -> None:
        self._predictor, self._route, self._max_rows, self._options = predictor, route, max_rows, options
        self._headers = CONTENT_TYPE | {"model": predictor.model.card["model"], "version": predictor.model.version}
        predictor.model.check()
        self._score([])

    def batches(self, messages: Sequence[Message]) -> Iterator[Batch]:
        """Yield batches, all messages in order."""
        taken: list[tuple[Message, Sequence[object] | str]] = []
        n_rows = 0
        for message in messages:
            try:
                records: Sequence[object] | str = parse(message.value)
            except _Unreadable as error:
                records = str(error)
            count = 0 if isinstance(records, str) else len(records)
            if taken and n_rows + count > self._max_rows:
                yield self._batch(taken)
                taken, n_rows = [], 0
            taken.append((message, records))
            n_rows += count
        if taken:
            yield self._batch(taken)

    def smaller(self, letter: Letter) -> Letter:
        """Return what is sent in place of a letter that is too large for its topic.

        Raises:
            StreamError: there is nothing smaller.
        """
        message = letter.message
        if letter.topic == self._route.to:
            reason = f"The answer has {len(letter.value)} bytes, more than {letter.topic} takes."
            return self._dead_letter(message, reason, part="answer")
        if letter.value:
            omitted = {"value-omitted": str(len(letter.value)), "value-sha256": sha256(letter.value).hexdigest()}
            return Letter(message, letter.topic, letter.id, b"", {**letter.headers, **omitted})
        raise StreamError(f"{letter.topic} does not even take a dead letter without the message")

    def _batch(self, taken: Sequence[tuple[Message, Sequence[object] | str]]) -> Batch:
        records = [record for _, found in taken if not isinstance(found, str) for record in found]
        try:
            answer = self._score(records)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - code of a model package
            # Whoever is at fault: the model as a whole, or one message.
            self._predictor.model.check()
            if len(taken) > 1:
                return _joined([self._batch([one]) for one in taken])
            reason = f"The model failed with {type(error).__name__}."
            return Batch([taken[0][0]], [self._dead_letter(taken[0][0], reason)], 0, len(records), 1)
        letters: list[Letter] = []
        start = n_dead = 0
        for message, found in taken:
            if isinstance(found, str):
                letters.append(self._dead_letter(message, found))
                n_dead += 1
                continue
            rows = slice(start, start + len(found))
            start += len(found)
            errors: dict[int, RowErrors] = {}
            if answer.errors:
                errors = {
                    row - rows.start: answer.errors[row] for row in range(rows.start, rows.stop) if row in answer.errors
                }
            if errors:
                letters.append(self._dead_letter(message, f"Rows have errors: {len(errors)} of {len(found)}.", errors))
                n_dead += 1
            if len(errors) < len(found) or not found:
                letters.append(self._answer(message, answer, rows, errors))
        n_rejected = len(answer.errors)
        return Batch([message for message, _ in taken], letters, len(records) - n_rejected, n_rejected, n_dead)

    def _score(self, records: Sequence[object]) -> Answer:
        if self._options == Options():
            return self._predictor(records)
        return self._predictor.detailed(records, **self._options._asdict())

    def _answer(self, message: Message, answer: Answer, rows: slice, errors: Mapping[int, RowErrors]) -> Letter:
        document: dict[str, Any] = {
            "predictions": answer.predictions[rows],
            "errors": errors or None,
            "version": self._predictor.model.version,
        }
        if isinstance(answer, DetailedAnswer):
            details = {"probabilities": answer.probabilities, "intervals": answer.intervals}
            document |= {name: found[rows] for name, found in details.items() if found is not None}
        headers = {**self._headers, **message.source}
        return Letter(message, self._route.to, message.id, msgspec.json.encode(document), headers)

    def _dead_letter(
        self, message: Message, reason: str, errors: Mapping[int, RowErrors] | None = None, part: str = "error"
    ) -> Letter:
        headers = {**self._headers, **message.source, "reason": _ascii(reason)} | _errors_headers(errors or {})
        # Another id than that of the answer, which may be in the same stream.
        return Letter(message, self._route.dead_letter, f"{message.id}/{part}", message.value or b"", headers)


def parse(value: bytes | None) -> Sequence[object]:
    """Return the records of a message, the elements of a JSON array or its one JSON object, for a predictor."""
    if not value:
        raise _Unreadable("The message is empty.")
    records: Sequence[object] | None = json_text.split(value)
    if records is None:
        try:
            document = json_text.loads(value)
        except UnicodeDecodeError as error:
            raise _Unreadable(f"The message is not UTF-8: invalid byte at offset {error.start}.") from error
        except json_text.ConstantError as error:
            raise _Unreadable(f"The message is not JSON: there is no {error} in JSON.") from error
        except json.JSONDecodeError as error:
            where = f"line {error.lineno}, column {error.colno}"
            raise _Unreadable(f"The message is not JSON: {error.msg} at {where}.") from error
        except RecursionError as error:
            raise _Unreadable("The message is nested too deeply.") from error
        if not isinstance(document, dict | list):
            raise _Unreadable("The message must be a JSON array of records or one record, which is a JSON object.")
        records = [document] if isinstance(document, dict) else document
    if len(records) > MOST_ROWS:
        raise _Unreadable(f"The message has {len(records)} records; at most {MOST_ROWS} are taken in one message.")
    return records


def _joined(batches: Sequence[Batch]) -> Batch:
    return Batch(
        [message for batch in batches for message in batch.messages],
        [letter for batch in batches for letter in batch.letters],
        sum(batch.n_scored for batch in batches),
        sum(batch.n_rejected for batch in batches),
        sum(batch.n_dead for batch in batches),
    )


def _errors_headers(errors: Mapping[int, RowErrors]) -> dict[str, str]:
    """The errors of the first rows as JSON, as many as fit, and how many rows were left out."""
    if not errors:
        return {}
    shown = list(errors.items())
    while len(text := json.dumps(dict(shown), separators=(",", ":"))) > MOST_ERRORS:
        shown = shown[: len(shown) // 2]
    left_out = len(errors) - len(shown)
    return {"errors": text} | ({"errors-omitted": str(left_out)} if left_out else {})


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()
