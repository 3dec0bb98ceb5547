"""What is sent: documents that differ from request to request, written to a file before anything is measured."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeAlias, cast

import pyarrow as pa
import pyarrow.csv
from model_kit.batch.csv_files import csv_table
from model_kit.records.generation import generate_rows
from model_kit.scoring.bundle import SPEC
from model_kit.spec import InputSpec

import _scripts  # noqa: F401
from project import Package, Project, ScriptError
from workloads import CSV

Record: TypeAlias = dict[str, Any]

SEED = 20240
#: Bytes of a file of bodies, about: wrk keeps it in memory. Few large bodies, many small ones.
LARGEST = 16_000_000
#: Different bodies of one record; the processor learns to predict a few that return.
MOST = 5_000


def chosen_model(name: str | None, project: Project | None = None) -> Package:
    """The trained model that is meant: by name, else the only one.

    Raises:
        ScriptError: there is none, or several are trained and none is named.
    """
    models = (project or Project()).trained_models(name)
    if len(models) > 1:
        raise ScriptError(f"several models are trained; say which: MODEL={'|'.join(m.model for m in models)}", 2)
    return models[0]


def path_of(package: Package) -> str:
    """Where a model is asked for predictions."""
    return f"/v1/predict/{package.model}"


def read_spec(bundle: Path) -> InputSpec:
    """The fields of a trained model.

    Raises:
        ScriptError: there is none.
    """
    if not (bundle / SPEC).exists():
        raise ScriptError(f"there is no trained model in {bundle}; `make train` makes one")
    return InputSpec.from_json((bundle / SPEC).read_bytes())


def records(spec: InputSpec, count: int, data: str | None = None) -> list[Record]:
    """Records to ask about: those of the CSV file ``data`` (variable ``BENCH_DATA``), over and over, or made-up ones.

    Every field is there, missing values as null: about 1,600 bytes of JSON each for the house prices.
    """
    data = data or os.environ.get("BENCH_DATA")
    if not data:
        return generate_rows(spec, count, seed=SEED)
    try:
        content = Path(data).read_bytes()
    except OSError as error:
        raise ScriptError(f"BENCH_DATA={data} cannot be read: {error.strerror}") from error
    found = [cast("Record", entry.record) for entry in csv_table(content, spec, data).entries]
    if not found:
        raise ScriptError(f"BENCH_DATA={data} has no rows")
    return list(islice(cycle(found), count))


def spoil(record: Record, spec: InputSpec) -> Record:
    """The record with a text where its first required number should be."""
    name = next(field.name for field in spec.fields if field.kind != "category" and field.required)
    return record | {name: "many"}


def batches(pool: Sequence[Record], rows: int) -> Iterator[list[Record]]:
    """Batches of ``rows`` records of the pool, each beginning elsewhere."""
    size = len(json.dumps(pool[0])) * rows
    count = max(2, min(MOST, LARGEST // size))
    step = max(1, len(pool) // count)
    for number in range(count):
        start = number * step
        yield [pool[(start + offset) % len(pool)] for offset in range(rows)]


def write_tables(path: Path, batches: Iterator[list[Record]], media_type: str) -> Path:
    """Write batches as tables of a type, CSV or Arrow, each with its length in a line before it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for batch in batches:
            table = pa.Table.from_pylist(batch)
            sink = pa.BufferOutputStream()
            if media_type == CSV:
                pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(quoting_style="needed"))
            else:
                with pa.ipc.new_stream(sink, table.schema) as writer:
                    writer.write_table(table)
            body = bytes(sink.getvalue())
            file.write(b"%d\n%b" % (len(body), body))
    return path


def write(path: Path, documents: Iterator[Any]) -> Path:
    """One document a line, spelled as ``requests`` sends it, with spaces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for document in documents:
            file.write(json.dumps(document) + "\n")
    return path
