"""Texts: n-grams as scikit-learn makes them, and models of texts from end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_kit.errors import BundleError, DefinitionError, ExportError, SpecError
from model_kit.records.columns import ColumnEncoder
from model_kit.records.encoding import Encoder
from model_kit.records.row_warnings import RowWarnings
from model_kit.records.vectorizer import TextProjection, Vectorizer, dump_texts, load_texts
from model_kit.scoring.bundle import VOCABULARY
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.model import BundleModel
from model_kit.scoring.predictor import Predictor
from model_kit.spec import Field, Target
from model_kit.training.dataset import Dataset
from model_kit.training.estimators.text import TextVectorizer
from model_kit.training.train import train
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder, StandardScaler

TEXTS = [
    "The waiter was great, and so was dinner!",
    "Awful: the soup was cold.  Never   again",
    "C'est très bien, très très bien",
    "Это было отлично",
    "a",
    "it's 100% fine; e-mail me_now",
    "日本語のテキスト です",
    "straße STRASSE ﬁne",
]
FORMS: list[dict[str, Any]] = [
    {},
    {"ngram_range": (1, 3)},
    {"ngram_range": (2, 2), "lowercase": False},
    {"stop_words": "english", "ngram_range": (1, 2)},
    {"strip_accents": "unicode"},
    {"strip_accents": "ascii"},
    {"token_pattern": r"\w+"},
    {"analyzer": "char", "ngram_range": (1, 3)},
    {"analyzer": "char_wb", "ngram_range": (1, 4)},
    {"analyzer": "char_wb", "ngram_range": (3, 5), "lowercase": False},
    {"sublinear_tf": True, "norm": "l1"},
    {"binary": True, "use_idf": False, "norm": None},
    {"smooth_idf": False},
]


def projection(vectorizer: TfidfVectorizer) -> tuple[TextProjection, np.ndarray[Any, Any]]:
    """A function with random weights of what a fitted vectorizer makes, and these weights."""
    from model_kit.training.folding.rules import fold_transformer
    from model_kit.training.folding.terms import Words

    words = Words(0)
    fold_transformer(vectorizer, [words])
    weights = np.random.default_rng(1).normal(size=(len(vectorizer.vocabulary_), 2))
    (block,) = words.blocks
    return TextProjection([replace(block, weights=weights)]), weights


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_numbers_are_those_of_scikit_learn(form: dict[str, Any]) -> None:
    vectorizer = TfidfVectorizer(**form).fit(TEXTS)
    function, weights = projection(vectorizer)
    for text in [*TEXTS, "nothing of this", "", "The the THE soup", "x" * 200]:
        expected = (vectorizer.transform([text]) @ weights)[0]
        np.testing.assert_allclose(function(text)[1], expected, rtol=1e-12, atol=1e-12)
        assert (function(text)[0] == 0) == (vectorizer.transform([text]).nnz == 0)
        for column in (0, 1):
            assert sum(function.words(text, column).values()) == pytest.approx(expected[column], abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.sampled_from(FORMS))
def test_any_text_has_the_n_grams_of_scikit_learn(text: str, form: dict[str, Any]) -> None:
    form = {name: value for name, value in form.items() if name in TfidfVectorizer().get_params()}
    expected = TfidfVectorizer(**form).build_analyzer()(text)
    assert TextVectorizer(**form).build_analyzer()(text) == expected


def test_file_gives_the_same_function() -> None:
    function, _ = projection(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3)).fit(TEXTS))
    again = load_texts(dump_texts({"said": function}))["said"]
    for text in TEXTS:
        assert again(text)[1] == pytest.approx(function(text)[1], rel=1e-8)
    for broken in (b"", b"[]", b'{"format": 2, "fields": {}}', b'{"format": 1, "fields": {"a": [{}]}}'):
        with pytest.raises(SpecError):
            load_texts(broken)


def test_words_of_pieces_are_whole_words() -> None:
    function, _ = projection(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3)).fit(TEXTS))
    assert set(function.words("The soup, unknown", 0)) <= {"the", "soup,", "unknown"}
    assert Vectorizer("char_wb", (2, 3)).with_words("ab")[0] == (" a", "ab")


TEXT = Field("said", "text", "What was said", required=True, max_length=200)
TONE = Target("tone", kind="class", classes=("bad", "good"))
GOOD, BAD = ["great", "lovely", "fine", "super"], ["awful", "poor", "bad", "dull"]


def make_rows(n: int = 400, seed: int = 5) -> tuple[list[dict[str, Any]], np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    target = random.integers(2, size=n)
    rows = []
    for tone in target:
        told = random.choice(GOOD if random.random() < (0.9 if tone else 0.1) else BAD, 2)
        said = f"the {random.choice(['soup', 'film', 'room'])} was {told[0]} and {told[1]}"
        rows.append({"said": said, "stars": float(random.integers(1, 6)), "shop": str(random.choice(["a", "b"]))})
    return rows, target


def fitted(estimator: Any, folder: Path, fields: tuple[Field, ...] = (TEXT,), target: Target = TONE) -> BundleModel:
    rows, truth = make_rows()
    names = {field.name for field in fields}
    kept = tuple({name: value for name, value in row.items() if name in names} for row in rows)
    values = truth if target.is_class else truth + 0.5
    dataset = Dataset("by dice", "0" * 64, True, tuple(map(str, range(len(rows)))), kept, values)
    definition = ModelDefinition("tone", target, fields, estimator, package="model_kit.testing")
    train(definition, dataset, folder / "bundle", cv=False)
    return definition.load_bundle(folder / "bundle")


@pytest.fixture(scope="module")
def tone(tmp_path_factory: pytest.TempPathFactory) -> BundleModel:
    return fitted(make_pipeline(TfidfVectorizer(), LogisticRegression()), tmp_path_factory.mktemp("tone"))


PIPELINES = [
    make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression()),
    make_pipeline(CountVectorizer(), TfidfTransformer(), SGDClassifier(loss="log_loss", random_state=0)),
    make_pipeline(CountVectorizer(), MultinomialNB()),
    make_pipeline(TextVectorizer(), SelectKBest(chi2, k=5), LogisticRegression()),
    make_pipeline(TfidfVectorizer(), TruncatedSVD(3, random_state=0), StandardScaler(), LogisticRegression()),
    make_pipeline(make_union(TfidfVectorizer(), TfidfVectorizer(analyzer="char_wb")), LogisticRegression()),
    make_pipeline(CountVectorizer(), MaxAbsScaler(), LogisticRegression()),
]


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda pipeline: "-".join(pipeline.named_steps))
def test_pipelines_of_texts_are_folded(pipeline: Any, tmp_path: Path) -> None:
    model = fitted(pipeline, tmp_path)
    assert model.card["graph"]["folded"]
    assert model.card["agreement"]["train"] <= 5e-6
    rows, truth = make_rows(200, seed=8)
    answer = Predictor(model)([{"said": row["said"]} for row in rows])
    assert np.mean([TONE.classes[one] == found for one, found in zip(truth, answer.predictions, strict=True)]) > 0.8


def test_text_among_other_fields(tmp_path: Path) -> None:
    columns = ColumnTransformer(
        [
            ("words", TfidfVectorizer(), "said"),
            ("numbers", StandardScaler(), ["stars"]),
            ("levels", OneHotEncoder(), ["shop"]),
        ]
    )
    fields = (Field("stars", "number", "stars"), TEXT, Field("shop", "category", "shop"))
    model = fitted(make_pipeline(columns, Ridge()), tmp_path, fields, Target("tone"))
    assert model.card["graph"]["folded"]
    rows, _ = make_rows(5, seed=8)
    good, bad = (rows[0] | {"said": said} for said in ("great lovely", "awful dull"))
    high, low = Predictor(model)([good, bad]).scores
    assert high > low + 0.3


def test_both_lanes_and_doors_agree(tone: BundleModel) -> None:
    predict = Predictor(tone)
    said = ["the film was great", "  the film was great ", "THE FILM was great"]
    quick, padded, upper = predict([{"said": text} for text in said]).scores[:, 1].tolist()
    assert quick == padded == upper
    assert predict([{"said": "NA"}, {"said": ""}, {"said": 3}, {"said": "x" * 201}]).errors == {
        0: {"said": ["Field may not be null."]},
        1: {"said": ["Field may not be null."]},
        2: {"said": ["Not a valid string."]},
        3: {"said": ["Longer than maximum length 200."]},
    }


def test_columns_of_files_are_encoded_as_records_are(tone: BundleModel) -> None:
    said = ["the film was great", " poor, dull ", "zzz"]
    encoded, certain = ColumnEncoder(tone.spec, ("said",))({"said": pa.array([*said, "", "NA", None])}, 6)
    assert certain.tolist() == [True] * 3 + [False] * 3
    np.testing.assert_array_equal(encoded[:3], Encoder(tone.spec)([{"said": text.strip()} for text in said]))


def test_unknown_words_are_warned_of(tone: BundleModel) -> None:
    warn = RowWarnings(tone.spec)
    assert [one["code"] for one in warn({"said": "zzz qqq"})] == ["unseen_level"]
    assert "more than any text" in warn({"said": "great " * 30})[0]["message"]
    assert warn({"said": "the film was great and lovely"}) == []
    assert Predictor(tone)([{"said": "zzz"}]).unusual == {"said": 1}


def test_words_explain_a_text(tone: BundleModel) -> None:
    answer = Predictor(tone).detailed([{"said": "the film was great and poor"}], explain=1, of_class="good")
    assert answer.explanations is not None
    (explanation,) = answer.explanations
    assert explanation is not None
    (contribution,) = explanation.contributions
    words = {word.text: word.effect for word in contribution.words}  # type: ignore[attr-defined]
    assert words["great"] > 0 > words["poor"]
    assert sum(words.values()) == pytest.approx(contribution.effect, abs=0.02)
    other = Predictor(tone).detailed([{"said": "the film was great and poor"}], explain=1, of_class="bad")
    assert other.explanations is not None
    opposite = {word.text: word.effect for word in other.explanations[0].contributions[0].words}  # type: ignore[union-attr]
    assert opposite["great"] == pytest.approx(-words["great"])


def test_no_text_of_training_is_in_the_bundle(tone: BundleModel) -> None:
    rows, _ = make_rows()
    assert tone.golden["row"]["said"] not in {row["said"] for row in rows}


@pytest.mark.parametrize(
    ("pipeline", "error", "said"),
    [
        (make_pipeline(TfidfVectorizer(), RandomForestClassifier(3)), ExportError, "all must be linear"),
        (make_pipeline(HashingVectorizer(n_features=64), LogisticRegression()), ExportError, "HashingVectorizer"),
        (
            make_pipeline(TfidfVectorizer(tokenizer=str.split, token_pattern=None), LogisticRegression()),
            ExportError,
            "TfidfVectorizer(tokenizer=...), a function of its own",
        ),
        (LogisticRegression(), DefinitionError, "does not say what becomes of the text said"),
    ],
)
def test_what_is_refused_says_why(pipeline: Any, error: type[Exception], said: str, tmp_path: Path) -> None:
    with pytest.raises(error) as raised:
        fitted(pipeline, tmp_path)
    assert said in str(raised.value)
    # That runtime would refuse a text as well.
    assert "runtime=" not in str(raised.value)


def test_damaged_vocabulary_is_refused(tone: BundleModel, tmp_path: Path) -> None:
    fitted(make_pipeline(TfidfVectorizer(), LogisticRegression()), tmp_path)
    (tmp_path / "bundle" / VOCABULARY).write_bytes(b"{}")
    with pytest.raises(BundleError, match=VOCABULARY):
        BundleModel.load(tmp_path / "bundle", None, "1")


def test_only_a_text_has_a_length() -> None:
    with pytest.raises(SpecError, match="only a text has a max_length"):
        Field("a", "number", "a", max_length=3)
