"""Writes an estimator in skops' format: the same bytes for the same estimator."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any, Final

from model_kit.errors import BundleError, ExportError, MissingLibraryError, first_line

#: Zip files state when a file was changed; this one is the earliest that they can.
_NEVER: Final = (1980, 1, 1, 0, 0, 0)


def dump_estimator(estimator: Any) -> bytes:
    """The estimator as ``model.skops``.

    Raises:
        ExportError: skops cannot write it, or it has a part of a type that is not trusted.
        MissingLibraryError: skops is not installed.
    """
    try:
        from skops.io import dumps  # noqa: PLC0415 - only for models that scikit-learn serves

        from model_kit.scoring.scikit_learn import require_trusted  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingLibraryError(
            'the runtime scikit-learn needs skops: pip install "model-kit[scikit-learn]"'
        ) from error
    try:
        content = _canonical(dumps(estimator))
    except Exception as error:  # skops raises whatever an estimator's parts do
        raise ExportError(f"skops cannot write it: {first_line(error)}") from error
    try:
        require_trusted(content)
    except BundleError as error:
        raise ExportError(f"nothing was exported: {error}") from error
    return content


def _canonical(content: bytes) -> bytes:
    """A skops file with numbers in place of addresses and random names, which are others each time."""
    numbers: dict[int, int] = {}
    names: dict[str, str] = {}

    def renamed(node: Any) -> Any:
        if isinstance(node, list):
            return [renamed(one) for one in node]
        if not isinstance(node, dict):
            return node
        found: dict[str, Any] = {}
        for key, value in node.items():
            if key == "__id__":
                found[key] = numbers.setdefault(value, len(numbers) + 1)
            elif key == "file" and "__loader__" in node:
                found[key] = names.setdefault(value, f"{len(names)}{value[value.rfind('.') :]}")
            else:
                found[key] = renamed(value)
        return found

    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        schema = renamed(json.loads(old.read("schema.json")))
        new.writestr(zipfile.ZipInfo("schema.json", _NEVER), json.dumps(schema), zipfile.ZIP_DEFLATED)
        for before, after in names.items():
            new.writestr(zipfile.ZipInfo(after, _NEVER), old.read(before), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
