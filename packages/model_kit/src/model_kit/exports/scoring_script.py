"""What the score.py of an Azure export runs: a request's body in, a JSON document out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from model_kit.errors import DataError, IntervalError
from model_kit.records import json_text
from model_kit.scoring.bundle import CARD, MANIFEST, read_bundle
from model_kit.scoring.definition import find_definition
from model_kit.scoring.predictor import Predictor

#: Keys of a body that says more than records, as MLflow models on Azure have them.
RECORDS: Final = "input_data"
PARAMS: Final = "params"
_KINDS: Final[dict[str, Any]] = {"interval": (int, float), "probabilities": bool, "warnings": bool}


class ScoringScript:
    """A loaded model that answers requests' bodies.

    Args:
        folder: the bundle, or a folder that has it somewhere, as those of registered models do.

    Raises:
        DataError: there is not one bundle.
        BundleError: it cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        found = sorted(folder.rglob(MANIFEST))
        if len(found) != 1:
            raise DataError(f"{folder} has {len(found)} files {MANIFEST}; it must be the folder of one model")
        bundle = found[0].parent
        model = find_definition(read_bundle(bundle).json(CARD)["model"]).load_bundle(bundle)
        model.check()
        self._predict = Predictor(model)

    def __call__(self, body: str | bytes) -> Any:
        """Answer a body: ``predictions``, ``errors`` and ``version``, and what its ``params`` ask for.

        What is no JSON, or asks for what there is not, is refused: with status 400 under Azure's server.

        Raises:
            DataError: it is refused, and there is no such server.
        """
        try:
            return self._answer(json_text.loads(body))
        except (DataError, IntervalError) as error:
            return _refusal(str(error))
        except (ValueError, RecursionError) as error:
            return _refusal(f"the body is not JSON: {error}")

    def _answer(self, document: Any) -> dict[str, Any]:
        asked: dict[str, Any] = {}
        if isinstance(document, dict) and RECORDS in document:
            asked = _checked(document.get(PARAMS) or {})
            document = document[RECORDS]
        records = [document] if isinstance(document, dict) else document
        if not isinstance(records, list):
            raise DataError(f"the body is no array of records, no record and has no {RECORDS}")
        answer = self._predict.detailed(records, **asked)
        found = {
            "predictions": answer.predictions,
            "errors": {str(row): messages for row, messages in answer.errors.items()} or None,
            "version": self._predict.model.version,
        }
        details = {
            "intervals": answer.intervals,
            "probabilities": answer.probabilities,
            "warnings": answer.warnings,
        }
        return found | {name: values for name, values in details.items() if values is not None}


def _checked(params: Any) -> dict[str, Any]:
    """What may be asked for.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(params, dict):
        raise DataError(f"{PARAMS} is no object")
    for name, value in params.items():
        if name not in _KINDS:
            raise DataError(f"{PARAMS}: there is no {name}; there are {', '.join(_KINDS)}")
        if not isinstance(value, _KINDS[name]) or (name == "interval" and isinstance(value, bool)):
            raise DataError(f"{PARAMS}: {name} is {value!r}")
    return params


def _refusal(text: str) -> Any:
    try:
        from azureml_inference_server_http.api.aml_response import AMLResponse  # noqa: PLC0415 - there in Azure alone
    except ModuleNotFoundError:
        raise DataError(text) from None
    return AMLResponse({"error": text}, 400, json_str=True)
