"""Asks a running service whether it is what was meant, and whether it keeps its contract."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import requests
from model_kit.scoring.model import GOLDEN_TOLERANCE

from package_index import is_loopback
from project import Say, ScriptError

#: Seconds for one answer: the platform's router gives up after 30.
TIMEOUT = 35
#: Rounds without a fault before a service counts as right: several workers and dynos answer, and all must be the same.
ROUNDS = 5
#: Seconds between two rounds.
PAUSE = 0.5
_PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class ExpectedModel:
    """The expected state of a model of a service.

    Attributes:
        name: the last part of the model's URL.
        version: as ``/version`` has it.
        artifact_sha256: of the model.
        golden: a ``row`` and its ``prediction``.
    """

    name: str
    version: str
    artifact_sha256: str
    golden: Mapping[str, Any]


@dataclass(frozen=True)
class Expected:
    """The expected state of a service.

    Attributes:
        models: all of them.
        git_commit: what the API was built from; ``None`` if that does not matter.
    """

    models: tuple[ExpectedModel, ...]
    git_commit: str | None

    def __str__(self) -> str:
        models = "; ".join(f"{model.name} {model.version}, artefact {model.artifact_sha256}" for model in self.models)
        return f"{models}, commit {self.git_commit}"


class Service:
    """A service at a URL, asked with an API key where one is given."""

    def __init__(self, url: str, key: str = "") -> None:
        self.url = url if url.endswith("/") else url + "/"
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._local = is_loopback(urlsplit(url).hostname or "")

    def ask(self, method: str, path: str, body: bytes | None = None) -> requests.Response:
        """One answer, on a connection of its own.

        Raises:
            requests.RequestException: there is none.
        """
        with requests.Session() as session:
            session.trust_env = not self._local  # a proxy of the surroundings can't reach this machine
            return session.request(
                method,
                urljoin(self.url, path),
                data=body,
                headers=self._headers | ({"Content-Type": "application/json"} if body is not None else {}),
                timeout=TIMEOUT,
                allow_redirects=False,
            )

    def version(self) -> dict[str, Any] | None:
        """Return what ``/version`` says; ``None`` if nothing usable."""
        try:
            answer = self.ask("GET", "version")
            found = answer.json() if answer.ok else None
        except requests.RequestException:
            return None
        return found if isinstance(found, dict) else None

    def predict(self, model: str, records: Any, query: str = "") -> requests.Response:
        """Return the answer to records."""
        return self.ask("POST", f"v1/predict/{quote(model, safe='')}{query}", json.dumps(records).encode())


def faults(service: Service, expected: Expected) -> list[str]:
    """Return how a service differs from what is expected: readiness, versions, the golden row's prediction."""
    try:
        ready = service.ask("GET", "health/ready")
        if not ready.ok:
            return [f"/health/ready answers {ready.status_code}: {_words(ready)}"]
        found = service.version()
        if found is None:
            return ["/version does not answer"]
        lineages = found.get("models") or {}
        compared: list[tuple[str, Any, Any]] = [
            ("models", sorted(lineages), sorted(model.name for model in expected.models))
        ]
        for model in expected.models:
            lineage = lineages.get(model.name) or {}
            compared += [
                (f"{model.name}.{name}", lineage.get(name), getattr(model, name))
                for name in ("version", "artifact_sha256")
            ]
        if expected.git_commit is not None:
            compared.append(("git_commit", found.get("git_commit"), expected.git_commit))
        wrong = [
            f"/version has {name} {seen!r} where {meant!r} was meant" for name, seen, meant in compared if seen != meant
        ]
        return wrong + [fault for model in expected.models for fault in _golden_faults(service, model)]
    except requests.RequestException as error:
        return [f"no answer: {type(error).__name__}"]


def _golden_faults(service: Service, expected: ExpectedModel) -> list[str]:
    meant, of_classes = expected.golden["prediction"], expected.golden.get("probabilities")
    query = "" if of_classes is None else "?probabilities=true"
    answer = service.predict(expected.name, [expected.golden["row"]], query)
    try:
        found = answer.json()
        (seen,) = found["predictions"]
        if of_classes is None:
            is_right = abs(seen - meant) <= GOLDEN_TOLERANCE * abs(meant)
        else:
            (probable,) = found["probabilities"]
            differences = [abs(probable[key] - share) for key, share in of_classes.items()]
            is_right = seen == meant and max(differences) <= GOLDEN_TOLERANCE
        if is_right:
            return []
    except (ValueError, KeyError, TypeError):
        pass
    told = f"{answer.status_code} {_words(answer)}"
    return [f"the golden row of {expected.name} is answered with {told} where {meant!r} was meant"]


def wait_until_right(
    service: Service,
    expected: Expected,
    limit: float,
    say: Say = print,
    *,
    running: Callable[[], bool] = lambda: True,
) -> None:
    """Ask until the service is as expected several times in a row.

    Args:
        service: whom to ask.
        expected: what was meant.
        limit: seconds until it must be.
        say: told what is seen, when that changes.
        running: whether it can still become right; without it, the check does not wait.

    Raises:
        ScriptError: it is not, in time; the text says what was seen last.
    """
    deadline, told, right = time.monotonic() + limit, [""], 0
    while True:
        found = faults(service, expected)
        right = 0 if found else right + 1
        if right == ROUNDS:
            return
        if found and found != told:
            say(f"  waiting: {'; '.join(found)}")
            told = found
        if found and (time.monotonic() > deadline or not running()):
            seen = "\n".join(f"  - {fault}" for fault in found)
            after = f"after {limit:.0f} s" if running() else "and its process has ended"
            raise ScriptError(f"{service.url} is not what was meant {after}; seen last:\n{seen}")
        time.sleep(PAUSE)


def wait_until_back(service: Service, known: Mapping[str, Any], limit: float) -> None:
    """Ask until the service is ready and its ``/version`` is what it was before, several times in a row.

    Raises:
        ScriptError: it is not, in time; the text says what it is.
    """
    deadline, right = time.monotonic() + limit, 0
    while right < ROUNDS:
        try:
            ready = service.ask("GET", "health/ready").ok
        except requests.RequestException:
            ready = False
        found = service.version()
        right = right + 1 if ready and found == known else 0
        if not right and time.monotonic() > deadline:
            raise ScriptError(f"{service.url} is {'ready' if ready else 'not ready'}, and its /version is {found}")
        time.sleep(PAUSE)


def contract_faults(service: Service, expected: Expected) -> list[str]:
    """Return where a service breaks the HTTP contract, tried with a request for each of its promises and models."""
    promises: dict[str, Callable[[], bool]] = {
        "GET /health is 200": lambda: service.ask("GET", "health").json() == {"status": "ok"},
        "an unknown path is 404": lambda: _is_problem(service.ask("GET", "no/such/path"), 404),
    }
    for model in expected.models:
        promises |= {f"{model.name}: {promise}": kept for promise, kept in _model_promises(service, model).items()}
    broken = []
    for promise, kept in promises.items():
        try:
            if not kept():
                broken.append(promise)
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            broken.append(f"{promise} ({type(error).__name__})")
    return broken


def _is_problem(answer: requests.Response, status: int) -> bool:
    told = answer.headers.get("Content-Type") == _PROBLEM and answer.json()["status"] == status
    return answer.status_code == status and told and "X-Request-ID" in answer.headers


def _model_promises(service: Service, model: ExpectedModel) -> dict[str, Callable[[], bool]]:
    """Return whether each promise of the contract is kept, by its name."""
    golden = model.golden["row"]
    path = f"v1/predict/{quote(model.name, safe='')}"

    def one_of_two() -> bool:
        answer = service.predict(model.name, [golden, 5])
        found = answer.json()
        first, second = found["predictions"]
        return answer.ok and first is not None and second is None and list(found["errors"]) == ["1"]

    def nothing() -> bool:
        answer = service.predict(model.name, [])
        return answer.ok and answer.json()["predictions"] == [] and answer.json()["errors"] is None

    return {
        "a wrong record is null and has its error, a right one beside it is scored": one_of_two,
        "no records are no error": nothing,
        "only wrong records are 422": lambda: service.predict(model.name, [5]).status_code == 422,
        "malformed JSON is 400": lambda: _is_problem(service.ask("POST", path, b"{"), 400),
        "GET of a prediction is 405": lambda: _is_problem(service.ask("GET", path), 405),
        "the API document has the model": lambda: f"/{path}" in service.ask("GET", "openapi.json").json()["paths"],
    }


def _words(answer: requests.Response) -> str:
    text = answer.text.strip()
    # A problem's detail says it; its request id would be another each time.
    if answer.headers.get("Content-Type") == _PROBLEM:
        text = str(answer.json().get("detail"))
    return text if len(text) <= 300 else text[:300] + "..."
