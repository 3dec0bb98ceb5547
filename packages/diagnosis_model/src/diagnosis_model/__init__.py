"""Malignant or benign, from 30 measurements of a cell sample."""

from __future__ import annotations

from model_kit.scoring.about import About
from model_kit.scoring.definition import Floors, ModelDefinition

from diagnosis_model.fields import FIELDS, TARGET

__version__ = "0.1.0"

DEFINITION = ModelDefinition(
    "diagnosis",
    TARGET,
    FIELDS,
    "diagnosis_model.estimator:ESTIMATOR",
    floors=Floors(accuracy=0.95),
    about=About(
        title="Breast masses: malignant or benign",
        purpose="A worked example of two classes: what 30 measurements of cell nuclei say of a breast mass.",
        place="University of Wisconsin Hospitals, Madison",
        source=(
            "W. H. Wolberg, W. N. Street and O. L. Mangasarian: Breast Cancer Wisconsin (Diagnostic), UCI Machine "
            "Learning Repository (1993), https://doi.org/10.24432/C5DW2B"
        ),
        licence="CC BY 4.0",
        limits=("It is no medical device, and no basis for a diagnosis.", "569 samples of one hospital."),
    ),
    sample="diagnosis_model.sample:SAMPLE",
)
make_prediction = DEFINITION.make_prediction
