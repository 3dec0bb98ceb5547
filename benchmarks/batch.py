"""How fast a file is priced, and in how much memory: `model-kit predict` on a CSV of 1,000,000 rows.

  make bench-batch                  1,000,000 rows, about 310 MB
  make bench-batch ROWS=50000       fewer, to see whether it works

The rows are made from the model's spec: 10,000 different ones, over and over. Validation and output are included. The
peak is that of the command and of all processes that it starts, together, looked at ten times a second: the sum of
their proportional set sizes, in which a page that n processes share counts an nth in each, so that the sum is what the
command takes. The sum of resident sizes, in which it counts n times, is told beside it. Writes
build/benchmarks/batch.json.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import _scripts  # noqa: F401
from bodies import Record, chosen_model, read_spec, records
from processes import child, stop_on_signals
from project import ScriptError, write_atomically
from servers import BUILD, shipped

ROWS = 1_000_000
DIFFERENT = 10_000
#: Seconds between looks at the memory.
LOOK = 0.1


def write_csv(path: Path, pool: Sequence[Record], rows: int) -> None:
    """A CSV file with an identifier and the records of the pool, over and over."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerows([["NA" if value is None else value for value in record.values()] for record in pool])
    cells = lines.getvalue().splitlines()
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(["Id", *pool[0]]) + "\n")
        file.writelines(f"{number + 1},{cells[number % len(cells)]}\n" for number in range(rows))


def family(ancestor: int) -> set[int]:
    """Ids of a process and of all that descend from it, whatever group they are in."""
    parents = {}
    for folder in Path("/proc").iterdir():
        # A process may end at any time.
        with suppress(OSError):
            if folder.name.isdigit():
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found: set[int] = set()
    found_now = {ancestor}
    while found_now:
        found |= found_now
        found_now = {pid for pid, parent in parents.items() if parent in found_now}
    return found


def memory_of(pids: Iterable[int]) -> tuple[float, float]:
    """Proportional and resident set size of processes, MB, in sum."""
    kilobytes = {"Pss:": 0, "Rss:": 0}
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, number, *_ = line.split()
                if name in kilobytes:
                    kilobytes[name] += int(number)
    return kilobytes["Pss:"] * 1024 / 1e6, kilobytes["Rss:"] * 1024 / 1e6


def peak_while(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """The most that a process and its descendants held at a time, each of the two sums of :func:`memory_of`."""
    shared = resident = 0.0
    while process.poll() is None:
        now = memory_of(family(process.pid))
        shared, resident = max(shared, now[0]), max(resident, now[1])
        time.sleep(LOOK)
    return shared, resident


def measure(command: Sequence[str], table: Path, output: Path, rows: int) -> dict[str, Any]:
    """Price ``table``.

    Raises:
        ScriptError: the command fails, or writes another number of lines.
    """
    start = time.monotonic()
    with child([*command, "predict", str(table), "-o", str(output)], env=os.environ | shipped()) as process:
        peak, resident = peak_while(process)
        seconds = time.monotonic() - start
        if process.returncode:
            raise ScriptError(f"predict ended with status {process.returncode}")
    with output.open("rb") as file:
        lines = sum(1 for _ in file)
    if lines != rows + 1:
        raise ScriptError(f"{lines} lines were written for {rows} rows and a header")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": rows,
        "full": rows >= ROWS,
        "bytes": table.stat().st_size,
        "seconds": seconds,
        "rows_per_second": rows / seconds,
        "peak": peak,
        "resident": resident,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "batch.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=int(os.environ.get("ROWS") or ROWS))
    parser.add_argument("--model", help="name of the model (default: the only one that is trained)")
    options = parser.parse_args(arguments)
    folder = BUILD / "batch"
    folder.mkdir(parents=True, exist_ok=True)
    table, output = folder / "table.csv", folder / "priced.csv"
    try:
        package = chosen_model(options.model)
        spec = read_spec(package.bundle)
        write_csv(table, records(spec, min(DIFFERENT, options.rows)), options.rows)
        with stop_on_signals():
            found = measure(["/usr/bin/env", package.name], table, output, options.rows)
        write_atomically(BUILD / "batch.json", json.dumps(found, indent=1) + "\n")
        print(
            f"batch: {found['rows']:,} rows, {found['bytes'] / 1e6:.0f} MB: {found['rows_per_second']:,.0f} rows/s "
            f"in {found['seconds']:.0f} s, peak {found['peak']:.0f} MB, with shared pages in each process "
            f"{found['resident']:.0f} MB"
        )
    except ScriptError as error:
        print(f"batch: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("\nbatch: stopped", file=sys.stderr)
        return 130
    finally:
        table.unlink(missing_ok=True)
        output.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
