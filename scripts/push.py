"""Sends what is to be released to the platform: a commit by git, an image by docker."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from heroku import KEY, Platform
from package_index import is_loopback
from project import Say, ScriptError

BRANCH = "refs/heads/main"
#: Never prompts, knows no other credential, and reads the key from the environment: arguments are visible to all users.
#: Heroku's git takes any user (devcenter.heroku.com/articles/git, HTTP Git authentication).
_CREDENTIALS = (
    "-c",
    "credential.helper=",
    "-c",
    f'credential.helper=!f() {{ echo username=heroku; echo "password=${KEY}"; }}; f',
)


def live_commit(platform: Platform, root: Path, app: str) -> str | None:
    """Return the commit that was pushed last; ``None`` if none was.

    Raises:
        ScriptError: git can't ask.
    """
    command = [*_CREDENTIALS, "ls-remote", "--exit-code", _remote(platform, app), BRANCH]
    done = subprocess.run(
        ["git", "-C", str(root), *command], env=_environment(platform), capture_output=True, text=True, check=False
    )
    if done.returncode == 2:  # it answers, and has no such branch
        return None
    if done.returncode:
        raise ScriptError(f"git can't ask {_remote(platform, app)}:\n{platform.scrub(done.stderr).strip()}")
    return done.stdout.split()[0]


def push_commit(platform: Platform, root: Path, app: str, commit: str, say: Say) -> None:
    """Push a commit as the app's main branch; a build that fails refuses it.

    Release commits don't descend from each other, so the push is forced; but only over what is there now, so that of
    two who deploy at once one is refused.

    Raises:
        ScriptError: git or the build refuses; what it said was told.
    """
    there = live_commit(platform, root, app) or ""
    command = ["git", "-C", str(root), *_CREDENTIALS, "push", f"--force-with-lease={BRANCH}:{there}"]
    status = _tell([*command, _remote(platform, app), f"{commit}:{BRANCH}"], _environment(platform), platform, say)
    if status:
        raise ScriptError(f"{app}: the push was refused; the reason is above, and nothing was released")


def push_image(platform: Platform, app: str, image: str, say: Say) -> str:
    """Push an image to the app's part of the registry; returns the digest of its configuration, ``sha256:...``.

    Docker is logged in in a folder that is gone afterwards, by standard input.

    Raises:
        ScriptError: docker fails; what it said was told.
    """
    target = f"{platform.registry}/{app}/web"
    with tempfile.TemporaryDirectory(prefix="docker-") as config:
        environ = _environment(platform) | {"DOCKER_CONFIG": config}
        environ.pop(KEY)
        docker = os.environ.get("DOCKER") or "docker"
        login = [docker, "login", "--username", "_", "--password-stdin", platform.registry]
        _docker(login, environ, platform, stdin=platform.key)
        _docker([docker, "tag", image, target], environ, platform)
        if _tell([docker, "push", target], environ, platform, say):
            raise ScriptError(f"{app}: the image could not be pushed; the reason is above, and nothing was released")
        digest = _docker([docker, "image", "inspect", "--format", "{{.Id}}", target], environ, platform)
    return digest.strip()


def _remote(platform: Platform, app: str) -> str:
    return f"{platform.git}/{app}.git"


def _environment(platform: Platform) -> dict[str, str]:
    """Return the environment for git and docker: the key, no question to the terminal, no proxy to this machine."""
    # A hook or a surrounding git command would mean another repository.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PACKAGE_INDEX_"))}
    clean |= {KEY: platform.key, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"}
    host = urlsplit(platform.git).hostname or ""
    if is_loopback(host):
        clean |= {"NO_PROXY": host, "no_proxy": host}
    return clean


def _tell(command: Sequence[str], environ: Mapping[str, str], platform: Platform, say: Say) -> int:
    """Run a program, telling its output line by line without the key; returns its status."""
    try:
        process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise ScriptError(f"{command[0]} is not here; install it") from error
    with process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            say(f"  {platform.scrub(line.rstrip())}")
    return process.returncode


def _docker(command: Sequence[str], environ: Mapping[str, str], platform: Platform, stdin: str = "") -> str:
    try:
        done = subprocess.run(command, env=environ, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ScriptError("docker is not here; install it") from error
    if done.returncode:
        raise ScriptError(f"{' '.join(command[:2])} failed:\n{platform.scrub(done.stderr).strip()}")
    return done.stdout
