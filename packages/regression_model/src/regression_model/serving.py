"""The trained model of this package, as ``ml_api`` finds it by entry point."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Final

from model_kit.model import BundleModel

import regression_model
from regression_model.derive import derive

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
        BundleError: a file is missing or damaged; the error names it.
    """
    return BundleModel.load(BUNDLE, derive, version())
