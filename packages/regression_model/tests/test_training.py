"""The bundle that training on the sample of houses writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from model_kit.scoring.bundle import Bundle, read_bundle
from model_kit.training import dataset
from regression_model import DEFINITION
from regression_model.fields import FIELDS


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two bundles of the sample, trained in processes of their own."""
    made = [tmp_path_factory.mktemp("trained") / name for name in ("one", "two")]
    for seed, folder in enumerate(made):
        # Sets of strings have another order in each process; two fixed orders here.
        code = "import sys; from model_kit.cli.main import main; sys.exit(main(program='regression-model'))"
        command = [sys.executable, "-c", code, "train", "--sample", "--no-cv", "--bundle", str(folder)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": str(seed)})
    return made


@pytest.fixture(scope="module")
def bundle(folders: list[Path]) -> Bundle:
    return read_bundle(folders[0])


def test_same_data_and_versions_give_the_same_artefact_in_another_process(folders: list[Path], bundle: Bundle) -> None:
    again = read_bundle(folders[1])
    assert {name for name, sha256 in bundle.hashes.items() if again.hashes[name] != sha256} <= {"card.json"}
    assert again.artifact_sha256 == bundle.artifact_sha256


def test_trained_bundle_is_served_by_this_package(folders: list[Path]) -> None:
    model = DEFINITION.load_bundle(folders[0])
    model.check()
    assert model.lineage["data"]["synthetic"] is True
    assert model.lineage["evaluated"] is False


def test_golden_row_is_no_near_copy_of_a_training_row(bundle: Bundle) -> None:
    golden = bundle.json("golden.json")["row"]
    areas = [field.name for field in FIELDS if field.kind == "number" and golden.get(field.name)]
    assert len(areas) >= 5
    for row in dataset.synthetic(DEFINITION).rows:
        assert sum(row.get(name) == golden[name] for name in areas) <= len(areas) // 2


def test_reference_has_no_cell_of_a_few_rows(bundle: Bundle) -> None:
    reference = bundle.json("reference.json")
    assert reference["rows"] == 1460
    assert set(reference["fields"]) == {field.name for field in FIELDS}
    for cells in reference["fields"].values():
        counts = [cells["missing"], cells.get("other", 0), *cells.get("levels", {}).values(), *cells.get("counts", [])]
        assert all(count == 0 or count >= 10 for count in counts)
        assert sum(counts) > 1460 - 2 * 10
