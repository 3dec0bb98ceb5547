"""The pages of classes and texts in Chromium: the class, its bars and set, the marked words, the card's curves."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from model_kit.scoring.definition import ModelDefinition
from model_kit.spec import Field, Target
from model_kit.training.dataset import Dataset
from model_kit.training.train import train
from playwright.sync_api import Browser, Page, expect
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from werkzeug.serving import make_server

from ml_api.app import create_app
from ml_api.settings import Settings
from staff import THREE, TWO, definition, make_dataset

SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"
TONE = ModelDefinition(
    "tone",
    Target("tone", kind="class", classes=("bad", "good"), subject="review"),
    (Field("said", "text", "What was said", required=True),),
    make_pipeline(TfidfVectorizer(), LogisticRegression()),
    package="model_kit.testing",
)


def said() -> Dataset:
    random = np.random.default_rng(3)
    target = np.arange(300) % 2
    words = (["awful", "poor", "dull"], ["great", "lovely", "fine"])
    rows = [{"said": f"the film was {random.choice(words[one])} and {random.choice(words[one])}"} for one in target]
    return Dataset("by dice", "0" * 64, True, tuple(map(str, range(300))), tuple(rows), target)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("pages")
    trained: dict[str, tuple[ModelDefinition, Dataset]] = {
        "two": (definition(TWO), make_dataset()),
        "three": (definition(THREE), make_dataset(classes=3)),
        "tone": (TONE, said()),
    }
    models: dict[str, Any] = {}
    for name, (one, dataset) in trained.items():
        train(one, dataset, folder / name)
        models[name] = one.load_bundle(folder / name)
    loaders: Any = {name: lambda model=model: model for name, model in models.items()}
    server = make_server("127.0.0.1", 0, create_app(Settings(), loaders), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}/"
    server.shutdown()
    thread.join()


@pytest.fixture
def visit(browser: Browser, origin: str) -> Iterator[Any]:
    wrong: list[str] = []

    def open_page(path: str, width: int = 1280, *, dark: bool = False) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            accept_downloads=True,
        )
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.goto(origin + path, wait_until="networkidle")
        return page

    yield open_page
    for context in browser.contexts:
        context.close()
    assert wrong == []


def settled(page: Page) -> None:
    expect(page.locator("#answer")).not_to_have_class(re.compile("waiting"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", ["try/two", "try/three", "try/tone", "card/two", "card/three", "card/tone"])
def test_pages_fit_and_are_accessible(visit: Any, path: str, width: int, dark: bool) -> None:
    page = visit(path, width, dark=dark)
    if path.startswith("try"):
        settled(page)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    shade = "dark" if dark else "light"
    page.screenshot(path=SCREENSHOTS / f"classes-{path.replace('/', '-')}-{width}-{shade}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert [each["id"] for each in Axe().run(page).response["violations"]] == []


def test_class_its_bars_and_its_reasons_follow_the_form(visit: Any) -> None:
    page = visit("try/two")
    settled(page)
    page.get_by_label("hours a month").fill("230")
    expect(page.locator("#prediction")).to_have_text("leaves")
    settled(page)
    expect(page.locator("#classes li")).to_have_count(2)
    shares = [float(text.rstrip("%")) for text in page.locator("#classes .amount").all_text_contents()]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    expect(page.locator("#classes li.chosen")).to_contain_text("leaves")
    expect(page.locator("#rangetext")).to_have_text("leaves")
    expect(page.locator("#falls")).to_contain_text("hours a month")
    page.get_by_label("hours a month").fill("100")
    expect(page.locator("#prediction")).to_have_text("stays")


def test_words_for_and_against_are_marked(visit: Any) -> None:
    page = visit("try/tone")
    settled(page)
    page.locator("textarea").fill("The film was <b>great</b>, lovely and a bit dull!")
    expect(page.locator("#prediction")).to_have_text("good")
    settled(page)
    expect(page.locator("#words")).to_have_text("The film was <b>great</b>, lovely and a bit dull!")
    assert page.locator("#words mark.for", has_text="lovely").count() == 1
    assert page.locator("#words mark.against", has_text="dull").count() == 1
    assert page.locator("#words b").count() == 0


def test_threshold_of_the_card_moves(visit: Any) -> None:
    page = visit("card/two")
    expect(page.locator("#thresholds tbody tr:visible")).to_have_count(1)
    expect(page.locator("#thresholds tbody tr:visible th")).to_have_text("50 %")
    page.locator("#threshold").fill("3")
    expect(page.locator("#thresholds tbody tr:visible th")).to_have_text("20 %")
    expect(page.locator("#thresholdvalue")).to_have_text("20 %")
    expect(page.locator(".reliability circle").first).to_be_visible()


def test_card_loses_nothing_on_paper(visit: Any) -> None:
    page = visit("card/two", 390, dark=True)
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 688, "height": 900})
    assert page.locator("#thresholds tbody tr:visible").count() == page.locator("#thresholds tbody tr").count() > 1
    hidden = "[...document.querySelectorAll('.scroll')].filter((box) => box.scrollHeight > box.clientHeight + 1)"
    assert page.evaluate(f"{hidden}.length") == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page.get_by_role("link", name="Try it")).to_have_count(0)
    # Dark ink on white paper, whatever the screen has.
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(23, 33, 30)"


def test_dropped_file_counts_the_classes(visit: Any, tmp_path: Path) -> None:
    page = visit("try/tone")
    source = tmp_path / "said.csv"
    source.write_text("said\nthe film was great\nthe film was dull\nthe film was poor\n")
    page.set_input_files("#file", source)
    expect(page.locator("#tiles")).to_contain_text("good")
    expect(page.locator("#manychart")).to_be_hidden()
    with page.expect_download() as download:
        page.locator("#download").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert [line.split(",")[1] for line in lines] == ["prediction", "good", "bad", "bad"]
