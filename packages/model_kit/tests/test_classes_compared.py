"""Two versions of a model of classes: differences of probabilities, metrics, the classes themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from model_kit.comparison.gate import read_gate
from model_kit.comparison.html import page
from model_kit.comparison.run import Comparison, Data, compare
from model_kit.comparison.scorer import Scorer
from model_kit.comparison.sources import Source
from model_kit.comparison.text import report
from model_kit.scoring.definition import Floors
from model_kit.spec import InputSpec, Target
from model_kit.spec.compatibility import compare_specs, verdict
from model_kit.training.train import train

from staff import THREE, TWO, definition, make_dataset


def loaded(folder: Path) -> Any:
    """What the process of a model loads, see ``scorer``; named there as ``test_classes_compared:loaded``."""
    target = THREE if folder.name.startswith("three") else TWO
    return definition(target).load_bundle(folder)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions")
    train(definition(TWO), make_dataset(), folder / "two-old")
    train(definition(TWO), make_dataset(1100, seed=9), folder / "two-new")
    train(definition(THREE), make_dataset(classes=3), folder / "three-old")
    return folder


def compared(old: Path, new: Path, floors: Floors | None = None) -> Comparison:
    paths = (Path(__file__).parent, Path(__file__).parents[3] / "tests" / "helpers")
    sides = []
    for folder in (old, new):
        size = sum(path.stat().st_size for path in folder.iterdir())
        sides.append(
            Scorer(
                Source(
                    kind="bundle",
                    name=str(folder),
                    paths=paths,
                    loader="test_classes_compared:loaded",
                    arguments=(folder,),
                    bundle_bytes=size,
                )
            )
        )
    try:
        return compare(sides[0], sides[1], read_gate(None), floors, Data())
    finally:
        for side in sides:
            side.close()


def test_same_model_does_not_differ(bundles: Path) -> None:
    found = compared(bundles / "three-old", bundles / "three-old")
    assert found.document["differences"]["max"] == 0
    assert found.document["differences"]["reclassified"] == 0
    assert found.document["spec"]["verdict"] == "identical"


def test_other_rows_move_probabilities_and_metrics(bundles: Path) -> None:
    found = compared(bundles / "two-old", bundles / "two-new", Floors(accuracy=0.99, log_loss=9))
    differences = found.document["differences"]
    assert 0 < differences["median"] < differences["max"] <= 1
    assert 0 < differences["reclassified"] < 0.2
    assert ((found.old >= 0) & (found.old <= 1)).all()
    assert {entry["name"] for entry in found.document["metrics"]} >= {"log_loss", "roc_auc", "accuracy"}
    status = {check["name"]: check["status"] for check in found.document["checks"]}
    assert status["floor.accuracy"] == "beyond"
    assert status["floor.log_loss"] == "within"
    text = report(found.document)
    assert "accuracy, cross-validated" in text
    assert "<svg" in page(found)


@pytest.mark.parametrize(
    ("changes", "breaking", "text"),
    [
        ({"classes": ("stays", "leaves", "unsure")}, True, "the class unsure is new: clients may not know it"),
        ({"threshold": 0.3}, False, "the positive class is predicted from another threshold on"),
        ({"positive": "stays"}, False, "the positive class is predicted from another threshold on"),
    ],
)
def test_changes_of_classes(changes: dict[str, Any], breaking: bool, text: str) -> None:
    old, new = InputSpec((), {}, TWO), InputSpec((), {}, replace(TWO, **changes))
    found = compare_specs(old, new)
    assert text in [change.text for change in found]
    assert verdict(found) == ("breaking" if breaking else "compatible")


def test_class_that_is_gone_is_compatible_and_a_number_is_not() -> None:
    three = InputSpec((), {}, THREE)
    two = InputSpec((), {}, replace(THREE, classes=(1, 2)))
    assert verdict(compare_specs(three, two)) == "compatible"
    assert verdict(compare_specs(three, InputSpec((), {}, Target("grade")))) == "breaking"
