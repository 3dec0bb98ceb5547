"""What can go wrong, base first.

ModelKitError
├── SpecError           a table of fields contradicts itself
├── DefinitionError     a model package's definition cannot be used
├── DataError           a training or input file cannot be used
├── BundleError         a bundle is missing, damaged or of another format
├── MissingLibraryError something needs an optional library that is not installed
├── NotReadyError       a loaded model does not score its golden row
├── TrainingError       an estimator cannot be fitted
├── ExportError         an estimator cannot be exported
│   └── DisagreementError   what was exported predicts something else
├── CannotFoldError     an estimator has a part that folding has no rule for
├── CannotExplainError  a model has no typical prediction that others could be compared with
├── IntervalError       a model has no calibrated intervals, or none of that level
├── StreamError         a message broker cannot be used, or does not store answers
└── FloorError          a model scores below the package's absolute floors
"""

from __future__ import annotations

from typing import Final

#: Characters of another library's error that ours repeats.
EXCERPT: Final = 200


class ModelKitError(Exception):
    """Base of every error that this package raises on purpose; its text is meant to be read."""


class SpecError(ModelKitError):
    """A table of fields, or the ``spec.json`` made from it, contradicts itself."""


class DefinitionError(ModelKitError):
    """A model package's definition cannot be used; the text names the model and what is wrong."""


class DataError(ModelKitError):
    """A training or input file cannot be used; the text names the file and the column or row."""


class BundleError(ModelKitError):
    """A bundle is missing, damaged or of another format.

    Attributes:
        file: name of the file at fault, relative to the bundle (``"model.onnx"``).
    """

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file


class MissingLibraryError(ModelKitError):
    """Something needs an optional library that is not installed; the text names both."""


class NotReadyError(ModelKitError):
    """A loaded model does not score its golden row to the recorded value."""


class TrainingError(ModelKitError):
    """An estimator could not be fitted."""


class ExportError(ModelKitError):
    """A fitted estimator cannot be written, or what was written cannot be used, so nothing was exported."""


class DisagreementError(ExportError):
    """What was written of a fitted estimator predicts something else, so nothing was exported."""


class CannotFoldError(ModelKitError):
    """An estimator has a part that folding has no rule for; the plain export may still write it."""


class CannotExplainError(ModelKitError):
    """A model has no typical prediction that others could be compared with."""


class IntervalError(ModelKitError):
    """A model has no calibrated intervals, or none of the level asked for."""


class StreamError(ModelKitError):
    """A message broker cannot be reached, or refuses what has to be stored; the text names broker and topic."""


class FloorError(ModelKitError):
    """A model scores below the absolute floors of its package, so nothing was exported."""


def first_line(error: Exception) -> str:
    """What another library's error says, in one line of at most 200 characters."""
    lines = str(error).strip().splitlines() or [""]
    text = lines[0] if len(lines[0]) <= EXCERPT else f"{lines[0][:EXCERPT]}..."
    return f"{type(error).__name__}: {text}".rstrip(": .")
