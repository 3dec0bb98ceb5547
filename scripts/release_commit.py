"""The commit that is pushed to the platform: the tested one, and what pins our wheels.

Its only parent is the tested commit. Its tree is the tested tree but for two files: requirements.txt, to which the
exact version and sha256 of each of our wheels are added, of scikit-learn where that serves one of the models, and of
what the app's settings need; and COMMIT, which holds the tested commit for run.sh to hand on to /version. Nothing in it
depends on who makes it or when, so that the same wheels, commit and settings give the same id. Neither the working tree
nor a branch is touched.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from environment import SCIKIT_LEARN_LOCK
from project import Project, ScriptError
from repository import git
from wheels import Manifest

REQUIREMENTS, COMMIT = "requirements.txt", "COMMIT"
#: Lock of optional packages -> settings of the service that need them.
OPTIONAL = {
    "requirements/operations.txt": ("METRICS", "METRICS_PORT", "RATE_LIMIT"),
    "requirements/log.txt": ("PREDICTION_LOG",),
    "requirements/tables.txt": ("ARROW",),
    "requirements/otel.txt": ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
}
#: A package of a lock, with its hashes and comments.
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][^\s=\[]*).*\n(?:[ \t]+.*\n)*", re.MULTILINE)
#: Whom git names as the author of what a script made.
_WHO = {"NAME": "release", "EMAIL": "release@localhost"}


def missing_pins(lock: str, other: str) -> str:
    """The packages of another lock that this one lacks: pip refuses to be given one twice."""
    known = {found["name"] for found in _PIN.finditer(lock)}
    return "".join(found[0] for found in _PIN.finditer(other) if found["name"] not in known)


def needed_locks(settings: Mapping[str, str]) -> list[str]:
    """The locks of optional packages that a service with these settings needs."""
    on = {name for name, value in settings.items() if value.lower() not in ("", "false")}
    return [lock for lock, names in OPTIONAL.items() if on.intersection(names)]


def release_commit(project: Project, manifest: Manifest, settings: Mapping[str, str]) -> str:
    """Make the commit in the repository's store of objects; returns its id.

    Args:
        project: whose repository it is.
        manifest: of the wheels.
        settings: the app's config vars.

    Raises:
        ScriptError: what was tested is no commit, or git fails.
    """
    tested = manifest.commit
    if tested is None or tested.endswith("-dirty"):
        raise ScriptError(
            "what was tested is no commit: "
            + ("there is no repository" if tested is None else "files were changed")
            + "; commit, and make the wheels again"
        )
    root = project.root
    if git(root, "rev-parse", "--is-shallow-repository").strip() == b"true":
        raise ScriptError("this clone is shallow and can't be pushed; `git fetch --unshallow`")
    lock = git(root, "show", f"{tested}:{REQUIREMENTS}")
    if lock and not lock.endswith(b"\n"):
        lock += b"\n"
    others = needed_locks(settings)
    if any(package.needs_scikit_learn for wheel in manifest.models for package in project.models(wheel.model)):
        others.insert(0, SCIKIT_LEARN_LOCK)
    for other in others:
        lock += missing_pins(lock.decode(), git(root, "show", f"{tested}:{other}").decode()).encode()
    ours = f"# Our own wheels, as they were tested at {tested}.\n{manifest.pins()}"
    files = {REQUIREMENTS: lock + ours.encode(), COMMIT: f"{tested}\n".encode()}
    with tempfile.TemporaryDirectory(prefix="release-") as temporary:
        index = {"GIT_INDEX_FILE": str(Path(temporary, "index"))}
        git(root, "read-tree", tested, environ=index)
        for name, content in files.items():
            blob = git(root, "hash-object", "-w", "--stdin", stdin=content).decode().strip()
            git(root, "update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", environ=index)
        tree = git(root, "write-tree", environ=index).decode().strip()
    date = git(root, "show", "--no-patch", "--format=%ct +0000", tested).decode().strip()
    who = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in _WHO.items()}
    when = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    message = (
        "Release " + ", ".join(f"{wheel.name} {wheel.version}" for wheel in manifest.served) + f"\n\nof {tested}\n"
    )
    made = git(
        root, "-c", "i18n.commitEncoding=UTF-8", "commit-tree", "--no-gpg-sign", "-p", tested, tree,
        environ=who | when, stdin=message.encode(),
    )  # fmt: skip
    return made.decode().strip()
