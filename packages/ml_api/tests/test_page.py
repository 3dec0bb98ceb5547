"""The HTML pages as they are sent; test_page_browser.py tests them in a browser."""

from __future__ import annotations

import gzip
import html
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from model_kit.errors import NotReadyError
from model_kit.scoring.model import BundleModel
from model_kit.scoring.protocol import Model
from model_kit.spec import Level, Target
from model_kit.testing import GOLDEN_ROW, load_rides, write_ride_bundle

from ml_api.app import create_app
from ml_api.models.examples import example_records
from ml_api.models.registry import Loader
from ml_api.settings import Settings
from ml_api.views import formatting, plain_words, site
from ml_api.views.card import describe
from ml_api.views.form import N_FIRST, first_fields, make_form

#: Bytes of a page with all scripts and styles, compressed; that of a model with 79 fields has 15 kB more.
LARGEST_PAGE = 45_000
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def with_card(model: BundleModel, **entries: Any) -> BundleModel:
    model.card = dict(model.card) | entries
    return model


def client_of(*models: BundleModel, **settings: Any) -> FlaskClient:
    loads: dict[str, Loader] = {f"rides{number or ''}": partial(_same, model) for number, model in enumerate(models)}
    return create_app(Settings(**settings), loads).test_client()


def _same(model: BundleModel) -> Model:
    return model


def text(response: Any) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.get_data(as_text=True))))


def facts(response: Any) -> dict[str, Any]:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', response.get_data(as_text=True))
    document: dict[str, Any] = json.loads(found)
    return document


def control(page: str, name: str) -> str:
    (found,) = re.findall(rf'<(?:input|select) [^>]*name="{name}"[^>]*>', page)
    return str(found)


def test_form_is_made_from_the_spec(client: FlaskClient) -> None:
    response = client.get("/")
    page = response.get_data(as_text=True)
    assert (response.status_code, response.content_type) == (200, "text/html; charset=utf-8")
    distance = control(page, "distance")
    assert 'type="number"' in distance
    assert 'step="any"' in distance
    assert 'min="0"' in distance
    assert 'value="3.5"' in distance
    assert " required" in distance
    passengers = control(page, "passengers")
    assert 'step="1"' in passengers
    assert 'min="1"' in passengers
    assert 'max="8"' in passengers
    assert " required" not in passengers
    assert 'placeholder="not known"' in passengers
    assert ">km</span>" in page
    assert "0.4 to 32 in training" in page
    assert "data-codes" in control(page, "comfort")
    assert "data-codes" not in control(page, "zone")
    options = re.findall(r'<option value="([^"]*)"( selected| class="unseen")?>([^<]*)</option>', page)
    assert ("A", " selected", "Centre (A)") in options
    assert ("B", "", "Suburbs (B)") in options
    assert ("", "", "not asked for") in options
    assert ("2", " selected", "Standard (2)") in options
    assert ("3", ' class="unseen"', "Luxury (3), not in training") in options


def test_every_control_has_its_label_and_its_descriptions(client: FlaskClient) -> None:
    page = client.get("/").get_data(as_text=True)
    identities = re.findall(r'\sid="([^"]+)"', page)
    assert len(identities) == len(set(identities))
    for name in ("distance", "passengers", "zone", "comfort"):
        found = control(page, name)
        (identity,) = re.findall(r' id="([^"]+)"', found)
        assert f'<label for="{identity}">' in page
        (described,) = re.findall(r'aria-describedby="([^"]+)"', found)
        assert set(described.split()) < set(identities)


def test_fields_that_matter_most_come_first(bundle: Path) -> None:
    model = load_rides(bundle)
    shares = {"comfort": 0.2, "distance": 0.5, "passengers": 0.0, "zone": 0.3, "gone": 0.4}
    assert first_fields(model.spec, {"importance": shares}) == ("distance", "zone", "comfort", "passengers")
    assert first_fields(model.spec, {}) == ("distance", "passengers", "zone", "comfort")
    assert first_fields(model.spec, {"importance": None}) == ("distance", "passengers", "zone", "comfort")


def test_required_fields_are_among_the_first_and_the_rest_is_grouped(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert N_FIRST == 10
    monkeypatch.setattr("ml_api.views.form.N_FIRST", 3)
    model = with_card(load_rides(bundle), importance={"comfort": 0.6, "passengers": 0.3, "zone": 0.1})
    form = make_form(model)
    assert [each.field.name for each in form.first] == ["comfort", "zone", "distance"]
    assert [(group.name, [each.field.name for each in group.controls]) for group in form.groups] == [
        ("Ride", ["passengers"])
    ]
    assert form.n_fields == 4
    monkeypatch.setattr("ml_api.views.form.N_FIRST", 1)
    assert [each.field.name for each in make_form(model).first] == ["zone", "distance"]


def test_category_without_levels_is_typed_and_one_of_many_is_suggested(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_api.views.form.MAX_CHOICES", 1)
    page = client_of(load_rides(bundle)).get("/").get_data(as_text=True)
    found = control(page, "zone")
    assert found.startswith("<input")
    (suggestions,) = re.findall(r'list="([^"]+)"', found)
    assert f'<datalist id="{suggestions}"><option value="A">Centre (A)</option>' in page


def test_choices_say_what_a_level_means_and_whether_training_had_it(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_rides(bundle)
    documented = (Level("A", "Centre"), Level("B", "b"), Level("Z", "Beyond"))
    fields = tuple(replace(field, levels=documented) if field.name == "zone" else field for field in model.spec.fields)
    model.spec = replace(model.spec, fields=fields)
    seen = set(model.spec.learned["zone"].codes or {})
    assert {"A", "B"} <= seen
    (zone,) = [each for each in make_form(model).first if each.field.name == "zone"]
    rest = [(value, value) for value in sorted(seen - {"A", "B"})]
    told = [("A", "Centre (A)"), ("B", "b"), ("Z", "Beyond (Z), not in training"), *rest]
    assert [(choice.value, choice.text) for choice in zone.choices] == told
    for most, chosen in ((len(told), True), (len(told) - 1, False)):
        monkeypatch.setattr("ml_api.views.form.MAX_CHOICES", most)
        (zone,) = [each for each in make_form(model).first if each.field.name == "zone"]
        assert zone.select is chosen


def test_leaving_a_field_empty_says_what_that_means(bundle: Path) -> None:
    model = load_rides(bundle)
    blanks = {each.field.name: each.blank for each in make_form(model).first}
    means = {field.name: field.null_means for field in model.spec.fields if not field.required}
    assert blanks == dict.fromkeys(model.spec.required, "") | {
        name: word or "not known" for name, word in means.items()
    }


def test_starts_are_predicted_lower_and_higher_than_the_typical_record(client: FlaskClient) -> None:
    found = facts(client.get("/"))["examples"]
    assert list(found) == ["High end", "Low end"]
    low, typical, high = (
        client.post("/v1/predict/rides", json=GOLDEN_ROW | changes).get_json()["predictions"][0]
        for changes in (found["Low end"], dict[str, Any](), found["High end"])
    )
    assert low < typical < high
    assert found["Low end"]["zone"] == "B"


def test_starts_contradict_nothing(app: Any, bundle: Path) -> None:
    from model_kit.records.row_warnings import Contradiction
    from model_kit.scoring.predictor import Predictor

    def far(row: Mapping[str, Any]) -> str | None:
        return "too far for so many" if row["distance"] > 3.5 and row["passengers"] else None

    model = load_rides(bundle)
    model.contradictions = (Contradiction("far", ("distance", "passengers"), far),)
    strongest = ("distance", "zone")
    assert "High end" not in example_records(Predictor(model), strongest)
    assert "distance" in example_records(Predictor(load_rides(bundle)), strongest)["High end"]


@pytest.mark.parametrize(("group", "kept"), [(("distance", "passengers"), True), (("distance", "zone"), False)])
def test_starts_contradict_only_what_a_sum_mends(bundle: Path, group: tuple[str, ...], *, kept: bool) -> None:
    from model_kit.records.row_warnings import Contradiction
    from model_kit.scoring.predictor import Predictor

    model = load_rides(bundle)
    model.spec = replace(model.spec, together=(group,))
    model.contradictions = (
        Contradiction("far", group, lambda row: "far" if float(row["distance"] or 0) > 3.5 else None),
    )
    assert ("distance" in example_records(Predictor(model), ("distance",)).get("High end", {})) is kept


def test_model_that_cannot_predict_its_golden_row_has_no_example_records(bundle: Path) -> None:
    from model_kit.scoring.predictor import Predictor

    model = load_rides(bundle)
    model.golden = {"row": {}, "prediction": 0.0}
    assert example_records(Predictor(model), ("distance",)) == {}


def test_page_is_light_and_comes_from_here_alone(client: FlaskClient) -> None:
    for path in ("/", "/try/rides", "/card/rides"):
        page = client.get(path)
        total = len(gzip.compress(page.data))
        body = page.get_data(as_text=True).replace(f"<script>{site.ADD_SLASH}</script>", "" if path == "/" else "!")
        assert not re.search(
            r"https?://|<script(?![^>]*(\ssrc=|\stype=.application/json))|<style|\sstyle=|\son[a-z]+=", body
        )
        for name in site.CONTENT_TYPES:
            total += len(client.get(f"/assets/{site.digest()}/{name}", headers={"Accept-Encoding": "gzip"}).data)
        assert 20_000 < total < LARGEST_PAGE


@pytest.mark.parametrize("path", ["/", "/try/rides", "/card/rides"])
def test_browser_lets_nothing_else_into_the_page(client: FlaskClient, path: str) -> None:
    found = client.get(path).headers
    digest = b64encode(sha256(site.ADD_SLASH.encode()).digest()).decode()
    script = f" 'sha256-{digest}'" if path == "/" else ""
    assert found["Content-Security-Policy"] == (
        f"default-src 'none'; script-src 'self'{script}; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    assert found["X-Content-Type-Options"] == "nosniff"
    assert found["Referrer-Policy"] == "no-referrer"
    assert found["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/", "/try/rides", "/card/rides"])
def test_links_of_the_page_lead_somewhere(client: FlaskClient, path: str) -> None:
    page = client.get(path).get_data(as_text=True)
    found = re.findall(r'(?:href|src)="(\.[^"#]*)"', page)
    assert len(found) >= 8
    for address in found:
        up, rest = re.fullmatch(r"((?:\./|\.\./)+)(.*)", address).groups()  # type: ignore[union-attr]
        assert up == ("./" if path == "/" else "../")
        assert client.get(f"/{rest}").status_code == 200, address


def test_page_is_rendered_once(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.get("/try/rides")
    monkeypatch.setattr(site, "render_template", None)
    again = client.get("/try/rides")
    assert again.data == first.data
    assert client.get("/try/rides", headers={"If-None-Match": first.headers["ETag"]}).status_code == 304


def test_page_is_compressed_once_for_whoever_takes_that(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = client.get("/")
    packed = client.get("/", headers={"Accept-Encoding": "br, gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) < len(plain.data) / 2
    assert packed.headers["ETag"] != plain.headers["ETag"]
    monkeypatch.setattr(gzip, "compress", None)
    assert client.get("/", headers={"Accept-Encoding": "gzip"}).data == packed.data
    unchanged = client.get("/", headers={"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]})
    assert (unchanged.status_code, unchanged.data) == (304, b"")
    assert "Content-Encoding" not in client.get("/", headers={"Accept-Encoding": "gzip;q=0"}).headers


def test_assets_may_be_kept_for_ever_under_their_digest_only(client: FlaskClient) -> None:
    for name, content_type in site.CONTENT_TYPES.items():
        current = client.get(f"/assets/{site.digest()}/{name}")
        assert (current.status_code, current.content_type) == (200, content_type)
        assert current.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        older = client.get(f"/assets/older/{name}")
        assert older.data == current.data
        assert older.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", ["x.js", "..%2fdocs.js", "%2e%2e/docs.js", "page.js%00", ""])
def test_nothing_but_the_assets_can_be_asked_for(client: FlaskClient, name: str) -> None:
    response = client.get(f"/assets/{site.digest()}/{name}")
    assert (response.status_code, response.content_type) == (404, "application/problem+json")


@pytest.mark.parametrize("path", ["/try/trains", "/card/trains", "/try/"])
def test_model_that_is_not_installed_is_not_found(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.content_type) == (404, "application/problem+json")


def test_home_lists_several_models_the_default_one_first(bundle: Path) -> None:
    client = client_of(load_rides(bundle), load_rides(bundle), default_model="rides1")
    page = client.get("/").get_data(as_text=True)
    assert re.findall(r'<h2><a href="([^"]+)">([^<]+)</a></h2>', page) == [
        ("./try/rides1", "Predicted fare"),
        ("./try/rides", "Predicted fare"),
    ]
    assert "From 4 fields, 2 of them required." in text(client.get("/"))
    assert '<a href="../card/rides1">' in client.get("/card/rides").get_data(as_text=True)
    assert facts(client_of(load_rides(bundle)).get("/"))["name"] == "rides"


def test_one_model_needs_no_switch(client: FlaskClient) -> None:
    assert 'aria-label="Models"' not in client.get("/").get_data(as_text=True)


def sink() -> Any:
    raise NotReadyError("the <boats> have sunk")


def test_page_of_a_broken_model_says_so(bundle: Path) -> None:
    models = {"boats": sink, "rides": lambda: load_rides(bundle)}
    client = create_app(Settings(default_model="boats"), models).test_client()
    assert "Boats It cannot answer: the <boats> have sunk" in text(client.get("/"))
    for path in ("/try/boats", "/card/boats"):
        response = client.get(path)
        assert (response.status_code, response.content_type) == (503, "text/html; charset=utf-8")
        assert "Boats cannot answer" in text(response)
        assert "the <boats> have sunk" in text(response)
        assert "<boats>" not in response.get_data(as_text=True)
        assert client.get(path, headers={"Accept-Encoding": "gzip"}).status_code == 503
    assert client.get("/try/rides").status_code == 200


def test_page_without_a_model_says_so() -> None:
    response = create_app(Settings(), {}).test_client().get("/")
    assert response.status_code == 503
    assert "No model is installed" in text(response)


def test_pages_are_loud_about_a_model_that_proves_nothing(bundle: Path) -> None:
    loud = client_of(with_card(load_rides(bundle), evaluated=False, metrics=None))
    for path in ("/", "/card/rides"):
        assert "Trained on synthetic data." in text(loud.get(path))
        assert "Not evaluated." in text(loud.get(path))
    quiet = client_of(with_card(load_rides(bundle), data={"name": "rides", "rows": 9, "synthetic": False}))
    for path in ("/", "/card/rides"):
        assert "synthetic data" not in text(quiet.get(path))
        assert "Not evaluated" not in text(quiet.get(path))


def test_card_tells_what_is_known_of_the_model(tmp_path: Path) -> None:
    write_ride_bundle(
        tmp_path / "rides",
        metrics={"mae": 1.5, "r2": 0.9, "error_of_my_own": 12345.6, "unknown": None},
        importance={"distance": 0.75, "zone": 0.25, "comfort": 0.0},
        target_distribution={"edges": [5.0, 10.0, 20.0], "shares": [0.6, 0.3]},
        coverage={
            "edges": [12.0, 17.5],
            "levels": [{"level": 0.9, "overall": 0.904, "thirds": [0.88, None, 0.93], "relative_width": 0.31}],
        },
        errors={
            "zone": [
                {"level": "B", "n": 40, "rmse": 0.2, "mae": 12345.6, "relative": 0.0834, "bias": 0.05},
                {"level": None, "n": 12, "rmse": 0.1, "mae": 1.25, "relative": None, "bias": -0.05},
            ],
            "comfort": [{"level": "2", "n": 52, "rmse": 0.2, "mae": 1.0, "relative": 0.1, "bias": 0.0}],
            "gone": [],
        },
        agreement={"train": 2.5e-7, "generated": float(3)},
    )
    client = client_of(load_rides(tmp_path / "rides"))
    found = text(client.get("/card/rides"))
    assert "Predicts fare (EUR) of a record from 4 fields, 2 of them required." in found
    assert "Mean absolute error 1.5 EUR" in found
    assert "R² 0.9 share of the variance of log fare" in found
    assert "Error of my own 12,346" in found
    assert "Unknown" not in found
    assert "Length of the ride distance 75.0 %" in found
    assert "comfort 0.0 %" not in found
    assert "Promised Held below 12 EUR 12 to 17.5 above 17.5 Mean width" in found
    assert "90 % 90.4 % 88.0 % – 93.0 % 31.0 %" in found
    assert "Off by at most, training rows 2.5e-07" in found
    assert "Name rides by hand" in found
    assert "Synthetic yes" in found
    assert "numpy 2" in found
    assert "Level Rows Mean absolute error, EUR Median error Too high or low" in found
    assert "Suburbs 40 12,346 8.3 % +5.1 % All others 12 1.25 – −4.9 %" in found
    assert found.index("Tariff zone zone Level") < found.index("Standard 52 1 10.0 % +0.0 %")
    assert "5 7.94 12.6 20 Fare in the training data, EUR, on a logarithmic axis" in found
    assert "distance required Length of the ride number, km, from 0 0.4 to 32 –" in found
    assert "passengers People on board integer, 1 to 8 1 to 4 10.0 %" in found
    page = client.get("/card/rides").get_data(as_text=True)
    assert '<rect width="100.0" height="8" rx="1"/>' in page
    assert '<rect width="33.3" height="8" rx="1"/>' in page
    assert '<rect x="0.75" width="198.50" y="12.0" height="80.0"/>' in page
    assert facts(client.get("/"))["edges"] == [5.0, 10.0, 20.0]


def test_card_tells_errors_and_targets_on_the_scale_of_the_model(bundle: Path) -> None:
    group = {"level": "A", "n": 10, "rmse": 2.0, "mae": 1.5, "relative": 0.1, "bias": -0.5}
    distribution = {"edges": [0.0, 15.0, 30.0], "shares": [0.5, 0.5]}
    model = with_card(load_rides(bundle), errors={"zone": [group]}, target_distribution=distribution)
    model.spec = replace(model.spec, target=Target("fare", "EUR", "identity"))
    model.lineage = {**model.lineage, "trained_at": "2026-02-03T23:30:00-02:00"}
    about = describe("rides", model)
    assert about["error_columns"] == ("Rows", "Mean absolute error, EUR", "RMSE", "Too high or low")
    assert about["errors"][0]["rows"] == [("Centre", "10", "1.5", "2", "−0.5")]
    assert about["distribution"]["ticks"] == ("0", "10", "20", "30")
    assert about["facts"]["Lineage"]["Trained"] == "2026-02-04 01:30 UTC"
    model.lineage = {**model.lineage, "trained_at": "last week"}
    assert describe("rides", model)["facts"]["Lineage"]["Trained"] == "last week"


def test_pages_of_a_target_without_a_unit(bundle: Path) -> None:
    model = with_card(
        load_rides(bundle),
        metrics={"mae": 0.25},
        target_distribution={"edges": [-1.0, -1.0], "shares": [1.0]},
        coverage={
            "edges": [-0.5, 0.5],
            "levels": [{"level": 0.9, "overall": 0.9, "thirds": [0.9, 0.9, 0.9], "relative_width": None}],
        },
    )
    model.spec = replace(model.spec, target=Target("phase_shift"))
    model.golden["prediction"] = float(model.predict([GOLDEN_ROW])[0])
    client = client_of(model)
    found = text(client.get("/card/rides"))
    assert "Predicts phase_shift of a record from 4 fields" in found
    assert "Mean absolute error 0.25 how far off a prediction is on average" in found
    assert "Promised Held below -0.5 -0.5 to 0.5 above 0.5 90 % 90.0 % 90.0 % 90.0 % 90.0 %" in found
    assert "-1 Phase shift in the training data" in found
    assert "in the training data," not in found
    assert "Predicted phase shift" in text(client.get("/"))
    document = client.get("/openapi.json").get_json()
    described = document["paths"]["/v1/predict/rides"]["post"]["description"]
    assert described.startswith("Returns one prediction of `phase_shift`, or one error, for each record.")


PERFORMANCE = {
    "guess": 12.0,
    "overall": {"rows": 60, "mae": 1.0, "relative": 0.062, "guess_mae": 4.0, "guess_relative": 0.3},
    "edges": [9.5, 20.0],
    "thirds": [
        {"rows": 20, "mae": 0.5, "relative": 0.05, "guess_mae": 5.0, "guess_relative": 0.4},
        {"rows": 20, "mae": 1.0, "relative": 0.06, "guess_mae": 0.8, "guess_relative": 0.1},
        {"rows": 20, "mae": 1.5, "relative": 0.09, "guess_mae": 6.2, "guess_relative": 0.4},
    ],
    "within": [{"relative": 0.1, "share": 0.7}],
    "true": {
        "edges": [5.0, 10.0, 20.0],
        "columns": [{"edges": [5.0, 10.0], "counts": [40]}, {"edges": [], "counts": []}],
    },
    "error": {"edges": [5.0, 20.0], "columns": [{"edges": [-0.2, 0.0, 0.1], "counts": [20, 40]}]},
}
ABOUT = {
    "title": "Taxi fares in Utrecht",
    "purpose": "Tells what a ride may cost.",
    "place": "Utrecht",
    "period": "2024",
    "source": "The meter, https://example.com/rides?a=1&b=2",
    "contact": "rides@example.com",
    "limits": ["No <b>night</b> rides."],
}


def test_card_says_in_words_what_the_model_is_and_how_good(bundle: Path) -> None:
    client = client_of(with_card(load_rides(bundle), about=ABOUT, performance=PERFORMANCE))
    page = client.get("/card/rides")
    found = text(page)
    assert "<title>Taxi fares in Utrecht: model card</title>" in page.get_data(as_text=True)
    assert "Taxi fares in Utrecht 1.2.3 Tells what a ride may cost." in found
    assert "of a record from 4 fields, 2 of them required. EUR of 2024, Utrecht." in found
    assert "In short Much better than a guess: half of the predictions are within 6.2 % of what was true" in found
    assert "Limits No <b>night</b> rides." in found
    assert "Place Utrecht Period 2024 Source The meter, https://example.com/rides?a=1&b=2 Contact" in found
    for link in ('href="https://example.com/rides?a=1&amp;b=2"', 'href="mailto:rides@example.com"'):
        assert link in page.get_data(as_text=True)
    assert "The guess is 12 EUR for every record: the median of the training data." in found
    assert "Predictions Rows Half are within Mean error, EUR If guessed Better by All 60 6.2 % 1 4 75 %" in found
    assert "Lowest third, below 9.5 EUR 20 5.0 % 0.5 5 90 %" in found
    assert "Middle third, to 20 EUR 20 6.0 % 1 0.8 −25 %" in found
    assert "EUR of 2024, Utrecht" in text(client.get("/"))


def test_charts_show_where_predictions_lie(bundle: Path) -> None:
    page = client_of(with_card(load_rides(bundle), performance=PERFORMANCE)).get("/card/rides").get_data(as_text=True)
    # The lower half of a logarithmic axis from 5 to 20, of which there are all rows.
    assert '<rect x="0.0" y="50.0" width="50.0" height="50.0" fill-opacity="1.0"/>' in page
    # Errors from -20 to 20 %: 20 rows on half of the height, 40 on a quarter, which is four times as dense.
    assert '<rect x="0.0" y="50.0" width="100.0" height="50.0" fill-opacity="0.56"/>' in page
    assert '<rect x="0.0" y="25.0" width="100.0" height="25.0" fill-opacity="1.0"/>' in page
    found = text(client_of(with_card(load_rides(bundle), performance=PERFORMANCE)).get("/card/rides"))
    assert (
        "Predicted and true 20 12.6 7.94 5 5 7.94 12.6 20 To the right the prediction, EUR, on a logarithmic axis"
        in found
    )
    assert "How far off +20 % +10 % 0 % −10 % −20 % 5 7.94 12.6 20" in found
    assert "upwards the error in per cent." in found


def test_levels_are_sorted_by_a_column_that_is_shown(bundle: Path) -> None:
    groups = [
        {"level": "A", "n": 10, "rmse": 9.0, "mae": 1.0, "relative": 0.1, "bias": 0.0},
        {"level": "B", "n": 10, "rmse": 1.0, "mae": 1.0, "relative": 0.3, "bias": 0.0},
        {"level": None, "n": 10, "rmse": 5.0, "mae": 1.0, "relative": None, "bias": 0.0},
    ]
    model = with_card(load_rides(bundle), errors={"zone": groups})
    about = describe("rides", model)
    assert [row[0] for row in about["errors"][0]["rows"]] == ["Suburbs", "Centre", "All others"]
    page = client_of(model).get("/card/rides").get_data(as_text=True)
    assert '<th scope="col" aria-sort="descending">Median error</th>' in page
    model.spec = replace(model.spec, target=Target("fare", "EUR", "identity"))
    assert [row[0] for row in describe("rides", model)["errors"][0]["rows"]] == ["Centre", "All others", "Suburbs"]


def test_range_is_promised_where_there_is_one(bundle: Path) -> None:
    assert "with its range and its reasons" in text(client_of(load_rides(bundle)).get("/"))
    assert "with its reasons" in text(client_of(with_card(load_rides(bundle), intervals=None)).get("/"))


def test_card_of_an_old_bundle_leaves_out_what_it_lacks(bundle: Path) -> None:
    client = client_of(with_card(load_rides(bundle), intervals=None))
    found = text(client.get("/card/rides"))
    for heading in ("What matters", "What it learned from", "Do the ranges hold", "Where it is weaker"):
        assert heading not in found
    assert facts(client.get("/")) | {"examples": {}} == {
        "batch": 500,
        "keys": False,
        "classes": None,
        "edges": None,
        "intervals": False,
        "name": "rides",
        "noun": "record",
        "predict": "./v1/predict/rides",
        "sample": "./v1/models/rides/sample",
        "scale": "log",
        "examples": {},
        "subject": "a record",
        "title": "Fare",
        "together": [],
        "typical": None,
        "unit": "EUR",
        "version": "1.2.3",
        "words": [list(pair) for pair in plain_words.WORDS],
    }


def test_batches_are_no_larger_than_a_request_may_be(bundle: Path) -> None:
    assert facts(client_of(load_rides(bundle), max_rows=20).get("/"))["batch"] == 20


def test_texts_of_a_model_are_texts_on_the_page(bundle: Path) -> None:
    model = with_card(load_rides(bundle), libraries={"<b>": "</script><script>alert(1)</script>"})
    page = client_of(model).get("/card/rides").get_data(as_text=True)
    assert "<b>" not in page
    assert "<script>" not in page


@pytest.mark.parametrize(
    ("name", "expected"),
    [("SalePrice", "Sale price"), ("sale_price", "Sale price"), ("fare", "Fare"), ("RMSE", "RMSE"), ("x", "X")],
)
def test_names_in_words(name: str, expected: str) -> None:
    assert formatting.title(name) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1872, "1872"),
        (215245, "215,245"),
        (0.4, "0.4"),
        (0.91372, "0.9137"),
        (1459.0, "1459"),
        (1234.56, "1235"),
        (1e22, "1e+22"),
    ],
)
def test_numbers_in_words(value: float, expected: str) -> None:
    assert formatting.number(value) == expected


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("Finish, from 1 (poor) to 10", ("Finish", ", from 1 (poor) to 10")),
        ("Second wall; the first again", ("Second wall", "; the first again")),
        ("Quality (1 to 5)", ("Quality", " (1 to 5)")),
        ("Size of the lot", ("Size of the lot", "")),
    ],
)
def test_description_is_cut_where_it_explains_further(description: str, expected: tuple[str, str]) -> None:
    assert formatting.lead(description) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 10.0, 20.0, 30.0], ("0", "10", "20", "30")),
        ([-2.0, -2 / 3, 2 / 3, 2.0], ("-2", "-0.667", "0.667", "2")),
        ([0.001, 0.002, 0.003], ("0.001", "0.002", "0.003")),
        ([1013.0, 1013.3, 1013.6], ("1013", "1013.3", "1013.6")),
        ([1e9, 2e9], ("1,000,000,000", "2,000,000,000")),
        ([5.0], ("5",)),
    ],
)
def test_labels_of_an_axis_are_distinct(values: list[float], expected: tuple[str, ...]) -> None:
    assert formatting.ticks(values) == expected


def test_nouns_have_their_article() -> None:
    assert (formatting.article("house"), formatting.article("apartment")) == ("a house", "an apartment")


def test_values_as_controls_take_them() -> None:
    assert [formatting.plain(value) for value in (None, 1459.0, 0.5, 3, "A")] == ["", "1459", "0.5", "3", "A"]
