"""The command ``ml-api``: finds the subcommands, which are the modules beside this one.

Such a module has ``add(subparsers)``, which adds a parser whose default ``run`` is a function of the parsed arguments
that raises a :class:`~ml_api.settings.SettingsError` for what the user can put right, and may return an exit status.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules

from ml_api import cli
from ml_api.settings import SettingsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = build_parser().parse_args(arguments)
    try:
        status: int | None = options.run(options)
    except SettingsError as error:
        print(f"ml-api: {error}", file=sys.stderr)
        return 1
    return status or 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, with every subcommand."""
    parser = argparse.ArgumentParser("ml-api", description="Operate the prediction API.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in iter_modules(cli.__path__):
        if module.name not in ("main", "__main__"):
            import_module(f"{cli.__name__}.{module.name}").add(subparsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
