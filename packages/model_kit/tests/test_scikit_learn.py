"""Models that scikit-learn itself serves, and files that it must not make anything of."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from model_kit.errors import BundleError, DefinitionError, ExportError, MissingLibraryError
from model_kit.scoring.bundle import CARD, ESTIMATOR, MODEL, dump_json, read_bundle, write_bundle
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.scikit_learn import require_trusted
from model_kit.scoring.trusted_types import TRUSTED
from model_kit.training.dataset import Dataset
from model_kit.training.evaluation import fit
from model_kit.training.export import to_scikit_learn
from model_kit.training.skops_file import dump_estimator
from model_kit.training.train import train
from sklearn import __version__ as installed
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer
from sklearn.svm import SVR

from card_schema import assert_described

MakeDefinition = Callable[..., ModelDefinition]


def flat_estimator(final: Any = None) -> Any:
    """What neither folds nor has a converter."""
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), SplineTransformer(extrapolation="periodic")), ["area", "rooms"]),
            ("texts", OneHotEncoder(handle_unknown="ignore"), ["town", "heating"]),
        ]
    )
    return TransformedTargetRegressor(make_pipeline(columns, final or Ridge()), func=np.log1p, inverse_func=np.expm1)


@pytest.fixture
def trained(flats: Dataset, flat_definition: MakeDefinition, tmp_path: Path) -> tuple[ModelDefinition, Path]:
    definition = flat_definition(flat_estimator(), runtime="scikit-learn")
    train(definition, flats, tmp_path / "bundle", cv=False)
    return definition, tmp_path / "bundle"


def test_estimator_itself_is_in_the_bundle_and_predicts_as_in_the_notebook(
    trained: tuple[ModelDefinition, Path], flats: Dataset
) -> None:
    definition, folder = trained
    bundle = read_bundle(folder)
    assert ESTIMATOR in bundle.files
    assert MODEL not in bundle.files
    runtime = {"kind": "scikit-learn", "input": "frame", "output": "value", "folded": False}
    assert bundle.json(CARD)["runtime"] == runtime
    model = definition.load_bundle(folder)
    model.check()
    assert model.card["libraries"]["skops"]
    cost = model.lineage["runtime"]
    assert cost["kind"] == "scikit-learn"
    assert cost["row_us"] > 100
    assert cost["import_seconds"] > 0.1
    assert cost["memory_mb"] > 20
    expected = fit(definition, flats.rows, flats.target).predict(flats.rows)
    assert model.predict(flats.rows).tolist() == expected.tolist()
    assert np.isfinite(model.predict([{"area": 70, "town": "Rom"}, {}])).all()


def test_matrix_of_features_is_served_too(flats: Dataset, flat_definition: MakeDefinition) -> None:
    definition = flat_definition(make_pipeline(SplineTransformer(extrapolation="linear"), Ridge()))
    fitted = fit(definition, flats.rows, flats.target)
    assert to_scikit_learn(fitted, flats.rows).runtime["input"] == "matrix"


def test_same_estimator_gives_the_same_bytes(flats: Dataset, flat_definition: MakeDefinition) -> None:
    first, second = (fit(flat_definition(flat_estimator()), flats.rows, flats.target) for _ in range(2))
    assert dump_estimator(first.estimator) == dump_estimator(second.estimator)


def test_another_scikit_learn_is_refused_with_both_versions(trained: tuple[ModelDefinition, Path]) -> None:
    definition, folder = trained
    bundle = read_bundle(folder)
    card = bundle.json(CARD)
    card["libraries"]["scikit-learn"] = "1.2.3"
    write_bundle(folder, {**bundle.files, CARD: dump_json(card)})
    with pytest.raises(BundleError, match=f"saved with scikit-learn 1.2.3, and {installed} is installed"):
        definition.load_bundle(folder)


class Doubled(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer of somebody's own."""

    def fit(self, X: Any, y: Any = None) -> Doubled:  # noqa: N803 - scikit-learn's names
        self.fitted_ = True
        return self

    def transform(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        return 2 * X


@pytest.mark.parametrize(
    ("final", "said"),
    [
        (make_pipeline(Doubled(), Ridge()), r"not trusted: .*test_scikit_learn\.Doubled"),
        (make_pipeline(FunctionTransformer(np.save), Ridge()), r"not trusted: numpy\.save"),
        (KNeighborsRegressor(), "KNeighborsRegressor keeps training rows"),
    ],
)
def test_what_is_not_trusted_is_refused_by_name_before_a_bundle_is_written(
    final: Any, said: str, flats: Dataset, flat_definition: MakeDefinition, tmp_path: Path
) -> None:
    fitted = fit(flat_definition(flat_estimator()), flats.rows, flats.target)
    regressor: Any = fitted.estimator.regressor_  # type: ignore[attr-defined]
    regressor.steps[-1] = ("final", final)
    if isinstance(final, KNeighborsRegressor):
        final.fit([[1.0]] * 9, [2.0] * 9)
    with pytest.raises(ExportError, match=said):
        to_scikit_learn(fitted, flats.rows)
    definition = flat_definition(flat_estimator(KNeighborsRegressor()), runtime="scikit-learn")
    with pytest.raises(ExportError, match="KNeighborsRegressor keeps training rows"):
        train(definition, flats, tmp_path / "bundle", cv=False)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("final", [KNeighborsRegressor(), SVR(), GaussianProcessRegressor(optimizer=None)])
def test_training_rows_are_in_a_bundle_only_where_the_definition_says_so(
    final: Any, flats: Dataset, flat_definition: MakeDefinition, tmp_path: Path
) -> None:
    said: list[str] = []
    definition = flat_definition(flat_estimator(final), runtime="scikit-learn", keeps_rows=True)
    card = train(definition, flats, tmp_path, cv=False, report=said.append)
    name = type(final).__name__
    assert_described(card)
    assert card["runtime"]["keeps_rows"] == name
    assert f"The bundle holds training rows, which {name} keeps: whoever has it can read them" in said
    fitted = fit(definition, flats.rows, flats.target)
    predicted = definition.load_bundle(tmp_path).predict(flats.rows)
    np.testing.assert_allclose(predicted, fitted.predict(flats.rows), rtol=1e-9)
    with pytest.raises(DefinitionError, match='keeps_rows=True needs runtime="scikit-learn"'):
        flat_definition(flat_estimator(final), keeps_rows=True)


class Payload:
    """Creates a file when it is made of a stored state."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __setstate__(self, state: dict[str, str]) -> None:
        Path(state["path"]).touch()


def test_file_of_a_foreign_type_runs_nothing_however_well_hashed(
    trained: tuple[ModelDefinition, Path], tmp_path: Path
) -> None:
    definition, folder = trained
    created = tmp_path / "created"
    content = skops.io.dumps(Payload(str(created)))
    skops.io.loads(content, trusted=skops.io.get_untrusted_types(data=content))
    assert created.exists(), "the payload works where it is trusted"
    created.unlink()
    write_bundle(folder, {**read_bundle(folder).files, ESTIMATOR: content})
    with pytest.raises(BundleError, match=r"model\.skops: it has parts that are not trusted: .*Payload"):
        definition.load_bundle(folder)
    assert not created.exists()


def _node(loader: str, name: str, **more: Any) -> dict[str, Any]:
    module, _, kind = name.rpartition(".")
    return {"__loader__": loader, "__module__": module, "__class__": kind, "__id__": 1, **more}


@pytest.mark.parametrize(
    "node",
    [
        # Trusted, but not to be called with arguments of the file.
        _node("ConstructorFromReduceNode", "lightgbm.basic.Booster", content=_node("ListNode", "builtins.list")),
        _node("ListNode", "lightgbm.basic.Booster", content=[]),
        _node("DictNode", "sklearn.linear_model._ridge.Ridge", content={}),
        _node("FunctionNode", "os.system"),
        _node("FunctionNode", "builtins.eval"),
        _node("TypeNode", "subprocess.Popen"),
        _node("OperatorFuncNode", "operator.methodcaller", attrs={}),
        _node("MethodNode", "sklearn.linear_model._ridge.Ridge", content={}),
        _node("Unheard", "builtins.str"),
        {"__module__": "builtins", "__class__": "eval", "__loader__": "JsonNode"},
    ],
)
def test_name_is_trusted_for_one_kind_of_node_only(node: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        inner = _node("DictNode", "builtins.dict", content={"a": node})
        file.writestr(
            "schema.json", json.dumps(_node("ObjectNode", "sklearn.linear_model._ridge.Ridge", content=inner))
        )
    with pytest.raises(BundleError, match=f"not trusted: {node['__module__']}.{node['__class__']}"):
        require_trusted(buffer.getvalue())


@pytest.mark.parametrize("content", [b"", b"no zip", b"\x80\x04."])
def test_what_is_no_skops_file_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match="it is no skops file"):
        require_trusted(content)


def test_no_function_that_is_trusted_opens_runs_or_imports_anything() -> None:
    dangerous = {
        "load",
        "save",
        "eval",
        "exec",
        "open",
        "system",
        "loads",
        "fromfile",
        "memmap",
        "genfromtxt",
        "import",
    }
    assert not {name.rpartition(".")[2] for names in TRUSTED.values() for name in names} & dangerous


def test_model_of_onnx_loads_without_what_scikit_learn_needs(
    flats: Dataset, flat_definition: MakeDefinition, tmp_path: Path
) -> None:
    columns = ColumnTransformer([("texts", OneHotEncoder(handle_unknown="ignore"), ["town"])], remainder="drop")
    train(flat_definition(make_pipeline(columns, Ridge())), flats, tmp_path / "bundle", cv=False)
    code = (
        "import sys; from pathlib import Path; from model_kit.scoring.model import BundleModel;"
        f"model = BundleModel.load(Path({str(tmp_path / 'bundle')!r}), None, '1'); model.check();"
        "print(sorted({'sklearn', 'skops', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("requirement", "is_enough"), [("model-kit[scikit-learn,train]", True), ("model-kit", False)])
def test_package_must_depend_on_what_serves_it(
    requirement: str,
    is_enough: bool,
    flats: Dataset,
    flat_definition: MakeDefinition,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = tmp_path / "model_kit_testing-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Name: model-kit.testing\nVersion: 1\nRequires-Dist: {requirement}\n")
    monkeypatch.syspath_prepend(tmp_path)
    definition = flat_definition(flat_estimator(), runtime="scikit-learn")
    if is_enough:
        train(definition, flats, tmp_path / "bundle", cv=False)
    else:
        with pytest.raises(DefinitionError, match=r"pyproject\.toml does not depend on model-kit\[scikit-learn\]"):
            train(definition, flats, tmp_path / "bundle", cv=False)


def test_environment_without_it_says_what_to_install(
    trained: tuple[ModelDefinition, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    definition, folder = trained
    monkeypatch.delitem(sys.modules, "model_kit.scoring.scikit_learn")
    monkeypatch.setitem(sys.modules, "skops", None)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(MissingLibraryError, match=r'skops.* is not installed: pip install "model-kit\[scikit-learn\]"'):
        definition.load_bundle(folder)
