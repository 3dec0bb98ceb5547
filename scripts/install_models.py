"""Install our own wheels, exactly those that build/published.txt names, from the private index and from nowhere else.

Exact versions, every sha256 checked, no dependencies (those come from requirements.txt), no other index whatever
pip's configuration or the environment says. Model packages that the file does not name are uninstalled: they would be
served as well. Does nothing if the environment has them already.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from environment import locked
from package_index import HELP, PackageIndex, index_from_environment
from processes import script
from project import ENTRY_POINT_GROUP, Project, Say, ScriptError, write_atomically

#: In the environment: what was installed, for as long as it is complete.
STAMP = ".models.txt"
#: The settings of pip that are about how to reach a server; all others could name another one.
_KEPT = {"PIP_CERT", "PIP_CLIENT_CERT", "PIP_DEFAULT_TIMEOUT", "PIP_PROXY", "PIP_RETRIES"}


def install(published: Path, index: PackageIndex, environment: Path, *, say: Say = print) -> bool:
    """Install what ``published`` names into the virtual environment; ``False`` if it is there already.

    Raises:
        ScriptError: there is nothing to install, or pip refuses; the text has pip's words, without the token.
    """
    try:
        wanted = published.read_text("utf-8")
    except OSError as error:
        raise ScriptError(f"{published}: {error.strerror}; `make publish` writes it") from error
    stamp, python = environment / STAMP, environment / "bin/python"
    if not python.exists():
        raise ScriptError(f"{environment}: no environment here; `make install` makes it")
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return False
    stamp.unlink(missing_ok=True)
    pins = [line.split(" ")[0] for line in wanted.splitlines() if not line.startswith("#")]
    uninstall_others(environment, {pin.partition("==")[0] for pin in pins}, say)
    with tempfile.TemporaryDirectory(prefix="install-") as temporary:
        netrc = Path(temporary, "netrc")
        netrc.touch(0o600)
        netrc.write_text(f"machine {index.host} login {_quoted(index.user)} password {_quoted(index.token)}\n", "utf-8")
        command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--require-hashes"]
        command += ["--only-binary", ":all:", "--force-reinstall", "--no-cache-dir", "--no-input", "--no-user"]
        command += ["--index-url", index.url, "--requirement", str(published)]
        environ = pip_environment(os.environ, index) | {"NETRC": str(netrc)}
        done = subprocess.run(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            close_fds=False,  # keeps the lock of main() until pip ends
        )
    if done.returncode:
        raise ScriptError(f"pip could not install {published}:\n{index.scrub(done.stdout + done.stderr).strip()}")
    write_atomically(stamp, wanted)
    for pin in pins:
        say(f"Installed {pin.replace('==', ' ')} from {index.host}")
    return True


def uninstall_others(environment: Path, wanted: Collection[str], say: Say = print) -> None:
    """Uninstall the model packages that are not among ``wanted``: whatever announces a model is served.

    Raises:
        ScriptError: pip refuses; the text has its words.
    """
    announced = environment.glob("lib/python*/site-packages/*.dist-info/entry_points.txt")
    installed = [
        path.parent.name.split("-")[0].replace("_", "-")
        for path in announced
        if f"[{ENTRY_POINT_GROUP}]" in path.read_text("utf-8")
    ]
    others = sorted(set(installed) - set(wanted))
    if not others:
        return
    command = [sys.executable, "-m", "pip", "--python", str(environment / "bin/python"), "--isolated", "uninstall"]
    done = subprocess.run([*command, "--yes", *others], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ScriptError(f"pip could not uninstall {', '.join(others)}:\n{done.stdout}{done.stderr}")
    say(f"Uninstalled {', '.join(others)}, which {'is' if len(others) == 1 else 'are'} not among what was published")


def pip_environment(environ: Mapping[str, str], index: PackageIndex) -> dict[str, str]:
    """Return the environment for a pip that knows one index only."""
    clean = {
        name: value
        for name, value in environ.items()
        if name in _KEPT or not name.startswith(("PIP_", "PACKAGE_INDEX_", "PYTHON"))
    }
    clean |= {"PIP_CONFIG_FILE": os.devnull, "PIP_KEYRING_PROVIDER": "disabled", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if index.local:
        clean |= {"NO_PROXY": index.host, "no_proxy": index.host}
    return clean


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@script("install")
def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command."""
    project = project or Project()
    parser = argparse.ArgumentParser(
        "install_models.py", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--environment", type=Path, default=project.serving, help="virtual environment (default: %(default)s)"
    )
    parser.add_argument(
        "--published", type=Path, default=project.published, help="requirements file (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    index = index_from_environment(os.environ)
    with ExitStack() as stack:
        stack.enter_context(locked(options.environment.parent))
        if index is None:
            # Only here, because the embedded index needs more than the standard library.
            from local_index import serve_index  # noqa: PLC0415

            index = stack.enter_context(serve_index(project.index))
        changed = install(options.published, index, options.environment)
    if not changed:
        print("The models are installed already.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
