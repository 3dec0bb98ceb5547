"""Work shared among processes, its results in order, never much of it in memory.

The processes are new interpreters, as ONNX Runtime does not survive a fork. They are in process groups of their own, so
that Ctrl-C reaches only the one that asks; and they end when the connection to that one does, however it ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, Final, NoReturn, TypeVar, cast

from model_kit.errors import DataError, ModelKitError, WorkerError

Task = TypeVar("Task")
Result = TypeVar("Result")

#: At 70 to 90 MB each, more processes than this would take more than 450.
MOST: Final = 4
#: Results for each process that may wait for one before them.
_AHEAD: Final = 4
#: Seconds that a process has to end once its connection has.
_PATIENCE: Final = 5
_PROGRAM: Final = """\
import sys
from multiprocessing.connection import Connection
with Connection(int(sys.argv[1])) as connection:
    sys.path[:] = connection.recv()
    from model_kit.batch.pool import serve
    serve(connection)
"""


def n_processors() -> int:
    """How many processors this process may use, at most ``MOST``; 1 where the pool does not work."""
    if sys.platform == "win32":
        return 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST)


def in_order(
    prepare: Callable[[], Callable[[Task], Result]], tasks: Iterator[Task], n_processes: int
) -> Generator[Result, None, None]:
    """The results of tasks, in the order of the tasks.

    Args:
        prepare: makes what does the work; pickled, and called in each process.
        tasks: taken one by one, when a process is free. An error of theirs is raised after the results before it.
        n_processes: how many to start; they end with the generator.

    Raises:
        DataError: raised by a task.
        WorkerError: a process failed in another way, or was ended.
    """
    with ExitStack() as stack:
        idle = [stack.enter_context(_worker(prepare)) for _ in range(n_processes)]
        working: dict[Connection, tuple[_Worker, int]] = {}
        done: dict[int, Any] = {}
        n_taken = n_yielded = 0
        while True:
            # Nobody is sent a task who has one: both might wait for the other to read.
            while idle and n_taken - n_yielded < _AHEAD * n_processes:
                try:
                    task = next(tasks)
                except StopIteration:
                    idle.clear()
                    break
                except Exception as error:  # noqa: BLE001 - raised when its turn comes
                    done[n_taken] = error
                    idle.clear()
                else:
                    worker = idle.pop()
                    worker.send(task)
                    working[worker.connection] = worker, n_taken
                n_taken += 1
            if n_yielded in done:
                result = done.pop(n_yielded)
                if isinstance(result, Exception):
                    raise result
                yield result
                n_yielded += 1
            elif not working:
                return
            else:
                for connection in cast("list[Connection]", wait(list(working))):
                    worker, number = working.pop(connection)
                    result = done[number] = worker.receive()
                    # Who failed has ended.
                    if not isinstance(result, Exception):
                        idle.append(worker)


class _Worker:
    def __init__(self, process: subprocess.Popen[bytes], connection: Connection) -> None:
        self.connection = connection
        self._process = process

    def send(self, task: object) -> None:
        try:
            self.connection.send(task)
        except OSError as error:
            self._complain(error)

    def receive(self) -> Any:
        try:
            return self.connection.recv()
        except (OSError, EOFError) as error:
            self._complain(error)

    def _complain(self, error: Exception) -> NoReturn:
        status = self._process.wait(_PATIENCE)
        if status >= 0:
            raise WorkerError(f"a worker process ended with status {status}") from error
        hint = ", perhaps for want of memory" if status == -signal.SIGKILL else ""
        raise WorkerError(f"a worker process was ended by {signal.Signals(-status).name}{hint}") from error


@contextmanager
def _worker(prepare: Callable[[], Any]) -> Generator[_Worker, None, None]:
    ours, theirs = Pipe()
    with ours:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        try:
            worker = _Worker(process, ours)
            worker.send(sys.path)
            worker.send(prepare)
            yield worker
        finally:
            process.terminate()
            process.wait()


def serve(connection: Connection) -> None:
    """Do the work that comes through ``connection``, first what prepares, then tasks, until it closes or one fails."""
    try:
        work = connection.recv()()
        while True:
            connection.send(work(connection.recv()))
    except (EOFError, ConnectionError):
        # Nobody waits for an answer any more.
        return
    except DataError as error:
        answer: Exception = error
    except ModelKitError as error:
        answer = WorkerError(str(error))
    except Exception:  # noqa: BLE001 - it is raised again where somebody can see it
        answer = WorkerError(f"a worker process failed: {traceback.format_exc()}")
    connection.send(answer)
