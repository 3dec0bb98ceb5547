"""Deploy the tested wheels on Heroku, verify what then runs, and go back if it is not what was meant.

  git        push a release commit: the tested commit, with our wheels pinned by the hash of the tested files, and what
             the app's settings need (METRICS, RATE_LIMIT, PREDICTION_LOG)
  container  push the tested image and release it
  promote    release on one app what another app runs, by its pipeline
  verify     hold what runs to what was tested; changes nothing
  rollback   go back to the release before, or to --release
  configure  tell the app where its pip finds our wheels, from the PACKAGE_INDEX_ variables

After git, container and promote the app is verified: readiness, /version (version and artefact sha256 of each model,
git commit) and the golden rows, several times in a row. If that does not come within --limit seconds, the app is rolled
back to the release before, which must then serve what it served before, and the status is 1.

exit status: 0 what was meant is live, 1 it is not (the text says what was seen), 2 a setting makes no sense.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from check_wheels import expected
from heroku import HELP, Heroku, Platform, Release, platform_from_environment
from live_service import Expected, Service, wait_until_back, wait_until_right
from package_index import PackageIndex, index_from_environment
from processes import script
from project import Project, Say, ScriptError, say
from push import live_commit, push_commit, push_image
from release_commit import release_commit
from wheels import Manifest, read_manifest

#: Seconds until a release must be right. With preboot the old dynos answer for 3 minutes after a release
#: (devcenter.heroku.com/articles/preboot), and a first start takes its time.
LIMIT = 300.0
#: What `make image` makes.
IMAGE = "ml-api"
#: Config vars with which Heroku's pip finds our wheels; it hands on no other of pip's variables.
INDEX_VARIABLE = "PIP_EXTRA_INDEX_URL"


def deploy(api: Heroku, app: str, meant: Expected, release: Callable[[], None], limit: float, say: Say = print) -> None:
    """Release, verify, and go back if that fails.

    Args:
        api: the platform.
        app: the app's name.
        meant: what must then run.
        release: makes the release.
        limit: seconds until it must be right, and again for the way back.
        say: told what happens.

    Raises:
        ScriptError: what was meant is not live; the text says what was seen, and what is live instead.
    """
    service = Service(api.app(app)["web_url"])
    before = next(iter(api.releases(app)), None)
    known = service.version()
    release()
    now = next(iter(api.releases(app)), None)
    say(f"{app}: {_named(now)}, after {_named(before)}; verifying {service.url}")
    try:
        wait_until_right(service, meant, limit, say)
    except ScriptError as error:
        raise ScriptError(f"{error}\n{_go_back(api, app, before, now, known, service, limit)}") from error
    say(f"{app}: {_named(now)} serves {meant}")


def _go_back(
    api: Heroku,
    app: str,
    before: Release | None,
    now: Release | None,
    known: Mapping[str, Any] | None,
    service: Service,
    limit: float,
) -> str:
    """Roll back; return a sentence about what is live then."""
    if before is None or (before.slug is None and known is None):
        return f"NOT rolled back: {app} has no release before this one that served anything"
    if now is None or now.id == before.id:
        return f"NOT rolled back: {app} had {_named(before)} before, and has it now"
    try:
        back = api.roll_back(app, before)
        if known is None:
            return f"ROLLED BACK {app} to {_named(before)} (as {_named(back)}), which did not answer before either"
        wait_until_back(service, known, limit)
    except ScriptError as error:
        return f"ROLLING BACK {app} to {_named(before)} FAILED TOO: {error}"
    served = ", ".join(f"{name} {found.get('artifact_sha256')}" for name, found in known["models"].items())
    return f"ROLLED BACK {app} to {_named(before)} (as {_named(back)}), which serves what it served before: {served}"


def _named(release: Release | None) -> str:
    return "no release" if release is None else f"release v{release.version}"


def release_by_git(api: Heroku, app: str, project: Project, manifest: Manifest, say: Say = print) -> Callable[[], None]:
    """Return how to release by pushing the release commit; the commit is made at once."""
    commit = release_commit(project, manifest, api.config(app))

    def release() -> None:
        if live_commit(api.platform, project.root, app) != commit:
            push_commit(api.platform, project.root, app, commit, say)
            return
        # Git has nothing to push, and so nothing would be built: what is wanted was released before.
        for number, found in enumerate(api.releases(app)):
            if found.slug is not None and api.slug_commit(app, found.slug) == commit:
                if number:
                    api.roll_back(app, found)
                state = "released again" if number else "live"
                say(f"{app}: {commit} was built for {_named(found)} and is {state}")
                return
        raise ScriptError(f"{app} has {commit} already, but no release of it; push another commit")

    say(f"release commit {commit}, of {manifest.commit}")
    return release


def previous(releases: Sequence[Release]) -> Release:
    """Return the release that ran before what runs now, and was not given up: not one that was rolled back.

    Args:
        releases: the newest first.

    Raises:
        ScriptError: there is none that can be told.
    """
    by_version = {release.version: release for release in releases}

    def origin(release: Release) -> Release:
        found = re.match(r"Rollback to v([0-9]+)", release.description)
        older = by_version.get(int(found.group(1))) if found else None
        return release if older is None else origin(older)

    if releases:
        now = older = origin(releases[0])
        while (below := by_version.get(older.version - 1)) is not None:
            older = origin(below)
            if older.slug not in {None, now.slug}:
                return older
    raise ScriptError("no release of other code before this one is known; name the one to go back to: RELEASE=v12")


def extra_index_url(index: PackageIndex | None) -> str:
    """Return the index with its credentials in the URL, as the config var has it.

    Raises:
        ScriptError: the environment names no index.
    """
    if index is None:
        raise ScriptError("nothing was begun; not set: PACKAGE_INDEX_URL", 2)
    parts = urlsplit(index.url)
    who = quote(index.user, safe="") + (f":{quote(index.token, safe='')}" if index.token else "")
    return urlunsplit(parts._replace(netloc=f"{who}@{parts.netloc}"))


def configure(api: Heroku, app: str, url: str, say: Say = print) -> None:
    """Set the config var if it is not what it should be: each change is a release."""
    if api.config(app).get(INDEX_VARIABLE) == url:
        say(f"{app}: {INDEX_VARIABLE} is set already")
        return
    api.set_config(app, {INDEX_VARIABLE: url})
    say(f"{app}: {INDEX_VARIABLE} is set")


def run(options: argparse.Namespace, project: Project, say: Say) -> None:
    """Do what was asked for.

    Raises:
        ScriptError: it could not be done.
    """
    needed = {"APP": options.app}
    if options.what == "promote":
        needed = {"FROM": options.source, "APP": options.app}
    platform: Platform = platform_from_environment(os.environ, **needed)
    api, app = Heroku(platform), options.app
    if options.what == "configure":
        configure(api, app, extra_index_url(index_from_environment(os.environ)), say)
        return
    if options.what == "rollback":
        releases = api.releases(app)
        wanted = [release for release in releases if f"v{release.version}" == options.release]
        if options.release and not wanted:
            raise ScriptError(f"{app} has no release {options.release}")
        target = wanted[0] if wanted else previous(releases)
        back = api.roll_back(app, target)
        say(f"{app}: {_named(back)} is {_named(target)} again; `make verify` holds it to wheels that were made")
        return
    manifest = read_manifest(project)
    meant = expected(project, manifest, commit=manifest.commit)
    releasing: Callable[[], None]
    if options.what == "verify":
        service = Service(api.app(app)["web_url"])
        wait_until_right(service, meant, options.limit, say)
        say(f"{app} serves {meant}")
        return
    if options.what == "git":
        releasing = release_by_git(api, app, project, manifest, say)
    elif options.what == "container":
        releasing = lambda: api.release_image(app, push_image(platform, app, options.image, say))  # noqa: E731
    else:
        releasing = lambda: api.promote(options.source, app)  # noqa: E731
    deploy(api, app, meant, releasing, options.limit, say)


@script("deploy", "stopped; `make verify` tells what is live")
def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "deploy.py", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = ("git", "container", "promote", "verify", "rollback", "configure")
    parser.add_argument("what", choices=what, help="see above")
    parser.add_argument("--app", default=os.environ.get("APP"), help="the app; for promote, where to (variable: APP)")
    parser.add_argument("--from", dest="source", default=os.environ.get("FROM"), help="promote: the app that has it")
    parser.add_argument("--image", default=os.environ.get("IMAGE") or IMAGE, help="container: the tested image")
    parser.add_argument("--release", default=os.environ.get("RELEASE"), help="rollback: where to, e.g. v12")
    parser.add_argument("--limit", default=os.environ.get("LIMIT") or LIMIT, type=float, help="seconds (%(default)s)")
    options = parser.parse_args(arguments)
    for name, value in (("APP", options.app), ("FROM", options.source)):
        if value and not re.fullmatch(r"[a-z][a-z0-9-]{1,29}", value):
            parser.error(f"{name} is {value!r}; an app's name has lower-case letters, digits and dashes, 30 at most")
    run(options, project or Project(), say)
    return 0


if __name__ == "__main__":
    sys.exit(main())
