"""`model-kit consume` on librdkafka's mock cluster, in a third process; what a broker's disk keeps is not shown."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Generator, Sequence
from itertools import count
from pathlib import Path

import pytest
from model_kit.scoring.model import BundleModel
from model_kit.streams.kafka import KafkaBroker
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW

from certificates import make_certificate
from pages import blocks
from project import ROOT
from streaming import Consuming, MockKafka, Out, consuming_here, free_port, refusal, ride, secured, wait_until

GOLDEN = json.dumps(GOLDEN_ROW).encode()
BAD = b'{"distance": -1, "zone": "A"}'
GROUP = "model-kit-rides"
#: A consumer that was killed is missed soon.
QUICK = {
    "MODEL_KIT_STREAM_CONSUMER_SESSION_TIMEOUT_MS": "2000",
    "MODEL_KIT_STREAM_CONSUMER_HEARTBEAT_INTERVAL_MS": "200",
}
Start = Callable[..., Consuming]


@pytest.fixture
def kafka() -> Generator[MockKafka]:
    """A cluster with the topics, of two partitions each."""
    cluster = MockKafka()
    for topic in ("in", "out", "out.errors"):
        cluster(f"topic {topic} 2")
    yield cluster
    cluster.kill()


@pytest.fixture
def consume(kafka: MockKafka, tmp_path: Path, site: Path) -> Generator[Start]:
    """Starts the command."""
    started: list[Consuming] = []

    def start(*options: str, url: str = kafka.url, **environ: str) -> Consuming:
        started.append(Consuming(tmp_path, site, url, *options, **environ))
        return started[-1]

    yield start
    for one in started:
        one.kill()


def enough(number: int) -> Callable[[Sequence[Out]], bool]:
    """Whether there are answers for so many different messages."""
    return lambda found: len({one.id for one in found}) >= number


def check_complete(found: Sequence[Out], number: int) -> None:
    """Every ride has its answer, and an answer that was sent twice is the same."""
    answers: dict[str, float] = {}
    for one in found:
        (prediction,) = one.answer["predictions"]
        assert answers.setdefault(one.id, prediction) == prediction
    assert len(answers) == number
    assert len(set(answers.values())) == number


def test_messages_are_answered_and_committed(kafka: MockKafka, consume: Start) -> None:
    array = b"[" + BAD + b"," + GOLDEN + b"]"
    running = consume("--max-wait", "0.05").started()
    kafka.send([GOLDEN, array, b"junk", None], partition=1, key=b"order 7", headers={"order": b"7"})
    answers = kafka.read("out", enough(2))
    dead = kafka.read("out.errors", enough(3))
    assert sorted((one.id, one.answer["predictions"]) for one in answers) == [
        (f"{GROUP}/in/1/0", [GOLDEN_PREDICTION]),
        (f"{GROUP}/in/1/1", [None, GOLDEN_PREDICTION]),
    ]
    assert next(one.headers for one in answers if one.id.endswith("/0")) == {
        "content-type": "application/json",
        "model": "rides",
        "version": "1.2.3",
        "source-topic": "in",
        "source-partition": "1",
        "source-offset": "0",
        "source-key": "order 7",
    }
    assert sorted((one.id, one.value, one.headers["reason"]) for one in dead) == [
        (f"{GROUP}/in/1/1/error", array, "Rows have errors: 1 of 2."),
        (f"{GROUP}/in/1/2/error", b"junk", "The message is not JSON: Expecting value at line 1, column 1."),
        (f"{GROUP}/in/1/3/error", b"", "The message is empty."),
    ]
    running.stop()
    assert kafka.lag() == 0
    (line,) = running.lines("stopped")
    assert (line["messages"], line["dead_letters"], line["rows"], line["rows_rejected"]) == (4, 3, 3, 1)


def test_kill_in_mid_stream_loses_nothing(kafka: MockKafka, consume: Start) -> None:
    kafka.send(ride(number) for number in range(1000))
    running = consume("--max-rows", "1", **QUICK)
    kafka.read("out", enough(50))
    running.kill()
    running = consume(**QUICK)
    check_complete(kafka.read("out", enough(1000)), 1000)
    running.stop()
    assert kafka.lag() == 0


def test_broker_that_goes_away_and_comes_back_loses_nothing(kafka: MockKafka, consume: Start) -> None:
    kafka.send(ride(number) for number in range(1000))
    running = consume("--max-rows", "20")
    kafka.read("out", enough(100))
    kafka("down")
    wait_until(lambda: bool(running.lines("broker")))
    kafka("up")
    check_complete(kafka.read("out", enough(1000)), 1000)
    running.stop()
    assert kafka.lag() == 0


def test_stop_without_a_broker_ends_in_time_and_says_so(kafka: MockKafka, consume: Start) -> None:
    # So many that answers are still to be stored when the broker goes: one by one they take seconds.
    kafka.send(ride(number) for number in range(10_000))
    running = consume("--max-rows", "1", "--stop-timeout", "1").started()
    kafka.read("out", enough(10))
    running.process.send_signal(signal.SIGSTOP)
    kafka("down")
    running.process.send_signal(signal.SIGCONT)
    wait_until(lambda: bool(running.lines("broker")))
    running.process.terminate()
    assert running.process.wait(30) == 1
    assert "the broker did not store the answers within 1 s of the signal to stop" in running.errors


def test_two_consumers_share_and_a_stop_gives_the_rest_to_the_other(kafka: MockKafka, consume: Start) -> None:
    first = consume("--max-rows", "50", **QUICK).started()
    wait_until(lambda: bool(first.lines("partitions are assigned")))
    second = consume("--max-rows", "50", **QUICK).started()
    numbers = count()

    def feed() -> None:
        for partition in (0, 1):
            kafka.send((ride(next(numbers)) for _ in range(250)), partition=partition)

    feed()
    wait_until(lambda: any(line["partitions"] for line in second.lines("partitions are assigned")))
    feed()
    kafka.read("out", enough(1000))
    first.stop()
    feed()
    check_complete(kafka.read("out", enough(1500)), 1500)
    second.stop()
    assert kafka.lag() == 0
    assert [one.lines("stopped")[0]["messages"] > 0 for one in (first, second)] == [True, True]


def test_what_is_too_large_for_a_topic_is_a_dead_letter(kafka: MockKafka, model: BundleModel) -> None:
    large = b"[" + GOLDEN + (b"," + GOLDEN) * 99 + b"]"
    # Its answer is too large, and so is its dead letter with the message.
    kafka.send([large, GOLDEN], partition=0)
    with consuming_here(model, KafkaBroker, kafka.servers, producer_message_max_bytes="1500"):
        (answer,) = kafka.read("out", enough(1))
        (dead,) = kafka.read("out.errors", enough(1))
    assert answer.id == f"{GROUP}/in/0/1"
    assert (dead.id, dead.value, dead.headers["value-omitted"]) == (f"{GROUP}/in/0/0/answer", b"", str(len(large)))
    assert kafka.lag() == 0


@pytest.mark.usefixtures("installed")
def test_topic_or_setting_that_cannot_be_used_is_refused(
    kafka: MockKafka, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = f"{kafka.url} has no topic elsewhere, or does not show it to this user; create it"
    for options in (["--to", "elsewhere"], ["--dead-letter", "elsewhere"], ["--topic", "elsewhere"]):
        assert refusal(capsys, kafka.url, *options) == (2, f"model-kit: {unknown}")
    monkeypatch.setenv("MODEL_KIT_STREAM_ENABLE_AUTO_COMMIT", "true")
    reason = "enable.auto.commit is not for you to set: the delivery of answers depends on it"
    assert refusal(capsys, kafka.url) == (2, f"model-kit: {reason}")
    monkeypatch.delenv("MODEL_KIT_STREAM_ENABLE_AUTO_COMMIT")
    monkeypatch.setenv("MODEL_KIT_STREAM_NO_SUCH", "true")
    reason = 'a setting of the broker: No such configuration property: "no.such"'
    assert refusal(capsys, kafka.url) == (2, f"model-kit: {reason}")


@pytest.mark.usefixtures("installed")
def test_tls_and_a_password_reach_the_cluster_and_nothing_else(
    kafka: MockKafka,
    consume: Start,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate, key, settings = tmp_path / "ca.pem", tmp_path / "key.pem", tmp_path / "kafka.properties"
    make_certificate(certificate, key, "IP:127.0.0.1")
    (documented,) = [block.text for block in blocks(ROOT / "docs/streams.md") if block.language == "properties"]
    changed = {"SCRAM-SHA-512": "PLAIN", "=houses": "=rides", "/etc/model-kit/ca.pem": str(certificate)}
    for old, new in changed.items():
        documented = documented.replace(old, new)
    settings.write_text(documented)
    monkeypatch.setenv("MODEL_KIT_STREAM_SASL_PASSWORD", "hunter2")
    kafka.send([GOLDEN])
    with secured(kafka, certificate, key, "rides", "hunter2") as url:
        running = consume("--settings", str(settings), url=url).started()
        (answer,) = kafka.read("out", enough(1))
        assert answer.answer["predictions"] == [GOLDEN_PREDICTION]
        running.stop()
        assert kafka.lag() == 0
        assert running.lines("broker") == []
        said = running.output + running.errors
        for name, value, reason in (
            ("SASL_PASSWORD", "hunter3", "SASL authentication error"),
            ("SSL_CA_LOCATION", "probe", "broker certificate could not be verified"),
            ("SECURITY_PROTOCOL", "SASL_PLAINTEXT", "is security.protocol that of this port?"),
        ):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(f"MODEL_KIT_STREAM_{name}", value)
                status, found = refusal(capsys, url, "--settings", str(settings), "--timeout", "1")
            assert (status, reason in found) == (1, True), found
            said += found
    assert "hunter" not in said


@pytest.mark.usefixtures("installed")
def test_cluster_that_does_not_answer_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"kafka://127.0.0.1:{free_port()}"
    status, reason = refusal(capsys, url, "--timeout", "1")
    assert status == 1
    assert reason.startswith(f"model-kit: {url} does not answer within 1 s: ")
    assert "Connect" in reason


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--to", "in"], "--topic, --to and --dead-letter must be three: a consumer would read its own answers"),
        (
            ["--broker", "kafka+ssl://host"],
            "--broker: write kafka://HOST:PORT or nats://HOST:PORT, several hosts with commas; TLS is a setting",
        ),
        (
            ["--broker", "nats://user:hunter2@host"],
            "--broker: no user and password here; write them into --settings FILE or MODEL_KIT_STREAM_... variables",
        ),
        (["--probabilities"], "fare is a number: --probabilities is for classes"),
        (["--model", "boats"], "no model boats is installed; installed: "),
    ],
)
def test_command_line_that_cannot_be_used_is_refused_before_a_broker_is_asked(
    options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found = refusal(capsys, "kafka://127.0.0.1:9", *options)
    assert (status, found[: len(reason) + 11]) == (2, f"model-kit: {reason}")
