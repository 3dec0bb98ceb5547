"""The load generator: wrk, outside of every server's process, and what it says.

wrk keeps a number of connections busy: each sends its next request as soon as it has the answer to the last one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import _scripts  # noqa: F401
from project import ScriptError

SCRIPT = Path(__file__).with_name("load.lua")
#: Command -> Debian's packages: what sends the requests, and what compiles the constant server.
PACKAGES = {"wrk": ("wrk",), "cc": ("gcc", "libc6-dev")}
#: Seconds after which wrk counts an answer as an error.
PATIENCE = 60


class VoidError(ScriptError):
    """A measurement that means nothing; the text says why."""


class TooShortError(VoidError):
    """No request was answered before the time was over."""


@dataclass(frozen=True)
class Load:
    """What came back.

    Attributes:
        seconds: how long requests were sent.
        statuses: HTTP status -> number of answers.
        latencies: microseconds from the first byte sent to the last byte of the answer -> number of answers.
    """

    seconds: float
    statuses: dict[int, int]
    latencies: dict[int, int]

    @property
    def answers(self) -> int:
        """How many requests were answered in that time."""
        return sum(self.statuses.values())

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds

    def quantile(self, share: float) -> float:
        """Milliseconds within which this share of the answers came."""
        wanted, seen = share * sum(self.latencies.values()), 0
        for microseconds in sorted(self.latencies):
            seen += self.latencies[microseconds]
            if seen >= wanted:
                return microseconds / 1000
        raise VoidError("there was no answer")


def install(needs: Mapping[str, Sequence[str]] = PACKAGES) -> None:
    """Install from Debian's packages what is missing.

    Args:
        needs: command -> packages that bring it.

    Raises:
        ScriptError: it cannot be installed; the text says how to do it.
    """
    missing = [package for command, packages in needs.items() if not shutil.which(command) for package in packages]
    if not missing:
        return
    by_hand = f"the benchmark needs {' and '.join(missing)}; on Debian: apt-get install {' '.join(missing)}"
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (as_root and not shutil.which("sudo")):
        raise ScriptError(by_hand)
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
        if subprocess.run([*as_root, "apt-get", *command], check=False, stdout=subprocess.DEVNULL).returncode:
            raise ScriptError(f"apt-get {command[0]} failed, the reason is above; {by_hand}")


def drive(url: str, bodies: Path, *, connections: int, seconds: int, expected: int = 200, media_type: str = "") -> Load:
    """Send the bodies in turn for a time.

    Args:
        url: where to POST.
        bodies: a file of JSON documents, one a line; of another type, each with its length in a line before it.
        connections: how many requests are under way at any time.
        seconds: how long; wrk takes whole ones.
        expected: status that every answer must have.
        media_type: of bodies and answers, if that is not JSON.

    Raises:
        TooShortError: nothing was answered in that time.
        VoidError: an answer had another status, or a connection failed.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{PATIENCE}s", "-s", str(SCRIPT)]
    command += [url, "--", str(bodies), *(["0", media_type] if media_type else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VoidError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    return read(done.stdout, connections, expected)


def read(report: str, connections: int, expected: int = 200) -> Load:
    """What ``load.lua`` printed.

    Raises:
        TooShortError: nothing was answered.
        VoidError: not every request was answered as expected.
    """
    numbers: dict[str, int] = {}
    found: dict[str, dict[int, int]] = {"status": {}, "latency": {}}
    failed = {}
    for line in report.splitlines():
        match line.split():
            case ["@requests" | "@microseconds" as name, value]:
                numbers[name] = int(value)
            case ["@error", kind, count] if int(count):
                failed[kind] = int(count)
            case ["@status" | "@latency" as name, value, count]:
                found[name[1:]][int(value)] = int(count)
    requests, duration = numbers.get("@requests", 0), numbers.get("@microseconds", 0)
    if failed:
        raise VoidError(f"connections failed: {failed}")
    if not requests:
        raise TooShortError("nothing was answered before the time was over")
    if set(found["status"]) != {expected}:
        raise VoidError(f"every answer must be {expected}; wrk saw {found['status'] or 'none'} in {requests}")
    latencies = found["latency"]
    if requests >= connections:
        latencies = uncorrected(latencies.items(), duration // (requests // connections))
    load = Load(duration / 1e6, found["status"], latencies)
    if not requests == load.answers == sum(latencies.values()):
        raise VoidError(f"{requests} requests, {load.answers} answers, {sum(latencies.values())} latencies")
    return load


def uncorrected(latencies: Iterable[tuple[int, int]], interval: int) -> dict[int, int]:
    """The latencies that were measured, without those that wrk makes up.

    Before it reports, wrk adds to each latency l of at least twice the mean ``interval`` of a connection the
    latencies l - interval, l - 2 * interval, ... down to the interval: what clients that don't wait would have seen
    ("coordinated omission"). Taken back here from the longest down, so that each is what it was when wrk came to it.
    """
    left = Counter(dict(latencies))
    for latency in sorted(left, reverse=True):
        if latency < 2 * interval:
            break
        for made_up in range(latency - interval, interval, -interval):
            left[made_up] -= left[latency]
    return {latency: count for latency, count in sorted(left.items()) if count}
