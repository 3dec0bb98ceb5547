"""Recognizes the envelopes of other protocols in a request that is for this one."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from werkzeug.exceptions import BadRequest

_MLFLOW = "MLflow's /invocations (setting INVOCATIONS=mlflow)"
_INSTANCES = "/invocations of SageMaker or MLflow (setting INVOCATIONS=sagemaker or mlflow)"
_V2 = "the Open Inference Protocol, /v2/models/NAME/infer (setting V2=true)"
_AZURE = "Azure Machine Learning (model-kit export azure)"
#: Members of an envelope -> whose it is.
_ENVELOPES = {
    ("dataframe_split",): _MLFLOW,
    ("dataframe_records",): _MLFLOW,
    ("instances",): _INSTANCES,
    ("inputs",): _MLFLOW,
    ("columns", "data"): f"{_MLFLOW}, as its member dataframe_split",
    ("input_data",): _AZURE,
    ("data",): _AZURE,
}
#: What a tensor of V2 has, and bytes of the inputs that are searched for it.
_TENSOR, _SEARCHED = b'"datatype"', 2000
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def refuse(body: bytes | bytearray, names: Sequence[str]) -> None:
    """Refuse the one object of a body if it is an envelope of another protocol, and has no field of the model.

    Args:
        body: valid JSON.
        names: of the model's fields.

    Raises:
        BadRequest: it is one; the message says whose.
    """
    try:
        members = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    if not members.keys().isdisjoint(names):
        return
    for wanted, protocol in _ENVELOPES.items():
        content = [bytes(memoryview(members[name])[:_SEARCHED]) for name in wanted if name in members]
        if len(content) < len(wanted) or not content[-1].startswith((b"[", b"{")):
            continue
        meant = _V2 if wanted == ("inputs",) and _TENSOR in content[0] else protocol
        raise BadRequest(
            f"The body has the member {wanted[0]} and no field of the model: it is for {meant}. Here the body is a "
            "JSON array of records, or one record. The page docs/protocols.md has the protocols."
        )
