"""The trained model of this package, as ``ml_api`` finds it by entry point."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Final

from model_kit.bundle import SPEC
from model_kit.errors import BundleError
from model_kit.model import BundleModel

import regression_model
from regression_model.derive import derive
from regression_model.fields import FIELDS

DISTRIBUTION: Final = "regression-model"
#: The bundle that the package carries.
BUNDLE: Final = Path(__file__).with_name("bundle")


def version() -> str:
    """Version of the installed distribution; that of the source where it is not installed."""
    try:
        return installed_version(DISTRIBUTION)
    except PackageNotFoundError:
        return regression_model.__version__


def load() -> BundleModel:
    """Verify and load the package's own bundle; needs neither pandas nor scikit-learn.

    Raises:
        BundleError: a file is missing or damaged, or the bundle is of other fields than this code; it names the file.
    """
    model = BundleModel.load(BUNDLE, derive, version())
    # ``derive`` finds its columns by position.
    if model.spec.names != tuple(field.name for field in FIELDS):
        raise BundleError(SPEC, "its fields are not those of this version of the package; train again")
    return model
