"""The command ``ml-client``: predictions for files, outcomes, models of a server."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, Final

from ml_client import __version__
from ml_client.cli import files
from ml_client.client import Client
from ml_client.errors import DataError, MLClientError
from ml_client.predictions import ERROR, PREDICTION, Predictions
from ml_client.progress import reporting
from ml_client.tables import Source

PROGRAM: Final = "ml-client"
OK, FAILED, UNUSABLE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 130
URL, KEY = "ML_API_URL", "ML_API_KEY"

DESCRIPTION: Final = f"""\
Asks a server of ml_api. Its URL is --url or the variable {URL}; an API key is taken from the variable {KEY} only.

  ml-client models --url http://127.0.0.1:5000
  ml-client predict houses.csv -o priced.csv --model regression --interval 0.9 --url http://127.0.0.1:5000
  ml-client predict - --format jsonl --model regression < houses.jsonl | head
  ml-client outcomes sold.csv
"""
EXIT_STATUS: Final = """\
exit status: 0 done; 1 no row has a prediction, or with --strict one has none, or an outcome is not recorded;
2 the arguments or the file are unusable; 3 the server refused or did not answer; 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except KeyboardInterrupt:
        return _error_exit("interrupted", INTERRUPTED)
    except DataError as error:
        return _error_exit(str(error), UNUSABLE)
    except MLClientError as error:
        return _error_exit(str(error), REFUSED)
    except BrokenPipeError:
        # The reader of a pipe has closed it; what is left in the buffer must not cause an error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _error_exit(f"{error.filename or 'output'}: {error.strerror}", UNUSABLE)


def predict(arguments: argparse.Namespace) -> int:
    """Write every row of a file with its prediction or error."""
    with files.spooled(arguments.file) as path, _client(arguments) as client:
        file_format = arguments.format or files.format_of(arguments.file, files.CSV)
        content = files.read(path, file_format, arguments.delimiter)
        as_format = arguments.output_format or files.format_of(arguments.output, file_format)
        if file_format == files.LINES != as_format:
            raise DataError("of JSON Lines the output is JSON Lines too: their records need not have the same fields")
        files.check_names(content.names, (PREDICTION, ERROR), arguments.prefix)
        delimiter = arguments.delimiter or files.delimiter_of(arguments.output)
        model = arguments.model or _only_model(client)
        given: deque[Any] = deque()
        summary = Summary(model)
        results = client.batches(
            model,
            _remembered(content.sources(), given),
            interval=arguments.interval,
            explain=arguments.explain,
            warnings=arguments.warnings,
            probabilities=arguments.probabilities,
            of_class=arguments.of_class,
            id_field=arguments.id_field,
        )
        is_shown = sys.stderr.isatty() and find_spec("tqdm") is not None
        with (
            files.writing(arguments.output, as_format, arguments.prefix, delimiter) as writer,
            reporting(is_shown, content.n_rows) as add,
        ):
            for result in results:
                writer.write(given.popleft(), result)
                summary.add(result)
                add(len(result))
    summary.report(as_json=arguments.json, to_stderr=arguments.output == files.STANDARD)
    is_failed = summary.n_errors == summary.n_rows > 0 or (arguments.strict and summary.n_errors)
    return FAILED if is_failed else OK


def outcomes(arguments: argparse.Namespace) -> int:
    """Send the outcomes in a file."""
    with files.spooled(arguments.file) as path, _client(arguments) as client:
        file_format = arguments.format or files.format_of(arguments.file, files.CSV)
        content = files.read(path, file_format, arguments.delimiter)
        counts: dict[str, int] = {}
        details: list[str] = []
        for source, _ in content.sources():
            found = client.outcomes(source, replace=arguments.replace)
            for status, number in found.counts.items():
                counts[status] = counts.get(status, 0) + number
            details += [f"{one.status}: {one.detail}" for one in found.results if one.detail]
    if arguments.json:
        print(json.dumps({"counts": counts}))
    else:
        print(", ".join(f"{number} {status}" for status, number in counts.items() if number) or "no outcomes")
        for detail in dict.fromkeys(details):
            print(detail, file=sys.stderr)
    return OK if counts.get("recorded", 0) + counts.get("unchanged", 0) == sum(counts.values()) else FAILED


def models(arguments: argparse.Namespace) -> int:
    """List the models of the server."""
    with _client(arguments) as client:
        found = client.models()
    if arguments.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return OK
    for one in found:
        target = one["target"] or {}
        what = target.get("unit") or ", ".join(map(str, target.get("classes", ())))
        print(
            f"{one['name']}  {one['version'] or one['reason']}  {target.get('name', '')}{f' ({what})' if what else ''}"
        )
    return OK


class Summary:
    """What is said about all rows in the end."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._versions: dict[str, None] = {}
        self._started = time.monotonic()
        self.n_rows = self.n_errors = 0

    def add(self, result: Predictions[Any, Any]) -> None:
        """Count a result."""
        self.n_rows += len(result)
        self.n_errors += result.n_errors
        self._versions |= dict.fromkeys(result.versions)

    def report(self, *, as_json: bool, to_stderr: bool) -> None:
        """Print it, for people to stderr."""
        seconds = time.monotonic() - self._started
        if as_json:
            document = {
                "model": {"name": self._model, "versions": list(self._versions)},
                "rows": self.n_rows,
                "predicted": self.n_rows - self.n_errors,
                "failed": self.n_errors,
                "seconds": round(seconds, 3),
            }
            print(json.dumps(document), file=sys.stderr if to_stderr else sys.stdout)
            return
        version = ", ".join(self._versions) or "no version"
        text = f"{self.n_rows - self.n_errors:,} rows predicted, {self.n_errors:,} failed, in {seconds:.1f} s"
        print(f"{self._model} {version}: {text}", file=sys.stderr)


def _remembered(sources: Iterable[tuple[Source, Any]], given: deque[Any]) -> Iterator[Source]:
    """Yield sources, and keep what was read with each."""
    for source, content in sources:
        given.append(content)
        yield source


def _only_model(client: Client) -> str:
    """Return the name of the server's only model.

    Raises:
        DataError: it has none, or several.
    """
    names = [model["name"] for model in client.models()]
    if len(names) != 1:
        raise DataError(f"--model is needed; the server has {', '.join(names) or 'no model'}")
    return str(names[0])


def _client(arguments: argparse.Namespace) -> Client:
    if not arguments.url:
        raise DataError(f"--url is needed, or the variable {URL}")
    return Client(
        arguments.url,
        api_key=os.environ.get(KEY) or None,
        timeout=arguments.timeout,
        retry_for=arguments.retry_for,
        concurrency=arguments.concurrency,
        arrow=not arguments.no_arrow,
    )


def _error_exit(text: str, status: int) -> int:
    print(f"{PROGRAM}: {text}", file=sys.stderr)
    return status


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    common = argparse.ArgumentParser(add_help=False)
    server = common.add_argument_group("server")
    server.add_argument("--url", default=os.environ.get(URL), help=f"of the server (default: the variable {URL})")
    server.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds (default: 60)")
    server.add_argument(
        "--retry-for", type=float, default=60.0, metavar="S", help="seconds for which requests are repeated (60)"
    )
    server.add_argument(
        "--concurrency", type=_positive, default=4, metavar="N", help="requests at the same time (default: 4)"
    )
    server.add_argument("--no-arrow", action="store_true", help="send JSON, even if the server reads Arrow")
    common.add_argument("--json", action="store_true", help="print the result for programs, as JSON")
    file = argparse.ArgumentParser(add_help=False)
    file.add_argument("file", metavar="FILE", help="CSV, Parquet or JSON Lines; - for standard input")
    file.add_argument("--format", choices=files.FORMATS, help="of FILE (default: by its name, else csv)")
    file.add_argument("--delimiter", metavar="C", help="of CSV (default: , and of .tsv a tab)")
    parser = argparse.ArgumentParser(
        PROGRAM, description=DESCRIPTION, epilog=EXIT_STATUS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(run: Callable[[argparse.Namespace], int], *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        command = commands.add_parser(
            run.__name__, help=run.__doc__, description=run.__doc__, epilog=EXIT_STATUS, parents=[*parents, common]
        )
        command.set_defaults(run=run)
        return command

    command = add(predict, file)
    command.add_argument("--model", help="its name (default: the only one of the server)")
    command.add_argument("-o", "--output", default=files.STANDARD, metavar="FILE", help="default: standard output")
    command.add_argument("--output-format", choices=files.FORMATS, help="default: by its name, else as FILE")
    command.add_argument("--interval", type=float, metavar="LEVEL", help="add ranges, of classes sets: 0.5 to 0.95")
    command.add_argument("--probabilities", action="store_true", help="of classes: add the probability of each")
    command.add_argument("--explain", type=_positive, metavar="N", help="add the N strongest contributions")
    command.add_argument("--class", dest="of_class", metavar="CLASS", help="with --explain: of which class")
    command.add_argument("--warnings", action="store_true", help="add what is unusual about a row")
    command.add_argument("--id-field", metavar="FIELD", help="with your own id of each row, for the prediction log")
    command.add_argument("--prefix", default="", metavar="TEXT", help="what the names of the new columns begin with")
    command.add_argument("--strict", action="store_true", help="exit with 1 if one row has no prediction")
    command = add(outcomes, file)
    command.add_argument("--replace", action="store_true", help="replace other values that are recorded")
    add(models)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("a whole number from 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
