"""`model-kit consume` on a real NATS JetStream."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest
from model_kit.scoring.model import BundleModel
from model_kit.streams.jetstream import JetStreamBroker
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, StreamConfig

from certificates import make_certificate
from streaming import Consuming, NATSServer, Out, consuming_here, free_port, refusal, ride, wait_until

GOLDEN = json.dumps(GOLDEN_ROW).encode()
BAD = b'{"distance": -1, "zone": "A"}'
GROUP = "model-kit-rides"
Start = Callable[..., Consuming]
Serve = Callable[..., NATSServer]


@pytest.fixture
def serve(tmp_path: Path) -> Generator[Serve]:
    """Starts a server, with more configuration if there is some, and a stream for each subject."""
    started: list[NATSServer] = []

    def start(configuration: str = "", subjects: Sequence[str] = ("in", "out", "out.errors")) -> NATSServer:
        server = NATSServer(tmp_path, configuration)
        started.append(server)
        if subjects:
            server.streams(*subjects)
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def consume(tmp_path: Path, site: Path) -> Generator[Start]:
    """Starts the command."""
    started: list[Consuming] = []

    def start(url: str, *options: str, **environ: str) -> Consuming:
        started.append(Consuming(tmp_path, site, url, *options, **environ))
        return started[-1]

    yield start
    for one in started:
        one.kill()


def enough(number: int) -> Callable[[Sequence[Out]], bool]:
    """Whether there are so many messages."""
    return lambda found: len(found) >= number


def check_complete(found: Sequence[Out], number: int) -> None:
    """Every ride has one answer: the server has dropped those that came again."""
    assert len({one.id for one in found}) == len(found) == number
    assert len({one.answer["predictions"][0] for one in found}) == number


def redelivers_soon(server: NATSServer) -> None:
    """Create the consumer as an operator may: what is not acknowledged comes again after a second."""

    async def create(jetstream: JetStreamContext) -> None:
        config = ConsumerConfig(
            durable_name=GROUP, ack_policy=AckPolicy.EXPLICIT, ack_wait=1, filter_subject="in", max_ack_pending=1000
        )
        await jetstream.add_consumer("IN", config)

    server(create)


def test_messages_are_answered_acknowledged_and_counted(serve: Serve, consume: Start) -> None:
    server = serve()
    port = free_port()
    running = consume(server.url, "--metrics-port", str(port)).started()
    array = b"[" + BAD + b"," + GOLDEN + b"]"
    server.send([GOLDEN])
    server.send([array, b"junk"])
    answers = server.read("out", enough(2))
    dead = server.read("out.errors", enough(2))
    assert [one.answer["predictions"] for one in answers] == [[GOLDEN_PREDICTION], [None, GOLDEN_PREDICTION]]
    assert [one.id.rpartition("/")[0] for one in answers] == [f"{GROUP}/IN/1", f"{GROUP}/IN/2"]
    assert {name: answers[0].headers[name] for name in ("source-topic", "source-stream", "source-offset")} == {
        "source-topic": "in",
        "source-stream": "IN",
        "source-offset": "1",
    }
    assert [(one.value, one.headers["reason"]) for one in dead] == [
        (array, "Rows have errors: 1 of 2."),
        (b"junk", "The message is not JSON: Expecting value at line 1, column 1."),
    ]
    assert json.loads(dead[0].headers["errors"]) == {"0": {"distance": ["Must be greater than or equal to 0."]}}
    wait_until(lambda: server.pending() == 0)

    def metrics() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            return str(response.read().decode())

    for line in (
        'model_kit_stream_messages_total{result="answered"} 1.0',
        'model_kit_stream_messages_total{result="dead_letter"} 2.0',
        'model_kit_stream_rows_total{result="scored"} 2.0',
        'model_kit_stream_rows_total{result="rejected"} 1.0',
        "model_kit_stream_lag_messages 0.0",
        "model_kit_stream_in_flight_messages 0.0",
    ):
        wait_until(lambda line=line: line in metrics().splitlines())  # type: ignore[misc]
    assert 'model_kit_stream_info{broker="nats://127.0.0.1' in metrics()
    running.stop()


def test_kill_in_mid_stream_loses_nothing_and_duplicates_are_dropped(serve: Serve, consume: Start) -> None:
    server = serve()
    redelivers_soon(server)
    server.send(ride(number) for number in range(1000))
    running = consume(server.url, "--max-rows", "1")
    server.read("out", enough(50))
    running.kill()
    running = consume(server.url)
    check_complete(server.read("out", enough(1000)), 1000)
    wait_until(lambda: server.pending() == 0)
    running.stop()
    check_complete(server.read("out", enough(1000)), 1000)


def test_server_that_is_killed_and_comes_back_loses_nothing(serve: Serve, consume: Start) -> None:
    server = serve()
    redelivers_soon(server)
    server.send(ride(number) for number in range(1000))
    running = consume(server.url, "--max-rows", "20")
    server.read("out", enough(100))
    server.kill()
    wait_until(lambda: bool(running.lines("the connection is lost")))
    server.start()
    check_complete(server.read("out", enough(1000)), 1000)
    wait_until(lambda: server.pending() == 0)
    running.stop()


def test_two_consumers_share_and_one_has_what_the_other_does_not_answer(serve: Serve, consume: Start) -> None:
    server = serve()
    redelivers_soon(server)
    first, second = (consume(server.url, "--max-rows", "20").started() for _ in range(2))
    for suspended, numbers in ((first, range(300)), (second, range(300, 600))):
        suspended.process.send_signal(signal.SIGSTOP)
        server.send(map(ride, numbers))
        server.read("out", enough(numbers.stop))
        suspended.process.send_signal(signal.SIGCONT)
    wait_until(lambda: server.pending() == 0)
    for one in (first, second):
        one.stop()
        assert one.lines("stopped")[0]["messages"] >= 280
    check_complete(server.read("out", enough(600)), 600)


def test_stream_that_is_full_holds_messages_back_until_there_is_room(serve: Serve, model: BundleModel) -> None:
    server = serve(subjects=("in", "out.errors"))

    async def create(jetstream: JetStreamContext) -> None:
        await jetstream.add_stream(StreamConfig("OUT", subjects=["out"], max_msgs=10, discard=DiscardPolicy.NEW))

    async def purge(jetstream: JetStreamContext) -> None:
        await jetstream.purge_stream("OUT")

    server(create)
    server.send(ride(number) for number in range(15))
    with consuming_here(model, JetStreamBroker, server.servers):
        before = server.read("out", enough(10))
        assert server.pending() == 15
        server(purge)
        check_complete([*before, *server.read("out", enough(5))], 15)
    assert server.pending() == 0


def test_own_id_of_a_message_is_that_of_its_answer(serve: Serve, model: BundleModel) -> None:
    server = serve()
    with consuming_here(model, JetStreamBroker, server.servers, id_header="order"):
        server.send([GOLDEN], headers={"order": "7 é"})
        server.send([GOLDEN], headers={"order": "7 é"})
        server.send([GOLDEN])
        found = server.read("out", enough(2))
    assert [one.id.rpartition("/")[0] for one in found] == [f"{GROUP}/id", f"{GROUP}/IN/3"]
    assert found[0].id == f"{GROUP}/id/7 %C3%A9"


def test_what_is_too_large_for_the_server_is_a_dead_letter(serve: Serve, model: BundleModel) -> None:
    server = serve("max_payload: 4000")
    # Its dead letter has headers beside it, with which it is too large.
    server.send([b"x" * 3990, GOLDEN])
    with consuming_here(model, JetStreamBroker, server.servers):
        (answer,) = server.read("out", enough(1))
        (dead,) = server.read("out.errors", enough(1))
    assert answer.answer["predictions"] == [GOLDEN_PREDICTION]
    assert (dead.value, dead.headers["value-omitted"]) == (b"", "3990")


@pytest.mark.usefixtures("installed")
def test_what_cannot_be_used_is_refused(
    serve: Serve, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    reason = f"{server.url} has no stream with the subject elsewhere; create one"
    assert refusal(capsys, server.url, "--to", "elsewhere") == (2, f"model-kit: {reason}")
    reason = "--metrics-port many: write PORT or HOST:PORT"
    assert refusal(capsys, server.url, "--metrics-port", "many") == (2, f"model-kit: {reason}")
    status, found = refusal(capsys, server.url, "--metrics-port", str(server.port))
    assert (status, found) == (1, f"model-kit: --metrics-port {server.port}: Address already in use")

    async def create(jetstream: JetStreamContext) -> None:
        await jetstream.add_consumer("IN", ConsumerConfig(durable_name="other", ack_policy=AckPolicy.EXPLICIT))

    server(create)
    status, found = refusal(capsys, server.url, "--group", "other")
    assert status == 2
    assert "the stream IN has a consumer other already" in found
    monkeypatch.setenv("MODEL_KIT_STREAM_SASL_PASSWORD", "hunter2")
    status, found = refusal(capsys, server.url)
    assert (status, found[:48]) == (2, "model-kit: sasl.password is no setting of NATS: ")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ["--topic", "rides.>", "--to", "rides.out"],
            "--topic rides.> has rides.out in it: a consumer would read its own answers",
        ),
        (
            ["--topic", "*.in", "--dead-letter", "errors.in"],
            "--topic *.in has errors.in in it: a consumer would read its own answers",
        ),
        (["--to", "out.*"], "out.* is no subject that can be sent to"),
        (["--group", "a.b"], "--group a.b: NATS takes no blank, dot, star, slash or > in it"),
        (["--topic", "rides.>", "--to", "rides", "--dead-letter", "bad"], ""),
        (["--topic", "*.in", "--to", "a.b.in"], ""),
    ],
)
def test_subject_that_cannot_be_used_is_refused(
    options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # Where all are usable, the server is asked, which is not there.
    status, found = refusal(capsys, "nats://127.0.0.1:9", "--timeout", "1", *options)
    assert (status, found) == (2, f"model-kit: {reason}") if reason else status == 1


@pytest.mark.usefixtures("installed")
def test_server_that_does_not_answer_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    status, reason = refusal(capsys, url, "--timeout", "1")
    assert (status, reason[: len(url) + 40]) == (1, f"model-kit: {url} does not answer within 1 s: ")


ACCOUNTS = """
accounts { A { jetstream: enabled, users: [
  { user: admin, password: secret }
  { user: reader, password: secret, permissions: { publish: ["$JS.>", "_INBOX.>"], subscribe: ">" } }
] } }
no_auth_user: admin
"""


@pytest.mark.usefixtures("installed")
def test_user_who_may_not_answer_ends_with_the_reason(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(ACCOUNTS)
    server.send([GOLDEN])
    settings = tmp_path / "nats.properties"
    settings.write_text("user=reader\npassword=hunter2\n")
    status, reason = refusal(capsys, server.url, "--settings", str(settings), "--timeout", "2")
    assert status == 1
    assert "uthorization" in reason
    assert "hunter2" not in reason
    monkeypatch.setenv("MODEL_KIT_STREAM_PASSWORD", "secret")
    status, reason = refusal(capsys, server.url, "--settings", str(settings))
    assert status == 1
    assert 'permissions violation for publish to "out"' in reason.lower()
    assert server.pending() == 1


def test_tls_that_is_asked_for_is_used_and_verified(serve: Serve, consume: Start, tmp_path: Path) -> None:
    certificate, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    make_certificate(certificate, key, "IP:127.0.0.1")
    tls = f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}'
    # One that takes clear text too, as the tests' own client speaks.
    server = serve(f"{tls}\nallow_non_tls: true")
    server.send([GOLDEN])
    running = consume(server.url, MODEL_KIT_STREAM_TLS_CA=str(certificate)).started()
    (answer,) = server.read("out", enough(1))
    assert answer.answer["predictions"] == [GOLDEN_PREDICTION]
    running.stop()
    refused = consume(server.url, "--timeout", "1", MODEL_KIT_STREAM_TLS="true")
    wait_until(lambda: refused.process.poll() is not None)
    assert "certificate verify failed" in refused.errors


@pytest.mark.usefixtures("installed")
def test_password_is_not_sent_where_there_is_no_tls(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    received = []

    class Handler(StreamRequestHandler):
        """Says that it is a server without TLS, or somebody between the two does."""

        def handle(self) -> None:
            self.wfile.write(
                b'INFO {"server_id":"a","version":"2.9.10","max_payload":1048576,"auth_required":true}\r\n'
            )
            received.append(self.rfile.read1())

    monkeypatch.setenv("MODEL_KIT_STREAM_TLS", "true")
    monkeypatch.setenv("MODEL_KIT_STREAM_PASSWORD", "hunter2")
    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever, 0.05)
        status, _ = refusal(capsys, f"nats://127.0.0.1:{server.server_address[1]}", "--timeout", "1")
        server.shutdown()
    assert status == 1
    # Each begins as the handshake of TLS does.
    assert {one[:1] for one in received} == {b"\x16"}
    assert not any(b"hunter2" in one for one in received)
