"""A run of retraining: it ends with a record that says why, and changes nothing unless the candidate passes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from model_kit.comparison import text
from model_kit.comparison.gate import read_gate
from model_kit.comparison.run import Data, compare, version_of
from model_kit.comparison.scorer import Scorer
from model_kit.comparison.sources import LATEST, Package, Source, find, with_own_kit
from model_kit.errors import BundleError, DataError, ModelKitError, first_line
from model_kit.records.number_format import PLAIN, NumberFormat
from model_kit.retraining.drift import DRIFTED, read_drift
from model_kit.retraining.holdout import judge, require_classes
from model_kit.retraining.outcomes import HeldBack, Outcomes, lacking_fields, read_outcomes
from model_kit.retraining.publication import Publisher, next_training
from model_kit.retraining.record import End, Record, find_passed
from model_kit.retraining.screening import Contents, Screen, predict
from model_kit.scoring.bundle import CARD, read_bundle, write_bundle
from model_kit.scoring.definition import ModelDefinition, find_entry_point
from model_kit.training import dataset
from model_kit.training.dataset import Dataset

#: Folders and files beside each other: records, the candidate's bundle, what a run is working on, its lock.
RECORDS, CANDIDATE, _WORK, _LOCK = "records", "candidate", ".run-", ".lock"
#: Fewest outcomes that are worth a training.
LEAST_OUTCOMES: Final = 50
#: More of the outcomes than this are not left out but a reason to use none.
MOST_HELD_BACK: Final = 0.1
#: One record makes up at most this share of the outcomes, or twice that which it may have in the data.
MOST_OF_ONE: Final = 0.1
#: More of the hold-out than this in the data that the released model was trained on, and it is no hold-out.
MOST_SEEN: Final = 0.05
#: Outcomes that are held back and named in the record.
_NAMED: Final = 20
#: Checks that a sentence names.
_TOLD: Final = 5


class _Ended(Exception):  # noqa: N818 - no error
    """The run has come to its end."""

    def __init__(self, end: End, sentence: str) -> None:
        super().__init__(sentence)
        self.end: End = end


@dataclass(frozen=True)
class Files:
    """The files of a training.

    Attributes:
        data: training file.
        outcomes: see :func:`~model_kit.retraining.outcomes.read_outcomes`.
        holdout: as a training file; its rows are trusted and never trained on.
    """

    data: Path
    outcomes: Path
    holdout: Path


@dataclass(frozen=True)
class Job:
    """What to do.

    Attributes:
        definition: the model package.
        folder: of this model's records and candidate.
        files: what to train on; ``None``: publish the candidate of an earlier run.
        released: what the candidate has to be as good as: a version, ``latest``, a wheel or a bundle folder.
        drift: report of ``ml-api drift --json``; if it says that nothing has drifted, nothing is done.
        gate: file of the thresholds; ``None``: the defaults.
        least: fewest outcomes.
        publish: publish the candidate on the index if it passes.
        numbers: how CSV files write numbers.
    """

    definition: ModelDefinition
    folder: Path
    files: Files | None
    released: str = LATEST
    drift: str | None = None
    gate: Path | None = None
    least: int = LEAST_OUTCOMES
    publish: bool = False
    numbers: NumberFormat = PLAIN


@dataclass(frozen=True)
class _Live:
    """The released model, running."""

    source: Source
    scorer: Scorer
    version: str

    @property
    def artifact_sha256(self) -> str:
        return str(self.scorer.lineage["artifact_sha256"])


def retrain(job: Job, report: Callable[[str], None] = lambda _: None) -> Record:
    """Retrain a model, or say why not.

    Args:
        job: what to do.
        report: called with what is being done, one line a step.

    Returns:
        The record, which is on disk.

    Raises:
        DataError: no record can be written.
    """
    name = job.definition.name
    record = Record(job.folder / RECORDS, name)
    try:
        with _locked(job.folder), ExitStack() as stack:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=job.folder, prefix=_WORK)))
            _run(job, record, work, stack, report)
    except _Ended as ended:
        record.close(ended.end, f"{name} {ended}")
    except ModelKitError as error:
        record.close("unusable", f"{name} was not retrained: {error}")
    except OSError as error:
        reason = f"{error.filename or job.folder}: {error.strerror}"
        record.close("failed", f"{name} was not retrained: {reason}")
    except Exception as error:
        record.close("failed", f"{name} was not retrained, for an error of the program: {first_line(error)}")
        raise
    except BaseException as error:
        record.close("interrupted", f"{name} was not retrained: the run was interrupted ({type(error).__name__}).")
        raise
    return record


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Let one run at a time work in the folder, and remove what a killed one left."""
    with (folder / _LOCK).open("w") as file:
        try:
            # The system gives it back when the process ends, however it ends.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _Ended("busy", f"was not retrained: another run is at work in {folder}.") from error
        for left in folder.glob(f"{_WORK}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _run(job: Job, record: Record, work: Path, stack: ExitStack, report: Callable[[str], None]) -> None:
    """Do the job.

    Raises:
        _Ended: it is over, before or after a candidate has passed.
        ModelKitError: something that was given cannot be used.
    """
    publisher = Publisher(job.definition, os.environ) if job.publish else None
    live = _live(job, record, work, stack)
    if publisher is not None:
        if not live.source.paths:
            raise DataError(f"--publish needs a release to replace; {job.released} is a bundle folder")
        publisher.require_newest(live.version)
    if job.files is None:
        _check_candidate(job, record, live)
    else:
        _check_drift(job, record, live)
        _train(job, job.files, record, work, live, stack, report)
    if publisher is not None:
        _publish(job, record, publisher, live, work)


def _live(job: Job, record: Record, work: Path, stack: ExitStack) -> _Live:
    """Start the released model."""
    definition = job.definition
    source = find(job.released, _package(definition), work / "released", os.environ)
    if source is None:
        raise DataError(
            f"the index has no release of {definition.distribution} that a candidate could be compared with; release "
            "one first (docs/release.md)"
        )
    source = with_own_kit(source, work / "kit", os.environ)
    scorer = stack.enter_context(closing(Scorer(source)))
    live = _Live(source, scorer, version_of(scorer))
    if scorer.golden_fault:
        raise DataError(f"{source.name}: {scorer.golden_fault}; it cannot stand for what is live")
    record.note(released={"name": source.name, "version": live.version, "artifact_sha256": live.artifact_sha256})
    return live


def _package(definition: ModelDefinition) -> Package:
    # A bundle folder has no code of its own: the installed definition loads it.
    loader = find_entry_point(definition.name).value.removesuffix(".load") + ".load_bundle"
    return Package(definition.distribution, loader)


def _check_drift(job: Job, record: Record, live: _Live) -> None:
    """End the run if only drift is a reason for one, and there is none."""
    if job.drift is None:
        return
    found = read_drift(job.drift, job.definition.name, live.artifact_sha256)
    record.note(drift=found)
    if found["verdict"] == DRIFTED:
        return
    others = f"; it has rows of {', '.join(found['other_versions'])}" if found["other_versions"] else ""
    why = {"no rows": f"the report has no rows of {live.version}{others}"}.get(found["verdict"], found["verdict"])
    raise _Ended(
        "not_drifted",
        f"was not retrained: {found['name']} does not say that {live.version} has drifted "
        f"({why}; {found['rows']:,} rows until {found['until']}).",
    )


def _train(
    job: Job, files: Files, record: Record, work: Path, live: _Live, stack: ExitStack, report: Callable[[str], None]
) -> None:
    """Train a candidate and hold it to the gate; it is in its folder if it passes, and the record says so."""
    definition = job.definition
    outcomes = _read(definition, files.outcomes, job.numbers)
    _note_outcomes(record, outcomes)
    _require_enough(job, outcomes, len(outcomes.rows) + len(outcomes.held_back) + len(outcomes.unseen_classes))
    data = dataset.load(definition, files.data, report=report, numbers=job.numbers)
    holdout = dataset.load(definition, files.holdout, report=report, numbers=job.numbers)
    require_classes(holdout, definition.target)
    contents = Contents([one.name for one in definition.fields], data.rows)
    data = _without_holdout(definition, data, holdout, contents, record, live)
    _leave_out_holdout(definition, outcomes, holdout, contents)
    lacking = lacking_fields(outcomes, data.rows, definition)
    before = predict(live.scorer, holdout.rows, definition.target)
    if np.isnan(before).all():
        raise DataError(f"{holdout.name}: the released {live.version} predicts none of its rows")
    _screen(job, outcomes, Screen.learn(definition.target, holdout.target, before), live, record)
    _note_outcomes(record, outcomes)
    _require_good(job, outcomes, contents, lacking, data)
    combined = _combined(definition, data, outcomes)
    report(f"Training on {len(data.rows):,} rows of {data.name} and {len(outcomes.rows):,} outcomes")
    # Takes seconds to import; most runs that the calendar starts may end before.
    from model_kit.training.train import train  # noqa: PLC0415

    try:
        train(definition, combined, work / "bundle", report=report)
    except Exception as error:
        reason = str(error) if isinstance(error, ModelKitError) else first_line(error)
        raise _Ended("training_failed", f"was not retrained: training failed: {reason}") from error
    source = find(str(work / "bundle"), _package(definition), work / "new", os.environ)
    assert source is not None  # noqa: S101 - a folder is always found
    candidate = stack.enter_context(closing(Scorer(source)))
    after = predict(candidate, holdout.rows, definition.target)
    judged = judge(definition, holdout, (before, after), (live.scorer.spec.target, candidate.spec.target))
    judged = replace(judged, left_out=record.document["data"]["in_holdout"])
    rows = work / "holdout.jsonl"
    rows.write_text("".join(f"{json.dumps(dict(row))}\n" for row in holdout.rows), "utf-8")
    gate = read_gate(job.gate)
    report(f"Comparing with {live.version} on {holdout.name}")
    table = Data(str(rows), holdout.name, "jsonl")
    document = compare(live.scorer, candidate, gate, definition.floors, table, holdout=judged).document
    kept = ("passed", "thresholds", "metrics", "checks", "differences", "notes", "stale_entries")
    record.note(comparison={key: document[key] for key in kept})
    against = f"{live.version} on {len(holdout.rows):,} rows of {holdout.name}"
    if not document["passed"]:
        beyond = [_beyond(check, document) for check in document["checks"] if check["status"] == "beyond"]
        more = f", and {len(beyond) - _TOLD} more" if len(beyond) > _TOLD else ""
        raise _Ended(
            "gate_failed",
            f"was retrained on {len(outcomes.rows):,} outcomes more, and the candidate, compared with {against}, is "
            f"not good enough: {'; '.join(beyond[:_TOLD])}{more}. It was discarded.",
        )
    _keep(job, record, work / "bundle", outcomes, live, against)


def _read(definition: ModelDefinition, path: Path, numbers: NumberFormat) -> Outcomes:
    """Read the outcomes; a file that is there and has none is bad, one that is not there is a fault of the call."""
    try:
        return read_outcomes(definition, path, numbers)
    except DataError as error:
        if not path.is_file():
            raise
        raise _Ended("bad_outcomes", f"was not retrained: {error}.") from error


def _require_enough(job: Job, outcomes: Outcomes, n: int) -> None:
    if n >= job.least and n:
        return
    passed_over = ", ".join(f"{count:,} {why}" for why, count in outcomes.without.items())
    raise _Ended(
        "too_few_outcomes",
        f"was not retrained: {outcomes.name} has {n:,} outcomes that could be used, fewer than {job.least:,}"
        f"{f' ({passed_over})' if passed_over else ''}.",
    )


def _without_holdout(
    definition: ModelDefinition, data: Dataset, holdout: Dataset, contents: Contents, record: Record, live: _Live
) -> Dataset:
    """Return the training data without the records of the hold-out.

    Raises:
        DataError: the released model was trained on them, so that they tell nothing; or nothing else is left.
    """
    held = _held(definition, holdout, contents)
    kept = [
        place
        for place, (name, row) in enumerate(zip(data.ids, data.rows, strict=True))
        if name not in held.ids and contents.of(row) not in held.contents
    ]
    n_held = len(data.rows) - len(kept)
    can_tell = bool(definition.identifier) or contents.identify
    record.note(
        data={"name": data.name, "sha256": data.sha256, "rows": len(data.rows), "in_holdout": n_held},
        holdout={"name": holdout.name, "sha256": holdout.sha256, "rows": len(holdout.rows), "told_apart": can_tell},
    )
    if n_held > MOST_SEEN * len(holdout.rows) and live.scorer.card["data"]["sha256"] == data.sha256:
        raise DataError(
            f"{holdout.name}: {n_held:,} of its rows are in {data.name}, which the released {live.version} was trained "
            "on: on rows that it knows no candidate can be better. Take them out of the training file, and release "
            "a model of the rest first"
        )
    if len(kept) < dataset.MIN_ROWS:
        raise DataError(f"{data.name}: {len(kept)} rows are left without those of {holdout.name}")
    return replace(
        data,
        ids=tuple(data.ids[place] for place in kept),
        rows=tuple(data.rows[place] for place in kept),
        target=data.target[kept],
    )


@dataclass(frozen=True)
class _Held:
    """By what a record of the hold-out is known: its identifier, and the values of its fields where these tell."""

    ids: frozenset[str]
    contents: frozenset[tuple[object, ...]]


def _held(definition: ModelDefinition, holdout: Dataset, contents: Contents) -> _Held:
    return _Held(
        frozenset(holdout.ids if definition.identifier else ()),
        frozenset(map(contents.of, holdout.rows) if contents.identify else ()),
    )


def _leave_out_holdout(definition: ModelDefinition, outcomes: Outcomes, holdout: Dataset, contents: Contents) -> None:
    held = _held(definition, holdout, contents)
    kept = [
        one for one in outcomes.rows if one.identifier not in held.ids and contents.of(one.row) not in held.contents
    ]
    for _ in range(len(outcomes.rows) - len(kept)):
        outcomes.pass_over("of the hold-out")
    outcomes.rows = kept


def _screen(job: Job, outcomes: Outcomes, screen: Screen, live: _Live, record: Record) -> None:
    """Hold back the outliers."""
    record.note(outlier=screen.rule)
    if not outcomes.rows:
        return
    truth = np.array([one.target for one in outcomes.rows])
    predicted = predict(live.scorer, [one.row for one in outcomes.rows], job.definition.target)
    far = screen.outliers(truth, predicted)
    outcomes.held_back += [
        HeldBack(one.line, f"outlier: {screen.rule}")
        for one, is_far in zip(outcomes.rows, far.tolist(), strict=True)
        if is_far
    ]
    outcomes.rows = [one for one, is_far in zip(outcomes.rows, far.tolist(), strict=True) if not is_far]


def _require_good(job: Job, outcomes: Outcomes, contents: Contents, lacking: Sequence[str], data: Dataset) -> None:
    """End the run if the outcomes are bad, or too few.

    Raises:
        _Ended: they are.
    """

    def bad(reason: str) -> _Ended:
        return _Ended("bad_outcomes", f"was not retrained: {outcomes.name} cannot be trusted: {reason}.")

    target, lines = job.definition.target, outcomes.unseen_classes
    if lines:
        raise bad(
            f"{len(lines):,} outcomes, the first in line {lines[0]}, are none of the classes {', '.join(target.keys)}; "
            "a new class needs a new version of the model"
        )
    n_judged = len(outcomes.rows) + len(outcomes.held_back)
    if len(outcomes.held_back) > MOST_HELD_BACK * n_judged:
        first = min(outcomes.held_back, key=lambda one: one.line)
        raise bad(
            f"{len(outcomes.held_back):,} of {n_judged:,} outcomes are invalid or far from what the released model "
            f"predicts, more than {MOST_HELD_BACK:.0%}; the first, in line {first.line}: {first.reason.rstrip('.')}"
        )
    if lacking:
        raise bad(
            f"no outcome has a value of {', '.join(lacking)}, which most rows of {data.name} have; a field that is "
            "redacted in the log (PREDICTION_LOG_REDACT) cannot be trained on"
        )
    counts = contents.counts(one.row for one in outcomes.rows)
    most = max(counts.values(), default=0)
    if most > max(1, max(MOST_OF_ONE, 2 * contents.largest) * len(outcomes.rows)):
        raise bad(f"{most:,} of {len(outcomes.rows):,} outcomes are of records with the same values in all fields")
    # Where the fields hardly tell records apart, few different ones are no sign of copies.
    if len(counts) < job.least * contents.distinct:
        outcomes.without["copies of others"] = len(outcomes.rows) - len(counts)
        _require_enough(job, outcomes, len(counts))
    _require_enough(job, outcomes, len(outcomes.rows))


def _combined(definition: ModelDefinition, data: Dataset, outcomes: Outcomes) -> Dataset:
    """Return the data with the outcomes; what has the same identifier is one record."""
    rows = outcomes.rows
    own = [f"id {name}" if definition.identifier else f"row {name}" for name in data.ids]
    target = np.concatenate([data.target, np.array([one.target for one in rows], data.target.dtype)])
    return Dataset(
        name=f"{data.name} and {len(rows):,} outcomes",
        sha256=data.sha256,
        synthetic=data.synthetic,
        ids=(*data.ids, *(f"outcome in line {one.line}" for one in rows)),
        rows=(*data.rows, *(one.row for one in rows)),
        target=target,
        keys=(*own, *(f"id {one.identifier}" if one.identifier else f"line {one.line}" for one in rows)),
        outcomes={"name": outcomes.name, "sha256": outcomes.sha256, "rows": len(rows)},
    )


def _keep(job: Job, record: Record, bundle: Path, outcomes: Outcomes, live: _Live, against: str) -> None:
    """Put the candidate where a shadow finds it, and say so."""
    folder = (job.folder / CANDIDATE).resolve()
    trained = read_bundle(bundle)
    write_bundle(folder, trained.files)
    artifact = trained.artifact_sha256
    served = f"{job.definition.version.partition('+')[0]}+{artifact[:12]}"
    shadow = f"{job.definition.name}={folder}"
    record.note(
        candidate={
            "bundle": str(folder),
            "version": next_training(live.version.partition("+")[0]),
            "artifact_sha256": artifact,
            "metrics": trained.json(CARD)["metrics"],
        },
        shadow={"SHADOW_MODELS": shadow, "version": served},
    )
    n_held = len(outcomes.held_back)
    record.close(
        "passed",
        f"{job.definition.name} was retrained on {len(outcomes.rows):,} outcomes more ({n_held:,} were held back), and "
        f"the candidate, compared with {against}, passed. It is in {folder}; SHADOW_MODELS={shadow} shows how it does "
        "on real requests, and --publish publishes it.",
    )


def _check_candidate(job: Job, record: Record, live: _Live) -> None:
    """Find the candidate that an earlier run has kept.

    Raises:
        DataError: there is none, or something else has been released since it was compared.
    """
    folder = (job.folder / CANDIDATE).resolve()
    try:
        artifact = read_bundle(folder).artifact_sha256
    except BundleError as error:
        raise DataError(f"there is no candidate in {folder} to publish: {error}") from error
    earlier = find_passed(job.folder / RECORDS, artifact)
    if earlier is None:
        raise DataError(f"no record in {job.folder / RECORDS} says that the candidate in {folder} has passed")
    if live.artifact_sha256 == artifact:
        raise DataError(f"the candidate is released already, as {live.version}")
    if earlier["released"]["artifact_sha256"] != live.artifact_sha256:
        raise DataError(
            f"the candidate was compared with {earlier['released']['version']}, and {live.version} is released now; "
            "retrain again"
        )
    facts: dict[str, Any] = {key: earlier[key] for key in ("candidate", "shadow")}
    record.note(**facts, passed=earlier["started"])


def _publish(job: Job, record: Record, publisher: Publisher, live: _Live, work: Path) -> None:
    try:
        published = publisher.publish(live.source.paths[0], job.folder / CANDIDATE, work)
    except ModelKitError as error:
        raise _Ended(
            "publishing_failed",
            f"has a candidate that passed and was not published: {error}. It is still in {job.folder / CANDIDATE}.",
        ) from error
    record.note(published=published)
    raise _Ended(
        "published",
        f"has a candidate that passed: it was published as {published['version']} on {published['index']} "
        f"({published['pin']}). Nothing serves it until it is deployed.",
    )


def _note_outcomes(record: Record, outcomes: Outcomes) -> None:
    named = sorted(outcomes.held_back, key=lambda one: one.line)[:_NAMED]
    record.note(
        outcomes={
            "name": outcomes.name,
            "sha256": outcomes.sha256,
            "lines": outcomes.lines,
            "used": len(outcomes.rows),
            "passed_over": outcomes.without,
            "unseen_classes": len(outcomes.unseen_classes),
            "held_back": len(outcomes.held_back),
            "first_held_back": [{"line": one.line, "reason": one.reason} for one in named],
        }
    )


def _beyond(check: dict[str, Any], document: dict[str, Any]) -> str:
    found = f"{text.what(check, document)} {text.shown(check['value'], check)}, {text.limit(check)}"
    return f"{check['name']} ({found}{'; ' if check['note'] else ''}{check['note']})"
