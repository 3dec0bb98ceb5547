"""The environments for conda, made of the lock of the notebooks' environment by scripts/lock.py.

environment.yml has every package of the lock with its version, as `conda env export` writes it, for Linux on x86-64 and
the Python of .python-version. requirements/environment-loose.yml has what was asked for, with the bounds that our
packages declare, as `conda env export --from-history` does, for other platforms. conda has solved neither: names and
versions are held to the lock (tests/test_conda.py), and whether conda-forge has them is not known here.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

SOURCE, LOCK = "requirements/notebook.in", "requirements/notebook.txt"
PINNED, LOOSE = "environment.yml", "requirements/environment-loose.yml"
#: The packages that declare which versions they work with.
PACKAGES = ("model_kit", "ml_api", "ml_client")
#: Name on PyPI -> on conda-forge, where it is another one. tzdata there is the database, without the package.
NAMES = {
    "backports-tarfile": "backports.tarfile",
    "build": "python-build",
    "fastjsonschema": "python-fastjsonschema",
    "flatbuffers": "python-flatbuffers",
    "importlib-resources": "importlib_resources",
    "ipython-pygments-lexers": "ipython_pygments_lexers",
    "jaraco-classes": "jaraco.classes",
    "jaraco-context": "jaraco.context",
    "jaraco-functools": "jaraco.functools",
    "jupyter-client": "jupyter_client",
    "jupyter-core": "jupyter_core",
    "jupyter-events": "jupyter_events",
    "jupyter-server": "jupyter_server",
    "jupyter-server-terminals": "jupyter_server_terminals",
    "jupyterlab-pygments": "jupyterlab_pygments",
    "jupyterlab-server": "jupyterlab_server",
    "matplotlib": "matplotlib-base",
    "ml-dtypes": "ml_dtypes",
    "nbconvert": "nbconvert-core",
    "prometheus-client": "prometheus_client",
    "pure-eval": "pure_eval",
    "pyproject-hooks": "pyproject_hooks",
    "readme-renderer": "readme_renderer",
    "stack-data": "stack_data",
    "typing-extensions": "typing_extensions",
    "tzdata": "python-tzdata",
}
#: What conda-forge lacks, or may lack: pip installs it, by its hashes.
BY_PIP = frozenset({"lazy-importer", "offapi"})
#: Of Linux on x86-64, for the lock's markers.
PLATFORM = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "sys_platform": "linux",
}
_PIN = re.compile(r"^([a-z0-9][^\\\n]*?)\s*\\?\n((?:[ \t]+--hash=\S+[ \t\\]*\n)*)", re.MULTILINE)
_HEAD = """\
# Made from {made_of} by `make lock`; not to be edited. {what}
# Not solved by conda: docs/notebooks.md.
name: ml-notebook
channels:
  - conda-forge
  - nodefaults
dependencies:
"""


def environments(root: Path) -> dict[str, str]:
    """Return the content of both files, by name."""
    return {PINNED: pinned(root), LOOSE: loose(root)}


def pins(root: Path) -> dict[str, tuple[str, list[str]]]:
    """Return name -> version and hashes of what the lock installs on the platform of :data:`PINNED`."""
    markers = PLATFORM | {"python_version": python(root), "python_full_version": f"{python(root)}.0"}
    found: dict[str, tuple[str, list[str]]] = {}
    for line, hashes in _PIN.findall((root / LOCK).read_text("utf-8")):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(markers):
            (version,) = requirement.specifier
            found[canonicalize_name(requirement.name)] = (version.version, re.findall(r"--hash=\S+", hashes))
    return found


def python(root: Path) -> str:
    """Return the Python of the project, such as ``3.11``."""
    return (root / ".python-version").read_text("utf-8").strip()


def pinned(root: Path) -> str:
    """Return the environment with all versions."""
    found = dict(sorted(pins(root).items()))
    lines = [f"  - {NAMES.get(name, name)}={version}" for name, (version, _) in found.items() if name not in BY_PIP]
    lines += ["  - pip:"]
    lines += [
        f"      - {name}=={version} {' '.join(hashes)}" for name, (version, hashes) in found.items() if name in BY_PIP
    ]
    head = _HEAD.format(made_of=LOCK, what="Linux on x86-64.")
    return "\n".join([f"{head}  - python={python(root)}", *lines, ""])


def loose(root: Path) -> str:
    """Return the environment with what was asked for, and bounds where our packages, or the source, declare them."""
    declared = bounds(root)
    lines = set()
    by_pip = []
    for requirement in asked(root / SOURCE):
        name = canonicalize_name(requirement.name)
        bound = declared.get(name) or str(requirement.specifier)
        if name in BY_PIP:
            by_pip.append(f"      - {name}{bound}")
        else:
            lines.add(f"  - {NAMES.get(name, name)}{bound}")
    head = _HEAD.format(made_of=SOURCE, what="Other platforms.")
    return head + "\n".join(["  - python>=3.11,<3.14", "  - pip", *sorted(lines), "  - pip:", *sorted(by_pip), ""])


def asked(source: Path) -> list[Requirement]:
    """Return what a source of a lock asks for, with what it includes by -r."""
    text = source.read_text("utf-8")
    included = [source.parent / name for name in re.findall(r"^-r (.+)$", text, re.MULTILINE)]
    return [
        *map(Requirement, re.findall(r"^[A-Za-z0-9].*", text, re.MULTILINE)),
        *(requirement for path in included for requirement in asked(path)),
    ]


def bounds(root: Path) -> dict[str, str]:
    """Return name -> the versions that all of our packages declare to work with, extras included."""
    lowest: dict[str, list[Version]] = {}
    below: dict[str, list[Version]] = {}
    for name in PACKAGES:
        project = tomllib.loads((root / "packages" / name / "pyproject.toml").read_text("utf-8"))["project"]
        groups = [project["dependencies"], *project["optional-dependencies"].values()]
        for requirement in map(Requirement, (line for group in groups for line in group)):
            for one in requirement.specifier:
                side = {">=": lowest, "<": below}[one.operator]
                side.setdefault(canonicalize_name(requirement.name), []).append(Version(one.version))
    return {
        name: ",".join([f">={max(versions)}", *(f"<{min(below[name])}" for _ in below.get(name, [])[:1])])
        for name, versions in lowest.items()
    }
