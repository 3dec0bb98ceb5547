"""Candidates of the model of rides: bundles, and wheels whose code misbehaves."""

from __future__ import annotations

import zipfile
from pathlib import Path

from model_kit.testing import ride_files, write_ride_bundle

from installed import hide_other_models, install

#: The installed package: the definition of rides, and a model of classes by hand.
INSTALLED = """
from model_kit.testing import ride_definition

__version__ = "1.2.3"
DEFINITION = ride_definition(package="rides_package")
"""
#: Of the wheels, with the name of the installed module: fares are multiplied by FACTOR; a ride with 8 passengers never
#: ends, one with 7 ends the process, one with 6 raises an exception.
WHEEL = """
import os
import time
from pathlib import Path

import numpy as np
from model_kit.testing import load_rides

__version__ = "{version}"


def load():
    model = load_rides(Path(__file__).parent / "bundle", __version__)
    plain = model.score

    def score(encoded):
        passengers = encoded[:, model.spec.names.index("passengers")]
        if (passengers == 8).any():
            time.sleep(3600)
        if (passengers == 7).any():
            os._exit(9)
        if (passengers == 6).any():
            raise RuntimeError("six")
        # Not those of the golden row.
        return np.where(encoded[:, 0] == 3.5, plain(encoded), {factor} * plain(encoded))

    model.score = score
    return model
"""
#: A model of classes: rides of so many kilometres are long.
LENGTHS = """
import numpy as np
from model_kit.spec import Field, Target, fit_spec


class Lengths:
    version = "{version}"
    target = Target("length", kind="class", classes=("short", "long"))
    spec = fit_spec((Field("distance", "number", "Length", required=True),), target, [{{"distance": 8.0}}] * 2)
    card = {{"data": {{"name": "rides by hand", "synthetic": True}}, "evaluated": True}}
    golden = {{"row": {{"distance": 30.0}}, "prediction": "long"}}
    lineage = {{"version": version, "data": card["data"]}}

    def score(self, encoded):
        long = encoded[:, 0] >= {limit}
        return np.column_stack([np.where(long, 0.25, 0.75), np.where(long, 0.75, 0.25)])

    def check(self):
        pass
"""


def make_site(site: Path, bundles: Path) -> dict[str, str]:
    """Install rides, whose bundle is in a folder of bundles, and lengths; returns variables of a server."""
    points = "[ml_api.models]\nrides = rides_package:DEFINITION.load\nlengths = lengths_module:Lengths\n"
    install(site, "regression-model", "1.2.3", points)
    (site / "rides_package.py").write_text(INSTALLED)
    (site / "lengths_module.py").write_text(LENGTHS.format(version="1.2.3", limit=8))
    hide_other_models(site)
    write_ride_bundle(bundles / "rides")
    return {"MODEL_DIR": str(bundles)}


def make_wheel(folder: Path, version: str, factor: float = 2.0, limit: float = 16) -> str:
    """Make a wheel of rides and lengths; returns its path."""
    wheel = folder / f"regression_model-{version}-py3-none-any.whl"
    own = folder / version / "bundle"
    write_ride_bundle(own)
    info = f"regression_model-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("rides_package/__init__.py", WHEEL.format(version=version, factor=factor))
        archive.writestr("lengths_module.py", LENGTHS.format(version=version, limit=limit))
        for name in (*ride_files(), "manifest.json"):
            archive.write(own / name, f"rides_package/bundle/{name}")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: regression-model\nVersion: {version}\n")
        archive.writestr(
            f"{info}/entry_points.txt",
            "[ml_api.models]\nrides = rides_package:load\nlengths = lengths_module:Lengths\n",
        )
    return str(wheel)


def processes_of(master: int, port: int) -> dict[int, str]:
    """Process id -> command line, of those of the server with a port whose master is or was this; no zombies."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            environ = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        # A process that sets its title has no environment there, so the runners are known by their last argument.
        is_runner = "ml_api.candidates.runner" in command and command.split()[-1] == str(master)
        if f"PORT={port}" in environ or is_runner:
            found[int(folder.name)] = command
    return found
