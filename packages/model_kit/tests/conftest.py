"""Taxi rides with a fare that can be learned, and the bundle of fixed weights."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from model_kit.batch.csv_files import CsvWriter, csv_table
from model_kit.batch.scoring import predict_table
from model_kit.scoring.bundle import GOLDEN, SPEC, dump_json, write_bundle
from model_kit.scoring.definition import ModelDefinition, find_definition
from model_kit.scoring.model import BundleModel
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.table_columns import NO_DETAILS, Added, DetailOptions
from model_kit.spec import Field, InputSpec, Learned, Target
from model_kit.testing import (
    FIELDS,
    GOLDEN_PREDICTION,
    GOLDEN_ROW,
    LEARNED,
    TARGET,
    load_rides,
    ride_files,
    write_ride_bundle,
)
from model_kit.training.dataset import Dataset


@pytest.fixture(scope="session")
def rides() -> Dataset:
    """300 rides; log fare = 2 + distance / 8 - [zone is B] / 4, and noise of 0.05."""
    random = np.random.default_rng(7)
    distance = random.uniform(0.4, 12, 300).round(2)
    zone = random.choice(["A", "B"], 300)
    comfort = random.choice(["1", "2", "3"], 300)
    noise = random.normal(0, 0.05, 300)
    rows = [
        {"distance": float(d), "passengers": None if p == 0 else int(p), "zone": str(z), "comfort": str(c)}
        for d, p, z, c in zip(distance, random.integers(0, 5, 300), zone, comfort, strict=True)
    ]
    target = np.exp(2 + distance / 8 - (zone == "B") / 4 + noise)
    ids = tuple(str(number) for number in range(300))
    return Dataset("rides by dice", "0" * 64, synthetic=True, ids=ids, rows=tuple(rows), target=target)


@pytest.fixture
def forgotten_packages() -> Iterator[None]:
    """Packages that a test imports are gone after it."""
    path, before = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.partition(".")[0].endswith("_model"):
            del sys.modules[name]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The bundle of fixed weights, written to a folder of its own."""
    write_ride_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def model(bundle: Path) -> BundleModel:
    """The model of fixed weights."""
    return load_rides(bundle)


@pytest.fixture(scope="session")
def price_csv() -> Callable[..., tuple[bytes, int, int]]:
    """A function that predicts a CSV file; it returns the output, the rows with a prediction and those without."""

    def price(
        predictor: Predictor, content: bytes, options: DetailOptions = NO_DETAILS, threads: int = 1, **more: Any
    ) -> tuple[bytes, int, int]:
        table = csv_table(content, predictor.model.spec, **more)
        output = io.BytesIO()
        target = predictor.model.spec.target
        added: Added = {"prediction": "number", "error": "text", **options.columns(target)}
        writer = CsvWriter(output, table, added)
        scored = failed = 0
        for _, answers, rendered in predict_table(table, predictor, writer, options, threads):
            writer.write(rendered)
            scored += len(answers.positions)
            failed += answers.n_failed
        return output.getvalue(), scored, failed

    return price


#: Thresholds that a model of the same predictions, data and fields is within; by which the tests' models go beyond.
GATE = """
[difference]
median = 0.02
p90 = 0.05
p99 = 0.10
max = 0.20
beyond = 0.05
share = 0.10
[rows]
compared = 0.95
newly_failing = 0.0
[metric.r2]
better = "higher"
worse_by = 0.01
[metric.rmse]
better = "lower"
worse_by = 0.05
[data]
rows = 1.0
[size]
bundle = 2.0
wheel = 2.0
[latency]
one_row = 50.0
thousand_rows = 50.0
"""


@pytest.fixture
def write_gate(tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes a thresholds file with some text more, and returns its path."""

    def write(more: str = "") -> Path:
        path = tmp_path / "gate.toml"
        path.write_text(GATE + more)
        return path

    return write


@pytest.fixture(scope="session")
def write_rides(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that writes a bundle of rides.

    Its fares are ``factor`` times those by hand, its spec has ``fields`` and ``learned``; what else it is given
    overrides the card, which is by default that of an evaluated model of real data.
    """

    def write(
        factor: float = 1.0,
        fields: tuple[Field, ...] = FIELDS,
        learned: Mapping[str, Learned] = LEARNED,
        golden: float = 1.0,
        **card: Any,
    ) -> Path:
        folder = tmp_path_factory.mktemp("rides") / "bundle"
        facts: dict[str, Any] = {
            "data": {"name": "rides.csv", "sha256": "a" * 64, "rows": 100, "synthetic": False},
            "metrics": {"r2": 0.9, "rmse": 0.1},
        }
        spec = InputSpec(fields, learned, TARGET).with_offset(TARGET.offset + float(np.log(factor)))
        expected = {"row": GOLDEN_ROW, "prediction": GOLDEN_PREDICTION * factor * golden}
        files = ride_files(**facts | card) | {SPEC: spec.to_json().encode(), GOLDEN: dump_json(expected)}
        write_bundle(folder, files)
        return folder

    return write


#: A model package of rides whose fares are ``FACTOR`` times those of its bundle: its own code decides what it says.
PACKAGE = """
from pathlib import Path

import numpy as np
from model_kit.scoring.definition import ModelDefinition, find_definition
from model_kit.scoring.model import BundleModel
from model_kit.testing import derive

print("a line that must not get among the answers")


class Dearer(BundleModel):
    def score(self, encoded):
        return super().score(encoded) * FACTOR

    def check(self):
        pass


def load():
    return Dearer.load(Path(__file__).with_name("bundle"), derive, "VERSION")
"""


@pytest.fixture(scope="session")
def make_wheel(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that makes a wheel of ``rides-model`` from a bundle and its own code."""

    def make(
        bundle: Path,
        version: str = "1.2.0",
        factor: float = 1.0,
        code: str = PACKAGE,
        more: str = "",
        points: str = "[ml_api.models]\nrides = rides_model:load\n",
        name: str = "rides-model",
    ) -> Path:
        path = tmp_path_factory.mktemp("wheel") / f"rides_model-{version}-py3-none-any.whl"
        metadata = f"rides_model-{version}.dist-info"
        with zipfile.ZipFile(path, "w") as archive:
            source = (code + more).replace("FACTOR", repr(factor)).replace("VERSION", version)
            archive.writestr("rides_model/__init__.py", source)
            archive.writestr(f"{metadata}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            archive.writestr(f"{metadata}/entry_points.txt", points)
            for file in sorted(bundle.iterdir()):
                archive.write(file, f"rides_model/bundle/{file.name}")
        return path

    return make


#: A model package of rides as it is installed: found by its entry point, with the bundle of fixed weights.
INSTALLED = """
from model_kit.scoring.definition import Sample
from model_kit.testing import ride_definition

__version__ = "1.2.3"


def csv() -> bytes:
    rows = "".join(f"{9000 + n},{n % 30 + 1},{n % 4 + 1},{'AB'[n % 2]},{n % 3 + 1},{n % 30 + 10}\\n" for n in range(60))
    return f"Id,distance,passengers,zone,comfort,fare\\n{rows}".encode()


SAMPLE = Sample(csv, lambda identifier: identifier.startswith("9"), "*** MADE-UP RIDES ***")
DEFINITION = ride_definition(
    package="installed_rides", identifier="Id", not_core=frozenset({"524", "1299"}), sample="installed_rides:SAMPLE"
)
"""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages in which the model ``rides`` is installed."""
    folder = tmp_path_factory.mktemp("site")
    metadata = folder / "installed_rides-1.2.3.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-rides\nVersion: 1.2.3\n")
    (metadata / "entry_points.txt").write_text("[ml_api.models]\nrides = installed_rides:DEFINITION.load\n")
    (folder / "installed_rides").mkdir()
    (folder / "installed_rides" / "__init__.py").write_text(INSTALLED)
    write_ride_bundle(folder / "installed_rides" / "bundle")
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> ModelDefinition:
    """The definition of the model ``rides``, which the command finds."""
    monkeypatch.syspath_prepend(site)
    return find_definition("rides")


@pytest.fixture(scope="session")
def flats_frame() -> pd.DataFrame:
    """200 flats as a notebook has them: numbers, texts and booleans, a few cells missing; rent last."""
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "area": random.normal(80, 20, 200).round(1),
            "rooms": random.integers(1, 6, 200).astype(float),
            "town": random.choice(["Bonn", "Köln", "Ulm"], 200),
            "heating": random.choice(["gas", "oil"], 200),
            "garden": random.random(200) < 0.4,
        }
    )
    frame["rent"] = 500 + 10 * frame["area"] + 50 * frame["rooms"] + 100.0 * (frame["town"] == "Köln")
    frame.loc[::20, "area"] = np.nan
    frame.loc[7::20, "heating"] = np.nan
    return frame


FLAT_FIELDS = (
    Field("area", "number", "", unit="m²"),
    Field("rooms", "integer", ""),
    Field("town", "category", ""),
    Field("heating", "category", ""),
    Field("garden", "boolean", ""),
)


@pytest.fixture(scope="session")
def flats(flats_frame: pd.DataFrame) -> Dataset:
    """The same as training reads them."""
    kinds = {field.name: field.kind for field in FLAT_FIELDS}
    made: dict[str, Callable[[Any], Any]] = {"number": float, "integer": int, "category": str, "boolean": bool}
    rows = tuple(
        {str(name): None if pd.isna(value) else made[kinds[str(name)]](value) for name, value in row.items()}
        for row in flats_frame.drop(columns="rent").to_dict("records")
    )
    ids = tuple(map(str, range(len(rows))))
    return Dataset("flats.csv", "0" * 64, False, ids, rows, flats_frame["rent"].to_numpy())


@pytest.fixture(scope="session")
def flat_definition() -> Callable[..., ModelDefinition]:
    """Makes the definition of flats with an estimator and, if wanted, more."""

    def make(estimator: Any, **changes: Any) -> ModelDefinition:
        return ModelDefinition(
            "flats", Target("rent", "EUR"), FLAT_FIELDS, estimator, package="model_kit.testing", **changes
        )

    return make
