"""From a notebook: an estimator and a DataFrame become a package, or a wheel."""

from __future__ import annotations

import importlib
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import model_kit
import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from model_kit.errors import DataError, DefinitionError
from model_kit.scaffold.estimator_source import _Writer, estimator_source
from model_kit.scaffold.new import written_definition
from model_kit.scoring.about import About
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.predictor import Predictor
from model_kit.spec import Row
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators
from xgboost import XGBRegressor

pytestmark = pytest.mark.usefixtures("forgotten_packages")


@pytest.fixture
def frame() -> pd.DataFrame:
    random = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "size": random.normal(5, 2, 200),
            "rooms": random.integers(1, 6, 200),
            "lift": random.random(200) < 0.5,
        }
    )


@pytest.fixture
def target(frame: pd.DataFrame) -> pd.Series[float]:
    noise = np.random.default_rng(4).normal(0, 0.1, 200)
    return (3 * frame["size"] - 2 * frame["rooms"] + frame["lift"] - 10 + noise).rename("rent")


def ignored(_: str) -> None:
    """No report."""


def test_fitted_estimator_is_exported_as_it_is(frame: pd.DataFrame, target: pd.Series[float], tmp_path: Path) -> None:
    estimator = RandomForestRegressor(20, random_state=0).fit(frame, target)
    about = About(title="Flats", purpose="A word. " * 20, place='"Here"', limits=("No villas.", "No lofts. " * 15))
    folder = model_kit.save(
        estimator, frame, target, name="flat", unit="EUR", about=about, into=tmp_path, cv=False, report=ignored
    )
    definition = written_definition(folder, "flat_model")
    assert (definition.target.name, definition.target.unit) == ("rent", "EUR")
    assert definition.about == about
    assert definition.load().card["about"]["title"] == "Flats"
    fields = (folder / "src/flat_model/fields.py").read_text()
    assert max(map(len, fields.splitlines())) <= 120
    assert '    period="",  # when it is from: 2006 to 2010\n' in fields
    assert [(field.name, field.kind) for field in definition.fields] == [
        ("size", "number"),
        ("rooms", "integer"),
        ("lift", "boolean"),
    ]
    predictions = Predictor(definition.load())(frame.to_dict("records")).predictions
    # Features are float32: a row beside a threshold may fall on its other side.
    difference = np.abs(np.array(predictions, float) - estimator.predict(frame))
    assert np.quantile(difference, 0.95) < 1e-5
    assert (
        "RandomForestRegressor(n_estimators=20, random_state=0)" in (folder / "src/flat_model/estimator.py").read_text()
    )


def test_unfitted_estimator_is_fitted_and_cross_validated(
    frame: pd.DataFrame, target: pd.Series[float], tmp_path: Path
) -> None:
    folder = model_kit.save(Ridge(alpha=0.5), frame, target.to_numpy(), name="flat", into=tmp_path, report=ignored)
    definition = written_definition(folder, "flat_model")
    model = definition.load()
    assert definition.target.name == "target"
    assert model.card["metrics"]["r2"] > 0.99
    expected = Ridge(alpha=0.5).fit(frame, target).predict(frame)
    predictions = Predictor(model)(frame.to_dict("records")).predictions
    assert np.array(predictions, float) == pytest.approx(expected, abs=1e-4)


def test_texts_get_the_preprocessing_of_the_kit(frame: pd.DataFrame, target: pd.Series[float], tmp_path: Path) -> None:
    frame = frame.assign(town=np.where(np.arange(200) % 3, "Bonn", "Ulm"), code=pd.Categorical(np.arange(200) % 4))
    folder = model_kit.save(LinearRegression(), frame, target, name="flat", into=tmp_path, cv=False, report=ignored)
    definition = written_definition(folder, "flat_model")
    assert definition.fields[3].kind == "category"
    assert definition.fields[4].numeric_codes
    answer = Predictor(definition.load())(
        [{"size": 5.0, "rooms": 2, "lift": True, "town": "Bonn", "code": 1}, {"size": 5.0, "rooms": 2, "town": "Rom"}]
    )
    assert answer.predictions[0] == pytest.approx(3 * 5 - 4 + 1 - 10, abs=0.3)
    assert answer.predictions[1] is not None


def by_dtype(final: object) -> object:
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), make_column_selector(dtype_include=np.number)),
            ("texts", OneHotEncoder(), make_column_selector(dtype_include=object)),
        ],
        remainder="passthrough",
    )
    return make_pipeline(columns, final)


@pytest.mark.filterwarnings("ignore:For backward compatibility")
@pytest.mark.parametrize("fitted", [True, False])
def test_pipeline_that_chooses_columns_of_a_frame_is_saved_as_it_is(
    frame: pd.DataFrame, target: pd.Series[float], tmp_path: Path, fitted: bool
) -> None:
    frame = frame.assign(town=np.where(np.arange(200) % 3, "Bonn", "Ulm"))
    estimator = by_dtype(Ridge())
    expected = clone(estimator).fit(frame, target).predict(frame)
    if fitted:
        estimator.fit(frame, target)  # type: ignore[attr-defined]
    folder = model_kit.save(estimator, frame, target, name="flat", into=tmp_path, cv=False, report=ignored)
    definition = written_definition(folder, "flat_model")
    model = definition.load()
    assert (model.card["runtime"]["input"], model.card["preprocessing"]) == ("frame", "package")
    answer = Predictor(model)([*frame.to_dict("records"), {"size": 5.0, "rooms": 2, "lift": True, "town": "Rom"}])
    assert np.array(answer.predictions[:200], float) == pytest.approx(expected, abs=1e-4)
    assert answer.predictions[200] is not None
    assert "make_column_selector(dtype_include=object)" in (folder / "src/flat_model/estimator.py").read_text()


def test_runtime_that_is_asked_for_is_declared_in_the_package(
    frame: pd.DataFrame, target: pd.Series[float], tmp_path: Path
) -> None:
    estimator = make_pipeline(SplineTransformer(extrapolation="linear"), Ridge())
    folder = model_kit.save(
        estimator, frame, target, name="flat", into=tmp_path, runtime="scikit-learn", cv=False, report=ignored
    )
    assert 'runtime="scikit-learn"' in (folder / "src/flat_model/__init__.py").read_text()
    assert (folder / "src/flat_model/bundle/model.skops").exists()
    written_definition(folder, "flat_model").load().check()


def test_fitted_estimator_that_takes_other_columns_than_requests_have_is_refused(
    frame: pd.DataFrame, target: pd.Series[float], tmp_path: Path
) -> None:
    town = pd.Categorical(np.arange(200) % 3)
    frame = frame.assign(town=town)
    y = target + 10.0 * town.codes
    estimator = make_pipeline(ColumnTransformer([("towns", OneHotEncoder(), ["town"])]), Ridge()).fit(frame, y)
    with pytest.raises(DataError, match=r"predicts .* of row \d+ of X, and .* of its fields as requests have them"):
        model_kit.save(estimator, frame, y, name="flat", into=tmp_path, report=ignored)
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_comes_out_where_it_is_asked_for(frame: pd.DataFrame, target: pd.Series[float], tmp_path: Path) -> None:
    wheel = model_kit.save(Ridge(), frame, target, name="flat", wheel=tmp_path / "dist", cv=False, report=ignored)
    assert wheel.name == "flat_model-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert "flat_model/bundle/model.onnx" in names
        points = archive.read("flat_model-0.1.0.dist-info/entry_points.txt").decode()
    assert "[ml_api.models]\nflat = flat_model:DEFINITION.load" in points


def test_what_cannot_be_saved_is_refused_and_nothing_written(
    frame: pd.DataFrame, target: pd.Series[float], tmp_path: Path
) -> None:
    def save(estimator: object, X: object = frame, y: object = target, **options: object) -> None:  # noqa: N803
        model_kit.save(estimator, X, y, name="flat", into=tmp_path, report=ignored, **options)  # type: ignore[arg-type]

    fitted = Ridge().fit(frame, target)
    with pytest.raises(DataError, match="not a DataFrame"):
        save(fitted, frame.to_numpy())
    with pytest.raises(DataError, match="a fitted estimator predicts the target itself"):
        save(fitted, scale="log")
    with pytest.raises(DataError, match=r"y has the shape \(3,\), X has 200 rows"):
        save(fitted, y=[1, 2, 3])
    with pytest.raises(DataError, match="the target 'size' is a column of X too"):
        save(fitted, y=target.rename("size"))
    with pytest.raises(DataError, match="'town' are no numbers. Give it unfitted"):
        save(fitted, frame.assign(town=["Bonn", "Ulm"] * 100))
    with pytest.raises(DataError, match="column 'size' of X is infinite in row 7"):
        save(fitted, frame.assign(size=np.where(np.arange(200) == 7, np.inf, frame["size"])))
    with pytest.raises(DataError, match=r"y has no value in 2 of 200 rows; leave these rows out"):
        save(fitted, y=target.where(np.arange(200) > 1))
    with pytest.raises(DataError, match=r"^DataFrame: the target 'rent' cannot be used: it is constant"):
        save(Ridge(), y=target * 0 + 1)
    with pytest.raises(DefinitionError, match="defined in the notebook"):
        save(make_pipeline(FunctionTransformer(lambda x: x), Ridge()))
    assert list(tmp_path.iterdir()) == []


def test_source_makes_the_estimator_again() -> None:
    estimator = make_pipeline(
        StandardScaler(with_mean=False),
        FunctionTransformer(np.log1p),
        TargetEncoder(cv=KFold(3, shuffle=True, random_state=1), categories=[np.array([1, 2])]),
        Lasso(alpha=0.25, selection="random"),
    )
    text = estimator_source(estimator, plain=True)
    names: dict[str, object] = {}
    exec(text, names)
    assert repr(names["ESTIMATOR"]) == repr(estimator)


@pytest.mark.parametrize(
    "kind", [*(kind for _, kind in all_estimators()), LGBMClassifier, XGBRegressor], ids=lambda kind: kind.__name__
)
def test_source_imports_every_estimator_from_where_it_is(kind: type) -> None:
    writer = _Writer()
    assert writer._imported(kind, "") == kind.__name__
    ((module, name),) = writer.imports
    assert getattr(importlib.import_module(module), name) is kind
    assert not any(part.startswith("_") for part in module.split("."))


def test_texts_that_are_equal_as_numbers_are_two_classes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"size": [*range(40)] * 5})
    classes = np.where(frame["size"] < 20, "01", "1")
    estimator = LogisticRegression().fit(frame, classes)
    folder = model_kit.save(estimator, frame, classes, name="codes", into=tmp_path, cv=False, report=ignored)
    assert written_definition(folder, "codes_model").target.classes == ("01", "1")


def test_texts_that_are_numbers_stay_the_codes_that_an_encoder_has_learned(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    frame = pd.DataFrame({"deck": random.choice(["1", "2", "3"], 300), "zone": random.choice(["01", "1"], 300)})
    classes = np.where(random.random(300) < np.where(frame["deck"] == "1", 0.8, 0.2), "stays", "leaves")
    columns = ColumnTransformer([("codes", OneHotEncoder(handle_unknown="ignore"), ["deck", "zone"])])
    estimator = make_pipeline(columns, LogisticRegression()).fit(frame, classes)
    folder = model_kit.save(estimator, frame, classes, name="decks", into=tmp_path, cv=False, report=ignored)
    definition = written_definition(folder, "decks_model")
    assert [(field.kind, field.numeric_codes) for field in definition.fields] == [
        ("category", True),
        ("category", False),
    ]
    rows = [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
    probabilities = definition.load().predict(rows)
    np.testing.assert_allclose(probabilities, estimator.predict_proba(frame), atol=1e-6)


def save_classes(
    estimator: object,
    X: object,  # noqa: N803 - scikit-learn's name
    y: object,
    into: Path,
    report: Callable[[str], None] = ignored,
    *,
    cv: bool = False,
) -> ModelDefinition:
    folder = model_kit.save(estimator, X, y, name="sort", into=into, cv=cv, report=report)  # type: ignore[arg-type]
    return written_definition(folder, "sort_model")


@pytest.mark.parametrize("fitted", [True, False])
@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ((0.0, 1.0), (0, 1)),
        (("False", "True"), ("False", "True")),
        (("01", "02"), ("01", "02")),
        (("0", "1"), ("0", "1")),
        ((np.int8(-3), np.int8(3)), (-3, 3)),
        ((False, True), (False, True)),
    ],
)
def test_classes_are_predicted_as_y_spells_them(
    frame: pd.DataFrame, labels: tuple[object, object], classes: tuple[object, object], fitted: bool, tmp_path: Path
) -> None:
    y = np.where(frame["size"] > 5, labels[1], labels[0])  # type: ignore[call-overload]
    expected = LogisticRegression(max_iter=500).fit(frame, y)
    definition = save_classes(expected if fitted else clone(expected), frame, y, tmp_path)
    assert definition.target.classes == classes
    predictions = Predictor(definition.load())(frame.to_dict("records")).predictions
    assert {type(one) for one in predictions} == {type(classes[0])}
    assert np.mean(np.array(predictions) == np.array(expected.predict(frame))) > 0.98


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("up ", "down"), "the class 'up ' of y has blanks around it, which are no part of a text; strip them"),
        (("NA", "yes"), "a class of y is 'NA', which files and requests read as no value; call it something else"),
        ((1, "no"), r"the classes of y are of more than one type \(int, str\); make texts of all of them"),
        ((0.5, 1.0), "a class of y is 0.5; classes are texts, whole numbers or booleans"),
    ],
)
def test_classes_without_a_spelling_that_stays_are_refused(
    frame: pd.DataFrame, labels: tuple[object, object], message: str, tmp_path: Path
) -> None:
    y = pd.Series([labels[one] for one in (frame["size"] > 5).astype(int)], dtype=object)
    with pytest.raises(DataError, match=message):
        save_classes(LogisticRegression(), frame, y, tmp_path)


def test_estimator_that_was_fitted_on_other_classes_is_refused(frame: pd.DataFrame, tmp_path: Path) -> None:
    y = (frame["size"] > 5).to_numpy()
    estimator = LogisticRegression(max_iter=500).fit(frame, np.where(y, "big", "small"))
    with pytest.raises(DataError, match="the fitted estimator has the class 'big', and y only false, true; give the y"):
        save_classes(estimator, frame, y, tmp_path)


def test_order_of_categories_is_kept_and_classes_without_rows_are_told(frame: pd.DataFrame, tmp_path: Path) -> None:
    floors = pd.Categorical(frame["rooms"].map(lambda one: ["low", "mid", "high"][one % 3]), ["low", "mid", "high"])
    frame = frame.assign(floor=floors.add_categories(["top"]).as_ordered())
    grade = pd.cut(frame["size"], [-99, 4, 6, 99], labels=["small", "middle", "large"])
    grade = grade.cat.add_categories("huge").cat.reorder_categories(["small", "middle", "large", "huge"], ordered=True)
    lines: list[str] = []
    definition = save_classes(LogisticRegression(max_iter=500), frame, grade.rename("grade"), tmp_path, lines.append)
    assert definition.target.classes == ("small", "middle", "large")
    assert "No row of y has the class huge: it is never predicted" in lines
    assert "floor: the order of its 4 levels is kept" in lines
    field = definition.fields[-1]
    assert (field.ordered, [level.value for level in field.levels]) == (True, ["low", "mid", "high", "top"])
    assert definition.load().spec.learned["floor"].codes == {"high": 3, "low": 1, "mid": 2}


REVIEWS = ["a great phone", "slow and poor", "great, it was nice", "bad, very slow", "the nice one", "poor thing"]


@pytest.mark.parametrize("form", ["series", "frame", "unfitted"])
def test_pipeline_of_one_text_is_saved(form: str, tmp_path: Path) -> None:
    reviews = pd.Series([REVIEWS[one % 6] + f" {one % 7}" for one in range(90)], name="review")
    y = np.where(np.arange(90) % 2, "bad", "good")
    estimator = make_pipeline(TfidfVectorizer(), LogisticRegression())
    expected = clone(estimator).fit(reviews, y).predict_proba(reviews)
    definition = save_classes(
        estimator if form == "unfitted" else estimator.fit(reviews, y),
        reviews.to_frame() if form == "frame" else reviews,
        y,
        tmp_path,
    )
    assert [(field.name, field.kind) for field in definition.fields] == [("review", "text")]
    found = definition.load().predict([{"review": one} for one in reviews])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_estimator_of_pandas_categories_is_told_to_come_unfitted(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame = frame.assign(town=pd.Categorical(np.where(np.arange(200) % 3, "Bonn", "Ulm")))
    y = np.where(frame["size"] > 5, "big", "small")
    estimator = LGBMClassifier(n_estimators=5, verbose=-1).fit(frame, y)
    with pytest.raises(DataError, match=r"fails on the fields of X as requests have them, .*\. Give it unfitted"):
        save_classes(estimator, frame, y, tmp_path)


def test_training_reports_whether_and_how_probabilities_are_calibrated(frame: pd.DataFrame, tmp_path: Path) -> None:
    y = np.where(frame["size"] + np.random.default_rng(1).normal(0, 2, 200) > 5, "big", "small")
    lines: list[str] = []
    save_classes(DecisionTreeClassifier(random_state=0), frame, y, tmp_path / "a", lines.append, cv=True)
    (line,) = (line for line in lines if line.startswith("Probabilities are calibrated by one straight line"))
    after, before = (float(one) for one in re.findall(r"\d+\.\d{4}", line))
    assert after < 0.7
    assert before > 5


def test_rows_beside_the_threshold_of_a_tree_are_told(tmp_path: Path) -> None:
    # As float32 the values of the second are those of the first, from which a tree of float64 tells them apart.
    frame = pd.DataFrame({"size": [*np.linspace(1, 2, 200), *[3.0] * 4, *[3.0 + 1e-8] * 4]})
    target = np.r_[np.zeros(200), np.zeros(4), np.ones(4) * 9]
    estimator = HistGradientBoostingRegressor(max_iter=20, min_samples_leaf=2).fit(frame, target)
    lines: list[str] = []
    model_kit.save(estimator, frame, target, name="near", into=tmp_path, cv=False, report=lines.append)
    (told,) = (line for line in lines if "rounded to float32" in line)
    assert told.startswith("4 of 208 rows of X, such as row 204, have another prediction than by the estimator: numb")


@pytest.fixture
def customers() -> pd.DataFrame:
    """A number with gaps, a boolean and an ordered text without."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"score": random.gamma(2, 100, 300), "member": random.random(300) < 0.5})
    frame["size"] = random.choice(["S", "M", "L"], 300)
    frame.loc[::10, "score"] = np.nan
    return frame


def of_customers(*others: object) -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return ColumnTransformer([("score", numbers, ["score"]), ("member", "passthrough", ["member"]), *others])


def rows_of(frame: pd.DataFrame) -> list[Row]:
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


@pytest.mark.parametrize("fitted", [True, False])
@pytest.mark.parametrize("kind", ["number", "class"])
def test_own_imputation_stays_where_another_column_has_none(
    kind: str, fitted: bool, customers: pd.DataFrame, tmp_path: Path
) -> None:
    frame = customers.drop(columns="size")
    value = 500 + 0.1 * frame["score"].fillna(150) + 20 * frame["member"]
    y = value if kind == "number" else pd.Series(np.where(value > 525, "high", "low"))
    final = Ridge() if kind == "number" else LogisticRegression()
    expected = make_pipeline(of_customers(), final).fit(frame, y)
    model = save_classes(expected if fitted else clone(expected), frame, y.rename("y"), tmp_path).load()
    assert (model.card["imputation"], model.card["imputed"]) == ("kit", ["member"])
    given: list[Row] = [*rows_of(frame), {"score": None, "member": True}]
    wanted = expected.predict(pd.concat([frame, pd.DataFrame({"score": [np.nan], "member": [True]})]))
    if kind == "number":
        assert model.predict(given) == pytest.approx(wanted, abs=1e-4)
    else:
        assert Predictor(model)(given).predictions == wanted.tolist()
        assert set(wanted[:300:10]) == {"high", "low"}, "of rows with a gap"
    (warnings,) = Predictor(model).detailed([{"member": True}], warnings=True).warnings or []
    assert [warning["message"] for warning in warnings or []] == ["score was not given"], "the kit used no value"


@pytest.mark.parametrize("ensemble", [True, False])
def test_encoder_inside_a_fitted_calibration_scores_levels_that_it_never_saw(
    ensemble: bool, customers: pd.DataFrame, tmp_path: Path
) -> None:
    codes = ("size", OrdinalEncoder(categories=[["S", "M", "L"]]), ["size"])
    y = np.where(customers["score"].fillna(150) + 50 * (customers["size"] == "L") > 180, "high", "low")
    pipeline = make_pipeline(of_customers(codes), LogisticRegression())
    expected = CalibratedClassifierCV(pipeline, cv=3, ensemble=ensemble).fit(customers, y)
    told: list[str] = []
    folder = model_kit.save(
        expected, customers, y, name="sort", into=tmp_path, cv=False, report=told.append, runtime="scikit-learn"
    )
    model = written_definition(folder, "sort_model").load()
    assert "OrdinalEncoder scores levels that it never saw, instead of failing" in told
    difference = model.predict(rows_of(customers)) - expected.predict_proba(customers)
    assert np.abs(difference).max() < 1e-6
    unseen: Row = {"score": 150.0, "member": True, "size": "XL"}
    assert np.isfinite(model.predict([unseen])).all()
    with pytest.raises(ValueError, match="Found unknown categories"):
        expected.predict(pd.DataFrame([unseen]))
