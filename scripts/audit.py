"""Look for known vulnerabilities in every package that the locks pin, with pip-audit.

Asks a service with the interface of OSV (api.osv.dev). If it cannot be reached, or does not know a vulnerability that
has been known for years, nothing is audited: that is said, and the exit status is 0, because a build must not depend on
it.

requirements/audit.toml has what is accepted, each with a reason and a last day:

  [[accepted]]
  id = "PYSEC-2026-1"
  reason = "concerns a function that is not called"
  until = 2027-01-31

exit status: 0 nothing is known, or nothing was audited; 1 a vulnerability is known, or an acceptance has run out.
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
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from lock import LOCKS
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


def audit(locks: Sequence[Path], url: str, accepted: Mapping[str, str]) -> tuple[list[dict[str, Any]], int]:
    """Return the packages with known vulnerabilities, as pip-audit describes them, and how many were looked at.

    Raises:
        ScriptError: pip-audit failed; its words are above.
    """
    with tempfile.TemporaryDirectory(prefix="audit-") as temporary:
        report = Path(temporary, "report.json")
        command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--osv-url", url]
        command += ["--disable-pip", "--require-hashes", "--strict", "--progress-spinner", "off", "--format", "json"]
        command += ["--cache-dir", temporary, "--timeout", str(PATIENCE), "--output", str(report)]
        command += [word for lock in locks for word in ("--requirement", str(lock))]
        command += [word for name in accepted for word in ("--ignore-vuln", name)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if not report.exists():
            sys.stderr.write(done.stderr)
            raise ScriptError("pip-audit failed; its words are above")
        found = json.loads(report.read_text("utf-8"))["dependencies"]
    return [one for one in found if one.get("vulns") or "skip_reason" in one], len(found)


def has(lock: Path, name: str) -> bool:
    """Return whether a lock pins a package."""
    return re.search(rf"^{re.escape(name)}(\[.*\])?==", lock.read_text("utf-8"), re.MULTILINE) is not None


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
    locks = options.lock or [ROOT / name for _, name in LOCKS]
    faults, count = audit(locks, options.service, accepted)
    for one in faults:
        places = ", ".join(lock.name for lock in locks if has(lock, one["name"]))
        for known in one.get("vulns", []):
            fixed = ", ".join(known["fix_versions"]) or "no version"
            print(f"{one['name']} {one['version']} ({places}): {known['id']}, fixed by {fixed}: {known['description']}")
        if "skip_reason" in one:
            print(f"{one['name']} ({places}) was not audited: {one['skip_reason']}")
    known = f"{len(faults)} with a vulnerability; {len(accepted)} accepted"
    print(f"audit: {count} packages in {len(locks)} locks, {known}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
