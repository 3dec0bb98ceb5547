"""The trained model of this package, as ``ml_api`` finds it by entry point."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Final

from model_kit.bundle import SPEC, Bundle, read_bundle
from model_kit.errors import BundleError
from model_kit.model import BundleModel

import regression_model
from regression_model.contradictions import CONTRADICTIONS
from regression_model.derive import derive
from regression_model.fields import FIELDS

DISTRIBUTION: Final = "regression-model"
#: The bundle that the package carries.
BUNDLE: Final = Path(__file__).with_name("bundle")
#: The variable that names the folder of another bundle, mounted into a container for instance.
MODEL_DIR: Final = "MODEL_DIR"


def version() -> str:
    """Version of the installed distribution; that of the source where it is not installed."""
    try:
        return installed_version(DISTRIBUTION)
    except PackageNotFoundError:
        return regression_model.__version__


def load() -> BundleModel:
    """Verify and load the package's own bundle, or the one in ``MODEL_DIR``; needs neither pandas nor scikit-learn.

    A bundle from outside has a version that says so: that of this code, with the first digits of the artefact's sha256.

    Raises:
        BundleError: a file is missing or damaged, or the bundle is of other fields than this code; it names the file.
    """
    outside = os.environ.get(MODEL_DIR)
    if not outside:
        return _load(read_bundle(BUNDLE), version())
    try:
        bundle = read_bundle(Path(outside))
        return _load(bundle, f"{version().partition('+')[0]}+{bundle.artifact_sha256[:12]}")
    except (BundleError, OSError) as error:
        raise BundleError(MODEL_DIR, f"its bundle cannot be served: {error}") from error


def _load(bundle: Bundle, stated: str) -> BundleModel:
    model = BundleModel(bundle, derive, stated, CONTRADICTIONS)
    # ``derive`` finds its columns by position.
    if model.spec.names != tuple(field.name for field in FIELDS):
        raise BundleError(SPEC, "its fields are not those of this version of the package; train again")
    return model
