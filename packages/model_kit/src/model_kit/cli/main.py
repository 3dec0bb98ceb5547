"""The command ``model-kit``: which model is meant, which command, and how errors end it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from model_kit import __version__
from model_kit.cli.common import FAILED, INTERRUPTED, UNUSABLE, EndedBySignal, report
from model_kit.errors import BundleError, DataError, DefinitionError, MissingLibraryError, ModelKitError
from model_kit.scoring.definition import ModelDefinition, find_definition, installed_definitions

PROGRAM: Final = "model-kit"
SUFFIX: Final = "-model"
#: The commands. Each has a module of its name, whose function ``run`` returns the exit status.
COMMANDS: Final = (
    "new",
    "train",
    "retrain",
    "data",
    "predict",
    "consume",
    "evaluate",
    "compare",
    "show",
    "sample",
    "export",
    "spark",
)

EXAMPLES: Final = """\
examples:
  {program} train --data train.csv            cross-validate, train, write the bundle
  {program} predict test.csv -o predicted.csv     every row of test.csv with its prediction
  {program} predict - -o - < test.csv | head  the same in a pipe
  {program} evaluate --data labelled.csv --by COLUMN    errors, group by group
  {program} compare latest new.whl            what changes from one version to the next
  {program} show                              what the model was trained on, and its scores

exit status: 0 done; 1 failed; 2 the input or the command line is unusable; 130 interrupted
"""


def main(argv: Sequence[str] | None = None, *, program: str | None = None) -> int:
    """Run the command; returns its exit status.

    Args:
        argv: arguments without the program's name, by default those of the process.
        program: name that it was called by. ``<name>-model`` stands for ``model-kit`` with ``--model <name>``.
    """
    argv = sys.argv[1:] if argv is None else argv
    program = program or Path(sys.argv[0]).name
    own = program.removesuffix(SUFFIX) if program.endswith(SUFFIX) else None
    train_command = f"{program} train"
    try:
        arguments = build_parser(program, own, argv[0] if argv else None).parse_args(argv)
        arguments.program = program
        run: Callable[[argparse.Namespace], int] = arguments.run
        if hasattr(arguments, "model"):
            train_command += f" --model {arguments.model}" if arguments.model else ""
            arguments.definition = chosen_definition(arguments.model)
        elif own and arguments.needs_model:
            arguments.definition = find_definition(own)
        return run(arguments)
    except KeyboardInterrupt:
        return _error_exit(program, "interrupted", INTERRUPTED)
    except EndedBySignal as error:
        return _error_exit(program, f"ended by {error.signal.name}", 128 + error.signal)
    except (DataError, DefinitionError) as error:
        return _error_exit(program, str(error), UNUSABLE)
    except MissingLibraryError as error:
        return _error_exit(program, f'{error}: pip install "model-kit[batch]"', FAILED)
    except BundleError as error:
        return _error_exit(program, f"{error}; `{train_command}` writes a new bundle", FAILED)
    except ModelKitError as error:
        return _error_exit(program, str(error), FAILED)
    except BrokenPipeError:
        # The reader of a pipe has closed it; what is left in the buffer must not cause an error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _error_exit(program, f"{error.filename or 'output'}: {error.strerror}", FAILED)


def chosen_definition(name: str | None) -> ModelDefinition:
    """The model that is meant: by name, else the only one installed.

    Raises:
        DefinitionError: no such model is installed, or several are and none is named.
    """
    if name:
        return find_definition(name)
    installed = installed_definitions()
    if len(installed) == 1:
        return next(iter(installed.values()))
    if not installed:
        raise DefinitionError("no model is installed")
    raise DefinitionError(f"several models are installed; choose one: --model {'|'.join(sorted(installed))}")


def build_parser(program: str, own: str | None = None, command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Args:
        program: name that it was called by.
        own: the model whose own command it is, if it is one.
        command: the only one that is wanted, if it is known: to import all of them takes longer than some of them run.
    """
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        program,
        description=f"Train the model {own}, use it." if own else "Make model packages, train them, use them.",
        epilog=EXAMPLES.format(program=program),
        formatter_class=layout,
    )
    stated = find_definition(own).version if own else __version__
    parser.add_argument("--version", action="version", version=f"%(prog)s {stated}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    known = [name for name in COMMANDS if not own or name != "new"]
    for name in [command] if command in known else known:
        module = import_module(f"model_kit.cli.{name}")
        epilog = module.EXAMPLES.format(program=program)
        parts = commands.add_parser(name, help=module.HELP, epilog=epilog, formatter_class=layout)
        module.add_arguments(parts)
        needs_model = name != "new"
        parts.set_defaults(run=module.run, needs_model=needs_model)
        if own is None and needs_model:
            parts.add_argument("--model", metavar="NAME", help="which model (default: the only one installed)")
    return parser


def _error_exit(program: str, text: str, status: int) -> int:
    report(f"{program}: {text}")
    return status


if __name__ == "__main__":
    sys.exit(main(program="model-kit"))
