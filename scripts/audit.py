"""Look for known vulnerabilities in every package that the locks pin, with pip-audit.

What is known of environments of their own, that only tests and the documentation use (requirements/doors/*.txt,
requirements/site.txt), is told and fails nothing: nobody is served by them, and an engine that its makers do not mend
holds up no release.

Asks a service with the interface of OSV (api.osv.dev). If it cannot be reached, or does not know a vulnerability that
has been known for years, nothing is audited: that is said, and the exit status is 0, because a build must not depend on
it.

requirements/audit.toml has what is accepted, each with a reason and a last day:

  [[accepted]]
  id = "PYSEC-2026-1"
  reason = "concerns a function that is not called"
  until = 2027-01-31

exit status: 0 nothing is known but of environments of their own, or nothing was audited; 1 a vulnerability is known, or
an acceptance has run out.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from lock import LOCKS, separate_locks
from processes import script
from project import ROOT, ScriptError

SERVICE = "https://api.osv.dev/v1/query"
ACCEPTED = ROOT / "requirements/audit.toml"
#: A package with a vulnerability that the service must know.
PROBE = {"package": {"name": "jinja2", "ecosystem": "PyPI"}, "version": "2.4.1"}
#: Seconds for one answer of the service.
PATIENCE = 15


def unreachable(url: str) -> str:
    """Return why the service cannot be asked; empty if it can."""
    request = urllib.request.Request(url, json.dumps(PROBE).encode(), {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310  its user's URL
            known = json.load(response)
    except (OSError, ValueError) as error:
        return str(error)
    return "" if isinstance(known, dict) and known.get("vulns") else "it does not know what has been known for years"


def read_accepted(path: Path, today: date) -> dict[str, str]:
    """Return id -> reason of what is accepted.

    Raises:
        ScriptError: an entry is not whole, or its last day has passed.
    """
    found = {}
    for entry in tomllib.loads(path.read_text("utf-8")).get("accepted", []):
        name, reason, until = (entry.get(key) for key in ("id", "reason", "until"))
        if not (name and reason and type(until) is date):
            raise ScriptError(f"{path.name}: each entry has an id, a reason and a date until, which one lacks: {entry}")
        if until < today:
            raise ScriptError(f"{path.name}: {name} was accepted until {until} ({reason}); update it, or decide anew")
        found[name] = reason
    return found


def pins(lock: Path) -> set[tuple[str, str]]:
    """Return name and version of every package that a lock pins, for whatever Python and system."""
    found: list[tuple[str, str]] = re.findall(
        r"^([a-z0-9._-]+)(?:\[.*\])?==([^\s;]+)", lock.read_text("utf-8"), re.MULTILINE
    )
    return set(found)


def audit(packages: Iterable[tuple[str, str]], url: str, accepted: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the packages with known vulnerabilities, as pip-audit describes them.

    Raises:
        ScriptError: pip-audit failed; its words are above.
    """
    versions: dict[str, list[str]] = {}
    for name, version in sorted(packages):
        versions.setdefault(name, []).append(version)
    found = []
    # pip-audit takes one version of a package at a time.
    for number in range(max(map(len, versions.values()), default=0)):
        found += _pip_audit(
            [f"{name}=={all_[number]}" for name, all_ in versions.items() if number < len(all_)], url, accepted
        )
    return [one for one in found if one.get("vulns")]


def _pip_audit(requirements: Iterable[str], url: str, accepted: Mapping[str, str]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="audit-") as temporary:
        report, source = Path(temporary, "report.json"), Path(temporary, "requirements.txt")
        source.write_text("\n".join(requirements), "utf-8")
        command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--osv-url", url]
        command += ["--disable-pip", "--no-deps", "--strict", "--progress-spinner", "off", "--format", "json"]
        command += ["--cache-dir", temporary, "--timeout", str(PATIENCE), "--output", str(report)]
        command += ["--requirement", str(source)]
        command += [word for name in accepted for word in ("--ignore-vuln", name)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if not report.exists():
            sys.stderr.write(done.stderr)
            raise ScriptError("pip-audit failed; its words are above")
        found: list[dict[str, Any]] = json.loads(report.read_text("utf-8"))["dependencies"]
    return found


@script("audit")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "audit.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--service", default=SERVICE, help=f"default: {SERVICE}")
    parser.add_argument("--accepted", type=Path, default=ACCEPTED, help="default: requirements/audit.toml")
    parser.add_argument("lock", nargs="*", type=Path, help="default: every lock")
    options = parser.parse_args(arguments)
    accepted = read_accepted(options.accepted, datetime.now(UTC).date())
    if reason := unreachable(options.service):
        print(f"audit: NOTHING WAS AUDITED: {options.service} cannot be asked: {reason}", file=sys.stderr)
        return 0
    apart = [] if options.lock else [ROOT / name for _, name in separate_locks(ROOT)]
    pinned = {lock: pins(lock) for lock in [*(options.lock or [ROOT / name for _, name in LOCKS]), *apart]}
    packages = set().union(*pinned.values())
    n_failing = n_told = 0
    for one in audit(packages, options.service, accepted):
        places = [lock for lock in pinned if (one["name"], one["version"]) in pinned[lock]]
        is_told = bool(places) and set(places) <= set(apart)
        n_told, n_failing = n_told + is_told, n_failing + (not is_told)
        where = ", ".join(lock.name for lock in places) + "; not what is served" * is_told
        for known in one["vulns"]:
            fixed = ", ".join(known["fix_versions"]) or "no version"
            print(f"{one['name']} {one['version']} ({where}): {known['id']}, fixed by {fixed}: {known['description']}")
    told = f"{n_failing} with a vulnerability, {n_told} in environments of their own; {len(accepted)} accepted"
    print(f"audit: {len(packages)} packages in {len(pinned)} locks, {told}")
    return 1 if n_failing else 0


if __name__ == "__main__":
    sys.exit(main())
