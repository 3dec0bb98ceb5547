"""How fast files are priced, and in how much memory: `model-kit predict` on 1,000,000 rows of CSV and of Parquet.

  make bench-batch                  1,000,000 rows, about 310 MB as CSV
  make bench-batch ROWS=50000       fewer, to see whether it works
  make bench-batch DATA=train.csv   where the training file is not in its usual place

The rows are made from the model's spec: 10,000 different ones, over and over, each with a number of its own. Validation
and output are included. Beside them, in the same run, what a notebook does with the same files: pandas, the
scikit-learn pipeline, pandas (contestants/notebook.py). All processors are used as each finds fit.

The peak is that of the command and of all processes that it starts, together, looked at ten times a second: the sum of
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

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from model_kit.spec import InputSpec

import _scripts  # noqa: F401
from bodies import Record, chosen_model, read_spec, records
from prepare import pickle_pipeline
from processes import child, stop_on_signals
from project import ScriptError, write_atomically
from servers import BUILD, CONTESTANTS

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


def write_parquet(path: Path, table: Path, spec: InputSpec) -> None:
    """The same rows as a Parquet file: numbers as float64, all else as text."""
    kinds = {field.name: pa.float64() if field.is_number else pa.string() for field in spec.fields}
    options = pyarrow.csv.ConvertOptions(column_types=kinds, null_values=["NA"], strings_can_be_null=True)
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(table, convert_options=options), path)


def count_rows(path: Path) -> int:
    """Rows of a CSV file without line breaks in its cells, or of a Parquet file."""
    if path.suffix == ".parquet":
        return int(pyarrow.parquet.read_metadata(path).num_rows)
    with path.open("rb") as file:
        return sum(1 for _ in file) - 1


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


def measure(command: Sequence[str], output: Path, rows: int) -> dict[str, Any]:
    """Run a command that writes a file.

    Raises:
        ScriptError: it fails, or writes another number of rows.
    """
    start = time.monotonic()
    with child([*command, str(output)]) as process:
        peak, resident = peak_while(process)
        seconds = time.monotonic() - start
        if process.returncode:
            raise ScriptError(f"{command[0]} ended with status {process.returncode}")
    found = count_rows(output)
    output.unlink()
    if found != rows:
        raise ScriptError(f"{found} rows were written for {rows}")
    return {"seconds": seconds, "rows_per_second": rows / seconds, "peak": peak, "resident": resident}


def show(title: str, found: dict[str, Any]) -> None:
    """Print a line."""
    print(
        f"{title:<36} {found['rows_per_second']:>10,.0f} rows/s in {found['seconds']:.1f} s, peak {found['peak']:.0f} "
        f"MB, with shared pages in each process {found['resident']:.0f} MB",
        flush=True,
    )


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
    tables = [folder / "table.csv", folder / "table.parquet"]
    output = folder / "priced"
    try:
        package = chosen_model(options.model)
        spec = read_spec(package.bundle)
        pipeline = pickle_pipeline(package)
        write_csv(tables[0], records(spec, min(DIFFERENT, options.rows)), options.rows)
        write_parquet(tables[1], tables[0], spec)
        # What serves has no pyarrow; the environment of this script has it, and the model.
        command = Path(sys.executable).with_name(package.name)
        notebook = (sys.executable, str(CONTESTANTS / "notebook.py"), str(pipeline))
        found: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "rows": options.rows,
            "full": options.rows >= ROWS,
            "bytes": tables[0].stat().st_size,
        }
        print(f"{options.rows:,} rows, {found['bytes'] / 1e6:.0f} MB as CSV")
        with stop_on_signals():
            for table in tables:
                name, target = table.suffix[1:], output.with_suffix(table.suffix)
                found[name] = measure([str(command), "predict", str(table), "-o"], target, options.rows)
                show(f"model-kit predict, {name}", found[name])
                found[f"notebook_{name}"] = measure([*notebook, str(table)], target, options.rows)
                show(f"pandas, scikit-learn, pandas, {name}", found[f"notebook_{name}"])
        write_atomically(BUILD / "batch.json", json.dumps(found, indent=1) + "\n")
    except ScriptError as error:
        print(f"batch: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("\nbatch: stopped", file=sys.stderr)
        return 130
    finally:
        for path in (*tables, *(output.with_suffix(table.suffix) for table in tables)):
            path.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
