"""The fields: ten measurements of cell nuclei, each as mean, standard error and mean of the three largest."""

from __future__ import annotations

from typing import Final

from model_kit.spec import Field, Target

TARGET: Final = Target(
    "diagnosis", kind="class", classes=("malignant", "benign"), positive="malignant", subject="cell sample"
)

#: Name in the data -> what is measured.
MEASURED: Final = {
    "radius": "distance from the centre to the outline",
    "texture": "standard deviation of the grey values",
    "perimeter": "length of the outline",
    "area": "area",
    "smoothness": "local variation of the radius",
    "compactness": "perimeter² / area - 1",
    "concavity": "depth of concave parts of the outline",
    "concave points": "share of concave parts of the outline",
    "symmetry": "symmetry",
    "fractal dimension": "dimension of the outline, less 1",
}


def _fields(pattern: str, group: str) -> tuple[Field, ...]:
    return tuple(
        Field(pattern.format(name), "number", f"{group}: {meaning}", group=group, required=True, minimum=0)
        for name, meaning in MEASURED.items()
    )


FIELDS: Final = (
    *_fields("mean {}", "Mean of all nuclei"),
    *_fields("{} error", "Standard error of the mean"),
    *_fields("worst {}", "Mean of the three largest"),
)
