"""Where the models come from, and that each is scored by its own code in a process of its own."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import model_kit
import pytest
from model_kit.comparison.scorer import Scorer
from model_kit.comparison.sources import Package, Source, find, with_kit
from model_kit.errors import DataError
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW

Rides = Callable[..., Path]
PACKAGE = Package("rides-model", "model_kit.testing:load_rides")


def found(text: str | Path, folder: Path) -> Source:
    source = find(str(text), PACKAGE, folder, {})
    assert source is not None
    return source


def repacked(wheel: Path, folder: Path, *, without: str = "", **files: str) -> Path:
    """A wheel without the files that have a word in their names, and with others."""
    path = folder / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if not without or without not in name:
                new.writestr(name, old.read(name))
        for name, content in files.items():
            new.writestr(name, content)
    return path


def test_a_bundle_folder_is_scored_by_the_installed_code(write_rides: Rides, tmp_path: Path) -> None:
    bundle = write_rides()
    source = found(bundle, tmp_path)
    assert (source.kind, source.name, source.paths, source.wheel_bytes) == ("bundle", str(bundle), (), None)
    assert source.bundle_bytes == sum(file.stat().st_size for file in bundle.iterdir())
    with closing(Scorer(source)) as scorer:
        scorer.ask([GOLDEN_ROW, {"zone": "A"}])
        assert scorer.predictions() == [pytest.approx(GOLDEN_PREDICTION), None]
        assert scorer.golden_fault is None
        assert scorer.golden_prediction == GOLDEN_PREDICTION
        assert scorer.spec.names == ("distance", "passengers", "zone", "comfort")


def test_a_wheel_is_scored_by_the_code_that_it_carries(write_rides: Rides, make_wheel: Rides, tmp_path: Path) -> None:
    bundle = write_rides()
    wheels = [make_wheel(bundle, "1.2.0", 2.0), make_wheel(bundle, "1.3.0+abc", 3.0)]
    for wheel, factor in zip(wheels, (2.0, 3.0), strict=True):
        source = found(wheel, tmp_path / wheel.stem)
        assert source.kind == "wheel"
        assert source.wheel_bytes == wheel.stat().st_size
        assert source.wheel_sha256 == hashlib.sha256(wheel.read_bytes()).hexdigest()
        assert source.bundle_bytes == sum(file.stat().st_size for file in bundle.iterdir())
        with closing(Scorer(source)) as scorer:
            scorer.ask([GOLDEN_ROW])
            assert scorer.predictions() == [pytest.approx(factor * GOLDEN_PREDICTION)]
            assert scorer.version == wheel.name.split("-")[1]


def test_the_model_s_code_is_not_told_the_token(
    write_rides: Rides, make_wheel: Rides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACKAGE_INDEX_TOKEN", "hunter2")
    code = (
        "import os\n\ndef load():\n    raise ValueError(sorted(n for n in os.environ if n.startswith('PACKAGE_INDEX')))"
    )
    wheel = make_wheel(write_rides(), code=code)
    with pytest.raises(DataError, match=r"cannot be loaded: ValueError: \[\]"):
        Scorer(found(wheel, tmp_path))


def test_code_beside_the_command_does_not_get_into_a_model(
    write_rides: Rides, make_wheel: Rides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rides_model").mkdir()
    (tmp_path / "rides_model" / "__init__.py").write_text("raise RuntimeError('not me')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with closing(Scorer(found(make_wheel(write_rides()), tmp_path / "new"))) as scorer:
        assert scorer.version == "1.2.0"


def test_a_wheel_whose_model_is_elsewhere_is_refused(write_rides: Rides, make_wheel: Rides, tmp_path: Path) -> None:
    wheel = make_wheel(write_rides(), points="[ml_api.models]\nrides = model_kit.testing:load_rides\n")
    with pytest.raises(DataError, match=r"model_kit\.testing is not the wheel's own but .*testing\.py"):
        Scorer(found(wheel, tmp_path))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "houses-model"}, "is a wheel of houses-model, not of rides-model"),
        ({"points": "[console_scripts]\na = b:c\n"}, "must announce one model under the entry points ml_api.models"),
        ({"points": "[ml_api.models]\na = b:c\nd = e:f\n"}, "must announce one model"),
        ({"points": "nonsense"}, "must announce one model"),
    ],
)
def test_a_wheel_that_is_no_model_is_refused(
    changes: dict[str, str], reason: str, write_rides: Rides, make_wheel: Rides, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"^rides_model-1.2.0-py3-none-any.whl: {reason}"):
        found(make_wheel(write_rides(), **changes), tmp_path)


def test_a_wheel_without_a_part_is_refused(write_rides: Rides, make_wheel: Rides, tmp_path: Path) -> None:
    wheel = make_wheel(write_rides())
    with pytest.raises(DataError, match="carries one bundle, this one has 0"):
        found(repacked(wheel, tmp_path, without="bundle"), tmp_path / "a")
    with pytest.raises(DataError, match="is no wheel: it has no metadata"):
        found(repacked(wheel, tmp_path, without="METADATA"), tmp_path / "b")
    with pytest.raises(DataError, match="carries one bundle, this one has 2"):
        found(repacked(wheel, tmp_path, **{"other/manifest.json": "{}"}), tmp_path / "c")
    with pytest.raises(DataError, match=r"BundleError: model\.onnx: cannot be read"):
        Scorer(found(repacked(wheel, tmp_path, without="model.onnx"), tmp_path / "d"))
    (tmp_path / "x.whl").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"x\.whl: is no wheel, or damaged"):
        found(tmp_path / "x.whl", tmp_path / "e")
    damaged = bytearray(wheel.read_bytes())
    damaged[60] ^= 255
    (tmp_path / "y.whl").write_bytes(damaged)
    with pytest.raises(DataError, match=r"y\.whl: is no wheel, or damaged"):
        found(tmp_path / "y.whl", tmp_path / "f")


def test_what_is_none_of_all_that_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: there is no such file or folder; it is not a wheel file"):
        found("nowhere", tmp_path)
    with pytest.raises(DataError, match=r"none\.whl: cannot be read: No such file"):
        found(tmp_path / "none.whl", tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"notes\.txt: is not a wheel file, a bundle folder, a version"):
        found(tmp_path / "notes.txt", tmp_path)
    with pytest.raises(DataError, match="PACKAGE_INDEX_URL is not set"):
        found("1.2.0", tmp_path)


def test_a_damaged_bundle_is_told_with_the_file(write_rides: Rides, tmp_path: Path) -> None:
    bundle = write_rides()
    (bundle / "spec.json").write_text("{}")
    with pytest.raises(DataError, match=r"bundle: cannot be loaded: BundleError: spec\.json: sha256 is"):
        Scorer(found(bundle, tmp_path))


def test_a_process_that_ends_is_told_with_its_last_words(write_rides: Rides, make_wheel: Rides, tmp_path: Path) -> None:
    abrupt = "import os, sys\n\ndef load():\n    print('help', file=sys.stderr, flush=True)\n    os._exit(3)\n"
    with pytest.raises(DataError, match=r"its process ended; the end of its error output:\nhelp"):
        Scorer(found(make_wheel(write_rides(), code=abrupt), tmp_path))


def test_a_process_that_ends_later_is_told_as_well(write_rides: Rides, tmp_path: Path) -> None:
    with closing(Scorer(found(write_rides(), tmp_path))) as scorer:
        os.kill(scorer._process.pid, 9)
        scorer._process.wait()
        with pytest.raises(DataError, match="its process ended"):
            scorer.ask([GOLDEN_ROW] * 10_000)


def kit_wheel(folder: Path, files: dict[str, str]) -> Path:
    """A wheel of a model kit 0.0.9 with some files."""
    path = folder / "model_kit-0.0.9-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | {"__init__.py": '__version__ = "0.0.9"\n'}).items():
            archive.writestr(f"model_kit/{name}", content)
        archive.writestr("model_kit-0.0.9.dist-info/METADATA", "Metadata-Version: 2.1\nName: model_kit\n")
    return path


def test_a_wheel_can_bring_the_model_kit_of_its_time(write_rides: Rides, make_wheel: Rides, tmp_path: Path) -> None:
    code = Path(model_kit.__file__).parent
    kit = kit_wheel(tmp_path, {path.relative_to(code).as_posix(): path.read_text() for path in code.rglob("*.py")})
    source = with_kit(found(make_wheel(write_rides()), tmp_path / "a"), str(kit), tmp_path / "kit", {})
    with closing(Scorer(source)) as scorer:
        assert scorer.kit == "0.0.9"
        scorer.ask([GOLDEN_ROW])
        assert scorer.predictions() == [pytest.approx(GOLDEN_PREDICTION)]
    bundle = found(write_rides(), tmp_path / "b")
    with pytest.raises(DataError, match="a bundle folder is scored by the installed code, model kit included"):
        with_kit(bundle, str(kit), tmp_path / "kit2", {})


#: As model kit 0.1 had it: all modules in one folder.
FLAT_PREDICTOR = """
from types import SimpleNamespace


class Predictor:
    def __init__(self, model):
        self.model = model

    def __call__(self, records):
        return SimpleNamespace(predictions=[self.model.fare for _ in records])
"""
FLAT_MODEL = """
from pathlib import Path
from types import SimpleNamespace

from model_kit.prediction import Predictor


def load():
    spec = SimpleNamespace(to_json=Path(__file__).with_name("bundle").joinpath("spec.json").read_text)
    return SimpleNamespace(
        version="1.0.0", spec=spec, card={}, lineage={}, golden={"prediction": 1.0}, check=lambda: None, fare=7.5
    )
"""


def test_a_wheel_for_the_flat_model_kit_is_scored(write_rides: Rides, make_wheel: Rides, tmp_path: Path) -> None:
    kit = kit_wheel(tmp_path, {"prediction.py": FLAT_PREDICTOR})
    wheel = found(make_wheel(write_rides(), code=FLAT_MODEL), tmp_path / "a")
    with closing(Scorer(with_kit(wheel, str(kit), tmp_path / "kit", {}))) as scorer:
        assert scorer.kit == "0.0.9"
        scorer.ask([GOLDEN_ROW, GOLDEN_ROW])
        assert scorer.predictions() == [7.5, 7.5]
