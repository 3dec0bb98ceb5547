"""Taxi rides with a fare that can be learned, and the bundle of fixed weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from model_kit.definition import Dataset
from model_kit.model import BundleModel
from model_kit.testing import load_rides, write_ride_bundle


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
def bundle(tmp_path: Path) -> Path:
    """The bundle of fixed weights, written to a folder of its own."""
    write_ride_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def model(bundle: Path) -> BundleModel:
    """The model of fixed weights."""
    return load_rides(bundle)
