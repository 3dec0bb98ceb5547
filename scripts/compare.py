"""Compare the model that was trained here with the newest release on the package index, or any two.

The same as `regression-model compare`, with defaults and with the index on this machine where the environment names
none. What follows the two is passed on: --data, --json, --html and so on. Exit status: that of the command.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from local_index import open_index
from package_index import HELP, TOKEN, URL, USER
from processes import stop_on_signals
from project import Project, ScriptError


def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """The command."""
    project = project or Project()
    parser = argparse.ArgumentParser(
        "compare.py", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--old", default="latest", help="wheel, version or bundle folder (default: %(default)s)")
    parser.add_argument(
        "--new", default=str(project.packages[-1].bundle), help="the same (default: the bundle that is there)"
    )
    options, rest = parser.parse_known_args(arguments)
    try:
        with stop_on_signals(), open_index(project, os.environ) as index:
            # By environment, never by argument: arguments are for everybody to read.
            environ = os.environ | {URL: index.url, USER: index.user, TOKEN: index.token}
            code = "import sys; from model_kit.cli.main import main; sys.exit(main())"
            command = [sys.executable, "-c", code, "compare", options.old, options.new, *rest]
            return subprocess.run(command, env=environ, cwd=project.root, check=False).returncode
    except ScriptError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("compare: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
