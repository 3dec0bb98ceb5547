"""What a definition has by default, what it imports by name, and how installed definitions are found."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit.errors import BundleError, DefinitionError
from model_kit.scoring import definition as module
from model_kit.scoring.bundle import SPEC, read_bundle, write_bundle
from model_kit.scoring.definition import (
    ModelDefinition,
    check_name,
    find_definition,
    find_entry_point,
    installed_definitions,
)
from model_kit.scoring.protocol import ENTRY_POINT_GROUP
from model_kit.spec import Field, Target
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW, ride_definition, write_ride_bundle

MINIMAL: dict[str, Any] = {
    "target": Target("fare"),
    "fields": (Field("distance", "number", "Length of the ride"),),
    "estimator": "taxi_rides_model.estimator:make",
}
TAXI = """
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.protocol import ENTRY_POINT_GROUP
from model_kit.spec import Field, Target

__version__ = "4.5.6"
NUMBER = 7
DEFINITION = ModelDefinition("taxi-rides", Target("fare"), (Field("distance", "number", "x"),), "sklearn:x")
"""

WritePackage = Callable[[str, str], Path]
Install = Callable[..., None]


@pytest.fixture
def write_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WritePackage:
    """A function that writes a package of one file, which can be imported until the test ends."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, source: str) -> Path:
        for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, loaded)
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(source)
        return tmp_path / name

    return write


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """A function that makes these the only entry points of models."""

    def install(**values: str) -> None:
        points = EntryPoints(EntryPoint(name, value, ENTRY_POINT_GROUP) for name, value in values.items())
        monkeypatch.setattr(module, "entry_points", points.select)

    return install


# defaults


def test_package_and_distribution_follow_from_the_name() -> None:
    definition = ModelDefinition("taxi-rides", **MINIMAL)
    assert definition.package == "taxi_rides_model"
    assert definition.distribution == "taxi-rides-model"
    stated = ModelDefinition("taxi-rides", **MINIMAL, package="fares")
    assert (stated.package, stated.distribution) == ("fares", "fares")


def test_version_folder_and_bundle_are_those_of_the_package(write_package: WritePackage) -> None:
    folder = write_package("taxi_rides_model", TAXI)
    definition = ModelDefinition("taxi-rides", **MINIMAL)
    assert definition.version == "4.5.6"
    assert definition.folder == folder
    assert definition.bundle == folder / "bundle"


def test_name_target_fields_and_estimator_are_enough() -> None:
    definition = ModelDefinition("taxi-rides", **MINIMAL)
    assert definition.repair({"distance": 2.0}) == {"distance": 2.0}
    assert definition.rare_below == 10
    for attribute in ("derive", "keep_for_training", "register_converters", "floors", "identifier", "sample"):
        assert definition.resolve(attribute) is None
    assert (definition.contradictions, definition.together, definition.not_core) == ((), (), frozenset())


def test_folder_of_a_namespace_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no_init").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DefinitionError, match=r"^no_init is not a regular package; it needs an __init__\.py$"):
        _ = ride_definition(package="no_init").folder


# resolve


def test_reference_is_imported_when_it_is_asked_for_and_a_value_is_itself(write_package: WritePackage) -> None:
    write_package("taxi_rides_model", TAXI)
    definition = ModelDefinition("taxi-rides", **MINIMAL | {"estimator": "taxi_rides_model:NUMBER"})
    assert "taxi_rides_model" not in sys.modules
    assert definition.resolve("estimator") == 7
    assert "taxi_rides_model" in sys.modules
    assert ride_definition(keep_for_training=np.isfinite).resolve("keep_for_training") is np.isfinite


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("nowhere:make", "and there is no module nowhere"),
        ("taxi_rides_model.nowhere:make", "and there is no module taxi_rides_model.nowhere"),
        ("taxi_rides_model:nothing", "cannot be imported: module 'taxi_rides_model' has no attribute 'nothing'"),
        ("not a reference", "cannot be imported"),
    ],
)
def test_reference_to_nothing_names_model_attribute_and_value(
    reference: str, reason: str, write_package: WritePackage
) -> None:
    write_package("taxi_rides_model", TAXI)
    definition = ModelDefinition("taxi-rides", **MINIMAL | {"estimator": reference})
    with pytest.raises(DefinitionError) as caught:
        definition.resolve("estimator")
    assert str(caught.value).startswith(f"taxi-rides: estimator is {reference!r}, ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("library", ["absent_library", "taxi_rides"])
def test_library_that_a_module_lacks_is_not_taken_for_the_module(library: str, write_package: WritePackage) -> None:
    write_package("taxi_rides_model", f"import {library}\n")
    definition = ModelDefinition("taxi-rides", **MINIMAL | {"estimator": "taxi_rides_model:make"})
    with pytest.raises(ModuleNotFoundError) as caught:
        definition.resolve("estimator")
    assert caught.value.name == library


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("from math import nothing\n", "cannot import name 'nothing' from 'math'"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("def make(:\n", "SyntaxError: "),
    ],
)
def test_module_whose_own_import_fails_says_why(source: str, reason: str, write_package: WritePackage) -> None:
    write_package("taxi_rides_model", source)
    definition = ModelDefinition("taxi-rides", **MINIMAL | {"estimator": "taxi_rides_model:make"})
    with pytest.raises(DefinitionError, match=re.escape(reason)) as caught:
        definition.resolve("estimator")
    assert str(caught.value).startswith("taxi-rides: estimator is 'taxi_rides_model:make', which cannot be imported: ")


# entry points


def test_installed_models_are_found_by_name(write_package: WritePackage, install: Install) -> None:
    write_package("taxi_rides_model", TAXI)
    install(**{"taxi-rides": "taxi_rides_model:DEFINITION.load"})
    found = find_definition("taxi-rides")
    assert (found.name, found.version) == ("taxi-rides", "4.5.6")
    assert installed_definitions() == {"taxi-rides": found}


def test_definition_of_another_name_than_its_entry_point_is_refused(
    write_package: WritePackage, install: Install
) -> None:
    write_package("taxi_rides_model", TAXI)
    install(taxi="taxi_rides_model:DEFINITION.load")
    reason = "^the entry point is named taxi, its ModelDefinition taxi-rides; give both one name$"
    with pytest.raises(DefinitionError, match=reason):
        find_definition("taxi")
    with pytest.raises(DefinitionError, match=reason):
        installed_definitions()
    with pytest.raises(DefinitionError, match=reason):
        check_name("taxi", find_entry_point("taxi").load().__self__)
    check_name("taxi-rides", find_entry_point("taxi").load().__self__)
    check_name("taxi", object())


def test_model_that_is_not_installed_is_told_with_those_that_are(install: Install) -> None:
    install(rides="nowhere:DEFINITION.load", fares="nowhere:DEFINITION.load")
    with pytest.raises(DefinitionError, match="^no model houses is installed; installed: fares, rides$"):
        find_definition("houses")
    install()
    with pytest.raises(DefinitionError, match="^no model houses is installed; installed: none$"):
        find_definition("houses")
    assert installed_definitions() == {}


@pytest.mark.parametrize("value", ["taxi_rides_model:DEFINITION", "taxi_rides_model:NUMBER", "builtins:len"])
def test_entry_point_of_something_else_is_refused(value: str, write_package: WritePackage, install: Install) -> None:
    write_package("taxi_rides_model", TAXI)
    install(taxi=value)
    with pytest.raises(
        DefinitionError, match=f"^entry point taxi = {value}: it must be the load method of a ModelDefinition$"
    ):
        find_definition("taxi")


def test_package_that_cannot_be_imported_names_file_and_line(write_package: WritePackage, install: Install) -> None:
    folder = write_package("taxi_rides_model", "\n\nraise RuntimeError('no licence')\n")
    install(taxi="taxi_rides_model:DEFINITION.load")
    with pytest.raises(DefinitionError) as caught:
        find_definition("taxi")
    assert str(caught.value) == (
        "model taxi = taxi_rides_model:DEFINITION.load cannot be imported: RuntimeError: no licence "
        f"({folder / '__init__.py'}, line 3)"
    )


# bundles; more of them in test_definition.py


def test_folder_of_bundles_of_several_models_gives_each_its_own(
    installed: ModelDefinition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ride_bundle(tmp_path / "rides", metrics={"r2": 0.5})
    write_ride_bundle(tmp_path / "flights", model="flights")
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    assert installed.load().card["metrics"] == {"r2": 0.5}


def test_bundle_of_another_model_in_the_folder_is_refused(
    installed: ModelDefinition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ride_bundle(tmp_path / "rides", model="flights")
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    with pytest.raises(BundleError) as caught:
        installed.load()
    assert str(caught.value) == (
        "MODEL_DIR: the bundle in rides/ cannot be served: card.json: it is a bundle of the model flights, not of rides"
    )


def test_bundle_with_a_field_less_than_the_code_is_refused(installed: ModelDefinition, tmp_path: Path) -> None:
    bundle = read_bundle(installed.bundle)
    spec: dict[str, Any] = bundle.json(SPEC)
    spec["fields"].pop()
    write_bundle(tmp_path / "bundle", {**bundle.files, SPEC: json.dumps(spec).encode()})
    with pytest.raises(BundleError, match=r"^spec\.json: its fields are not those of this version of the package"):
        installed.load_bundle(tmp_path / "bundle")


def test_version_of_another_bundle_has_its_sha256_in_place_of_a_local_part(tmp_path: Path) -> None:
    sha256 = write_ride_bundle(tmp_path / "bundle")
    definition = ride_definition()
    assert definition.load_bundle(tmp_path / "bundle").version == f"1.2.3+{sha256[:12]}"


def test_local_part_of_the_version_is_replaced(tmp_path: Path, write_package: WritePackage) -> None:
    write_package("taxi_rides_model", '__version__ = "2.0+cpu"\n')
    sha256 = write_ride_bundle(tmp_path / "bundle")
    model = ride_definition(package="taxi_rides_model").load_bundle(tmp_path / "bundle")
    assert model.version == f"2.0+{sha256[:12]}"


def test_make_prediction_needs_the_argument_by_name(installed: ModelDefinition) -> None:
    assert installed.make_prediction(input_data=[GOLDEN_ROW])["predictions"] == [GOLDEN_PREDICTION]
    with pytest.raises(TypeError):
        installed.make_prediction([GOLDEN_ROW])  # type: ignore[call-arg]
