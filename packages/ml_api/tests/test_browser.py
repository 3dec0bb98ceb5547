"""The documentation pages in a real Chromium: they run, nothing is blocked, nothing comes from anywhere else.

Screenshots go to build/screenshots, for somebody to look at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from model_kit.testing import GOLDEN_PREDICTION
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

if TYPE_CHECKING:
    from tests.conftest import Server

SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"
WIDE, NARROW = 1280, 390
PREDICT = "#operations-rides-predict_rides"


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Callable[[str, int], Page]]:
    """Opens a page of the server at a width; whatever goes wrong on it fails the test."""
    origin = f"http://127.0.0.1:{server.port}/"
    wrong: list[str] = []
    pages: list[Page] = []

    def requested(request: Request) -> None:
        if not request.url.startswith((origin, "data:")):
            wrong.append(f"asks {request.url}")

    def said(message: ConsoleMessage) -> None:
        # A policy that blocks something says so here.
        if message.type in ("error", "warning"):
            wrong.append(f"says {message.text}")

    def raised(error: Any) -> None:
        wrong.append(f"raises {error}")

    def opened(path: str, width: int) -> Page:
        page = browser.new_page(viewport={"width": width, "height": 900})
        pages.append(page)
        page.on("request", requested)
        page.on("console", said)
        page.on("pageerror", raised)
        page.goto(origin + path, wait_until="networkidle")
        return page

    yield opened
    for page in pages:
        page.close()
    assert wrong == []


def keep(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def is_within_its_width(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_first_click_on_execute_shows_the_price_of_the_golden_row(
    visit: Callable[[str, int], Page], width: int
) -> None:
    page = visit("docs", width)
    expect(page.locator("h1, h2").first).to_contain_text("Prediction API")
    assert is_within_its_width(page)
    keep(page, f"docs-{width}")
    page.locator(f"{PREDICT} .opblock-summary-control").click()
    expect(page.locator(f"{PREDICT} textarea")).to_contain_text('"distance": 3.5')
    keep(page, f"docs-{width}-open")
    page.locator(f"{PREDICT} button.execute").click()
    answered = page.locator(f"{PREDICT} .live-responses-table .response")
    expect(answered.locator(".response-col_status")).to_contain_text("200")
    expect(answered).to_contain_text(str(GOLDEN_PREDICTION)[:12])
    answered.scroll_into_view_if_needed()
    assert is_within_its_width(page)
    keep(page, f"docs-{width}-answered")


def test_fields_are_shown_with_their_levels(visit: Callable[[str, int], Page]) -> None:
    page = visit("docs", WIDE)
    page.locator(f"{PREDICT} .opblock-summary-control").click()
    page.locator(f"{PREDICT} .opblock-section-request-body").get_by_text("Schema", exact=True).click()
    schema = page.locator(f"{PREDICT} .opblock-section-request-body .json-schema-2020-12").first
    expect(schema).to_be_visible()
    schema.get_by_text("Expand all").first.click()
    expect(schema).to_contain_text("Length of the ride. Number, in km.")
    expect(schema).to_contain_text("Suburbs")
    schema.scroll_into_view_if_needed()
    keep(page, "docs-schema")
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html")).to_have_class("dark-mode")
    page.evaluate("scrollTo(0, 0)")
    keep(page, "docs-dark")
    page.get_by_role("link", name="To read: ReDoc").click()
    expect(page.locator("h1").first).to_contain_text("Prediction API")
    page.get_by_role("link", name="Predictions").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What do you want to predict?")


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_redoc_shows_the_document(visit: Callable[[str, int], Page], width: int) -> None:
    page = visit("redoc", width)
    expect(page.locator("h1").first).to_contain_text("Prediction API")
    expect(page.locator("#redoc")).to_contain_text("rides")
    assert is_within_its_width(page)
    keep(page, f"redoc-{width}")
    page.evaluate("location.hash = '#/rides/predict_rides'")
    expect(page.get_by_role("heading", name="Predict with rides")).to_be_visible()
    expect(page.locator("#redoc")).to_contain_text("Length of the ride. Number, in km.")
    assert is_within_its_width(page)
    keep(page, f"redoc-{width}-predict")
