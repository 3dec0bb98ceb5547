"""The stand-in's pre-receive hook: builds what is pushed as Heroku's Python buildpack does, or refuses it.

After github.com/heroku/heroku-buildpack-python: one package-manager file at the root (lib/package_manager.sh), the
Python of .python-version (lib/python_version.sh), and ``pip install -r requirements.txt`` with PIP_EXTRA_INDEX_URL as
the only config var that pip gets (lib/pip.sh). What is different is in docs/deploy.md.

Called as ``buildpack.py SETTINGS`` with git's lines on standard input; SETTINGS is a JSON file of the stand-in.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import uuid
from pathlib import Path
from typing import Any

BRANCH = "refs/heads/main"
MANAGERS = {"requirements.txt": "pip", "Pipfile": "pipenv", "Pipfile.lock": "pipenv", "poetry.lock": "poetry"}
MANAGERS |= {"uv.lock": "uv"}


class BuildError(Exception):
    """What is pushed can't be built."""


def build(settings: dict[str, Any], commit: str) -> dict[str, str]:
    """Build a commit in a folder of its own, from nothing but what is pushed; returns the slug."""
    slug = str(uuid.uuid4())
    folder = Path(settings["folder"], "slugs", slug)
    folder.mkdir(parents=True)
    with subprocess.Popen(["git", "archive", commit], stdout=subprocess.PIPE) as archive:
        subprocess.run(["tar", "-x", "-C", str(folder)], stdin=archive.stdout, check=True)
    found = sorted({manager for name, manager in MANAGERS.items() if (folder / name).exists()})
    if len(found) != 1:
        raise BuildError(f"a Python app needs one package manager's files at its root, and has {found or 'none'}")
    if found != ["pip"]:
        raise BuildError(f"this stand-in builds with pip only, not with {found[0]}")
    processes = dict(re.findall(r"^([a-z]+):\s*(.+)$", (folder / "Procfile").read_text(), re.MULTILINE))
    if "web" not in processes:
        raise BuildError("the Procfile has no web process")
    python = find_python((folder / ".python-version").read_text().strip())
    print(f"-----> Using {python}", flush=True)
    # Nothing of the surroundings: neither of who pushes nor of who started the stand-in.
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(folder / ".home"), "LANG": "C.UTF-8"} | settings["pip_environ"]
    Path(clean["HOME"]).mkdir()
    home = folder / ".heroku/python"
    subprocess.run([python, "-m", "venv", str(home)], env=clean, check=True)
    site = next(home.glob("lib/python*/site-packages"))
    # Between two builds of an app Heroku keeps what was installed; here that is shared by all apps.
    if settings["cache"]:
        for path in Path(settings["cache"]).iterdir():
            if not (site / path.name).exists():
                (site / path.name).symlink_to(path)
    if "PIP_EXTRA_INDEX_URL" in settings["config"]:
        clean["PIP_EXTRA_INDEX_URL"] = settings["config"]["PIP_EXTRA_INDEX_URL"]
    print("-----> Installing dependencies using 'pip install -r requirements.txt'", flush=True)
    command = [str(home / "bin/python"), "-m", "pip", "install", "-r", "requirements.txt"]
    command += ["--disable-pip-version-check", "--exists-action=w", "--no-cache-dir", "--no-input"]
    command += ["--progress-bar", "off"]
    done = subprocess.run(
        command, cwd=folder, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    for line in done.stdout.splitlines():
        if not line.startswith("Requirement already satisfied"):
            print(f"       {line}", flush=True)
    if done.returncode:
        raise BuildError("pip could not install requirements.txt")
    release = {"release": processes["release"]} if "release" in processes else {}
    return {"id": slug, "commit": commit, "command": processes["web"], "folder": str(folder)} | release


def find_python(version: str) -> str:
    """A Python of the version that is asked for, 3.11 or 3.11.7."""
    here = ".".join(map(str, sys.version_info[:2]))
    if version.split(".")[:2] == here.split("."):
        return os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    found = shutil.which(f"python{'.'.join(version.split('.')[:2])}", path=os.environ.get("STANDIN_PATH", os.defpath))
    if found is None:
        raise BuildError(f"there is no Python {version} here")
    return found


def main() -> int:
    """The hook."""
    settings: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    for line in sys.stdin:
        _, commit, ref = line.split()
        if ref != BRANCH:
            print(f"Pushed to {ref}, which is not {BRANCH}: nothing is built", flush=True)
            continue
        print("-----> Building", flush=True)
        try:
            slug = build(settings, commit)
        except (BuildError, OSError, subprocess.CalledProcessError) as error:
            print(f" !     {error}\n !     Push rejected, failed to compile Python app.", flush=True)
            return 1
        request = urllib.request.Request(
            settings["released"],
            json.dumps(slug).encode(),
            {"Authorization": f"Bearer {settings['secret']}", "Content-Type": "application/json"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            version = json.load(answer)["version"]
        print(f"-----> Launching...\n       Released v{version}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
