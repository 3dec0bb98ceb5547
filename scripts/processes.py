"""Child processes that never outlive their parent, and signals that end a script in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import ParamSpec

from project import ScriptError

Arguments = ParamSpec("Arguments")
#: Exit status of a script that was stopped, as shells have it.
_STOPPED = 130
#: Seconds between asking a process to end and killing it; gunicorn gives its own workers 30.
PATIENCE = 35.0


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def stop_on_signals() -> Generator[None]:
    """Let SIGTERM and SIGHUP do what Ctrl-C does, so that every ``finally`` runs."""
    before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def script(name: str, stopped: str = "stopped") -> Callable[[Callable[Arguments, int]], Callable[Arguments, int]]:
    """Let a script's ``main`` report what its user can correct in one line, and end in order on a signal.

    Args:
        name: what the line starts with.
        stopped: what it says after Ctrl-C, SIGTERM or SIGHUP.
    """

    def decorate(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
        @wraps(main)
        def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
            try:
                with stop_on_signals():
                    return main(*args, **kwargs)
            except ScriptError as error:
                text, status = str(error), error.status
            except OSError as error:
                text, status = f"{error.filename}: {error.strerror}" if error.filename else str(error), 1
            except KeyboardInterrupt:
                text, status = stopped, _STOPPED
            print(f"{name}: {text}", file=sys.stderr)
            return status

        return run

    return decorate


@contextmanager
def child(
    arguments: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    output: int | None = None,
    patience: float = PATIENCE,
) -> Generator[subprocess.Popen[bytes]]:
    """Run a program; when the block is left, however, the program and its own children have ended.

    It has a process group of its own: Ctrl-C in the terminal reaches this script alone, which then ends the group.

    Raises:
        ScriptError: the program cannot be started; the text names it.
    """
    try:
        process = subprocess.Popen(
            [str(argument) for argument in arguments],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            process_group=0,
        )
    except OSError as error:
        raise cannot_start(arguments[0], error) from error
    try:
        yield process
    finally:
        end(process, patience)


def cannot_start(program: str | Path, error: OSError) -> ScriptError:
    """Return what to tell the user about a program that could not be started."""
    reason = error.strerror or str(error)
    if isinstance(error, FileNotFoundError) and error.filename == str(program) and Path(program).exists():
        reason = "the program that its first line names is not there, or that line ends as on Windows (CRLF)"
    return ScriptError(f"{program} cannot be started: {reason}")


def end(process: subprocess.Popen[bytes], patience: float = PATIENCE) -> None:
    """End a process that leads its group: first by SIGTERM, which lets it finish, then for good."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
