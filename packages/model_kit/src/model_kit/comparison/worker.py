"""Loads one model with its own code and scores with it: the script of the process that ``scorer`` starts.

Its argument is a JSON object: ``paths`` (put before all others), ``loader`` (``module:function``), ``arguments`` for
the function (paths). Each line on standard input is a request, each line on standard output a response, both JSON. The
model and its model kit may be older ones, so only what is stable since model kit 0.1 is used: ``load()``, ``Model``,
``Predictor``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from functools import partial
from operator import attrgetter
from pathlib import Path
from timeit import repeat
from typing import Any


def main() -> None:
    """Load the model, then respond to requests until standard input ends."""
    # The model's code may print: responses go to a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = json.loads(sys.argv[1])
    sys.path[:0] = job["paths"]
    try:
        model = _load(job)
    except Exception as error:  # noqa: BLE001 - any error of the model's code goes to the parent
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers, flush=True)
        return
    predictor = _predictor_class()(model)
    print(json.dumps(_described(model)), file=answers, flush=True)
    is_class = getattr(getattr(model.spec, "target", None), "kind", "number") == "class"
    kept: list[Any] = []
    for line in sys.stdin:
        asked = json.loads(line)
        if "times" in asked:
            answer: dict[str, Any] = {"seconds": repeat(partial(predictor, kept), number=1, repeat=asked["times"])}
        else:
            kept = asked["records"]
            answer = {"predictions": _predictions(predictor, kept, is_class=is_class)}
        print(json.dumps(answer), file=answers, flush=True)


def _load(job: dict[str, Any]) -> Any:
    module_name, _, function = job["loader"].partition(":")
    module = importlib.import_module(module_name)
    own = [Path(path).resolve() for path in job["paths"]]
    if own and not any(Path(module.__file__ or "").resolve().is_relative_to(path) for path in own):
        raise ImportError(f"{module_name} is not the wheel's own but {module.__file__}")
    return attrgetter(function)(module)(*(Path(argument) for argument in job["arguments"]))


def _predictions(predictor: Any, records: list[Any], *, is_class: bool) -> Any:
    """A number for each record; of a class its probabilities."""
    if is_class:
        return predictor.detailed(records, probabilities=True).probabilities
    return predictor(records).predictions


def _predictor_class() -> Any:
    """``Predictor`` of the model kit on the path; before 0.2 it was in another module."""
    try:
        return importlib.import_module("model_kit.scoring.predictor").Predictor
    except ModuleNotFoundError:
        return importlib.import_module("model_kit.prediction").Predictor


def _described(model: Any) -> dict[str, Any]:
    import model_kit  # noqa: PLC0415 - that of the paths

    try:
        model.check()
        golden = None
    except Exception as error:  # noqa: BLE001 - as above
        golden = str(error)
    return {
        "version": model.version,
        "spec": model.spec.to_json(),
        "card": model.card,
        "lineage": model.lineage,
        "golden_prediction": model.golden["prediction"],
        "golden_fault": golden,
        "kit": model_kit.__version__,
    }


if __name__ == "__main__":
    main()
