"""Work shared among processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing import Pipe
from pathlib import Path

import pytest
from model_kit.batch import pool
from model_kit.batch.pool import in_order, n_processors
from model_kit.errors import DataError, WorkerError
from model_kit.testing import load_rides

#: Tasks are Python expressions: what prepares is ``partial(eval)``.
evaluate = partial(partial, eval)


def children() -> set[int]:
    path = Path("/proc/self/task") / str(os.getpid()) / "children"
    return {int(number) for number in path.read_text().split()} if path.exists() else set()


def test_results_come_in_the_order_of_the_tasks_whoever_is_slow() -> None:
    tasks = ["(__import__('time').sleep(0.4), 0)[1]", *map(str, range(1, 20))]
    assert list(in_order(evaluate, iter(tasks), 2)) == list(range(20))


def test_work_is_done_by_other_processes_which_end_with_it() -> None:
    before = children()
    numbers = set(in_order(evaluate, iter(["__import__('os').getpid()"] * 12), 2))
    assert os.getpid() not in numbers
    assert 1 <= len(numbers) <= 2
    assert children() == before


def test_no_tasks_are_no_results() -> None:
    assert list(in_order(evaluate, iter([]), 2)) == []


def test_results_that_wait_for_a_slow_one_are_few() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[str]:
        for number in range(50):
            taken.append(number)
            yield f"(__import__('time').sleep({0 if number else 0.5}), {number})[1]"

    results = in_order(evaluate, tasks(), 2)
    assert next(results) == 0
    assert len(taken) <= 2 * pool._AHEAD + 1
    assert list(results) == list(range(1, 50))


def test_large_tasks_and_results_do_not_wait_for_each_other() -> None:
    tasks = [f"'{number}' * 3_000_000 + '{' ' * 3_000_000}'" for number in range(4)]
    assert [result[0] for result in in_order(evaluate, iter(tasks), 2)] == ["0", "1", "2", "3"]


def test_ending_early_ends_the_processes() -> None:
    before = children()
    results = in_order(evaluate, iter(map(str, range(100))), 2)
    assert next(results) == 0
    assert len(children()) == len(before) + 2
    results.close()
    assert children() == before


def test_error_of_the_tasks_shows_after_the_results_before_it() -> None:
    def tasks() -> Iterator[str]:
        yield from ("0", "1", "2")
        raise DataError("line 4")

    results = in_order(evaluate, tasks(), 2)
    assert [next(results), next(results), next(results)] == [0, 1, 2]
    with pytest.raises(DataError, match="^line 4$"):
        next(results)


def test_error_of_a_task_is_raised_in_its_turn() -> None:
    tasks = ["0", "1", "exec('from model_kit.errors import DataError; raise DataError(\"bad\")')", "3", "4", "5", "6"]
    results = in_order(evaluate, iter(tasks), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(DataError, match="^bad$"):
        next(results)


def test_every_process_may_fail() -> None:
    bad = "exec('from model_kit.errors import DataError; raise DataError(\"bad\")')"
    with pytest.raises(DataError, match="^bad$"):
        list(in_order(evaluate, iter([bad] * 20), 2))


def test_what_cannot_be_prepared_is_said_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"^manifest.json: cannot be read from "):
        list(in_order(partial(load_rides, tmp_path), iter([1]), 1))  # type: ignore[arg-type]


def test_mistake_in_the_program_shows_where_it_is() -> None:
    with pytest.raises(WorkerError, match=r"(?s)^a worker process failed: Traceback .*ZeroDivisionError"):
        list(in_order(evaluate, iter(["1 / 0"]), 1))


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("__import__('signal').raise_signal(9)", "was ended by SIGKILL, perhaps for want of memory"),
        ("__import__('signal').raise_signal(15)", "was ended by SIGTERM"),
        ("__import__('os')._exit(3)", "ended with status 3"),
    ],
)
def test_process_that_ends_is_an_error_and_takes_the_others_with_it(end: str, words: str) -> None:
    before = children()
    with pytest.raises(WorkerError, match=f"^a worker process {words}$"):
        list(in_order(evaluate, iter(["1", end, "2", "3"]), 2))
    assert children() == before


def test_process_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_PROGRAM", "raise SystemExit(4)")
    with pytest.raises(WorkerError, match="^a worker process ended with status 4$"):
        list(in_order(evaluate, iter(["1"]), 1))


def test_processes_are_out_of_the_reach_of_control_c() -> None:
    [group] = in_order(evaluate, iter(["__import__('os').getpgid(0)"]), 1)
    assert group != os.getpgid(0)


def test_processes_end_when_the_one_that_asks_is_killed() -> None:
    program = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from functools import partial\n"
        "from model_kit.batch.pool import in_order\n"
        "results = in_order(partial(partial, eval), iter(\"__import__('os').getpid()\" for _ in range(999)), 2)\n"
        "for result in results: print(result, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        numbers = {int(process.stdout.readline()) for _ in range(20)}
        process.kill()
    for _ in range(200):
        alive = [number for number in numbers if Path(f"/proc/{number}/stat").exists()]
        if not alive:
            break
        time.sleep(0.05)
    assert alive == []


def test_no_more_processes_than_memory_is_promised_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= n_processors() <= pool.MOST
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3})
        assert n_processors() == 2
        monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert n_processors() == pool.MOST
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert n_processors() == 1
    monkeypatch.setattr(sys, "platform", "win32")
    assert n_processors() == 1


def test_serving_ends_when_nobody_asks_any_more() -> None:
    ours, theirs = Pipe()
    ours.send(partial(partial, signal.strsignal))
    ours.send(signal.SIGTERM)
    ours.close()
    pool.serve(theirs)
    theirs.close()
