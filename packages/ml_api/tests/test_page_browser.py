"""The HTML pages in Chromium: with mouse and keyboard, on a phone, in dark mode.

Screenshots go to build/screenshots, for somebody to look at.
"""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from model_kit.batch.csv_files import csv_table
from model_kit.records.text import parse_cell
from model_kit.spec import Field, Target, fit_spec
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW, SPEC_OF_RIDES
from playwright.sync_api import Browser, Page, Route, expect
from werkzeug.serving import make_server

from bookings import BOOKING, Bookings
from ml_api.app import create_app
from ml_api.models.registry import Loader
from ml_api.settings import Settings
from text_cases import TEXT_CASES

if TYPE_CHECKING:
    from tests.conftest import Serve, Server

SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"
WIDE, NARROW = 1280, 390


@dataclass
class Visitor:
    """Opens pages of a server, by default at ``start``; errors on them are collected in ``wrong``."""

    browser: Browser
    origin: str
    wrong: list[str]
    start: str = ""

    def __call__(self, path: str | None = None, width: int = WIDE, *, dark: bool = False, script: bool = True) -> Page:
        context = self.browser.new_context(
            java_script_enabled=script,
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            accept_downloads=True,
        )
        page = context.new_page()
        page.on("request", lambda request: self._requested(request.url))
        page.on("console", lambda message: self._said(message.type, message.text))
        page.on("pageerror", lambda error: self.wrong.append(f"raises {error}"))
        page.goto(self.origin + (self.start if path is None else path), wait_until="networkidle")
        return page

    def _requested(self, url: str) -> None:
        if not url.startswith((self.origin, "data:", f"blob:{self.origin}")):
            self.wrong.append(f"asks {url}")

    def _said(self, kind: str, text: str) -> None:
        # A policy that blocks something says so here. A status that is no success is one that a test asked for.
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.wrong.append(f"says {text}")


Visit: TypeAlias = Callable[..., Page]


@pytest.fixture(scope="module")
def both(serve: Serve) -> Server:
    """Rides, and boats."""
    return serve(boats=True, DEFAULT_MODEL="rides")


@pytest.fixture
def visit(browser: Browser, both: Server) -> Iterator[Visitor]:
    visitor = Visitor(browser, f"http://127.0.0.1:{both.port}/", [], "try/rides")
    yield visitor
    for context in browser.contexts:
        context.close()
    assert visitor.wrong == []


def keep(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def prediction(page: Page) -> Any:
    return page.locator("#prediction")


def settled(page: Page) -> None:
    expect(page.locator("#answer")).not_to_have_class(re.compile("waiting"))


def is_within_its_width(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def euros(value: float) -> str:
    return f"€{value:,.2f}"


def violations(page: Page) -> list[str]:
    response = Axe().run(page).response
    return [f"{each['id']}: {[node['html'] for node in each['nodes']]}" for each in response["violations"]]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("path", ["", "card/rides", "try/rides"])
def test_page_has_no_barriers_and_fits(visit: Visit, path: str, width: int, *, dark: bool) -> None:
    page = visit(path, width, dark=dark)
    if path == "try/rides":
        settled(page)
    assert violations(page) == []
    assert is_within_its_width(page)
    keep(page, f"{path.replace('/', '-') or 'models'}-{width}-{'dark' if dark else 'light'}")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_page_with_everything_on_it_has_no_barriers_and_fits(visit: Visit, width: int, *, dark: bool) -> None:
    page = visit(None, width, dark=dark)
    page.get_by_role("button", name="Pin to compare").click()
    page.get_by_role("button", name="What if Length of the ride changes?").click()
    page.get_by_label("Length of the ride", exact=True).fill("50")
    page.get_by_label("People on board").fill("")
    page.locator(".code > summary").click()
    page.locator("#file").set_input_files({"name": "rides.csv", "mimeType": "", "buffer": b"distance,zone\n1,A\nx,B\n"})
    expect(page.locator("#result")).to_be_visible()
    expect(page.locator("#cautions")).to_be_visible()
    expect(page.locator("#compare")).to_be_visible()
    expect(page.locator(".curve polyline")).to_be_visible()
    settled(page)
    assert violations(page) == []
    assert is_within_its_width(page)
    keep(page, f"form-full-{width}-{'dark' if dark else 'light'}")
    page.get_by_label("Length of the ride", exact=True).fill("-1")
    expect(page.locator("#trouble")).to_be_visible()
    assert violations(page) == []


def test_typical_record_is_answered_at_once(visit: Visit) -> None:
    page = visit()
    expect(prediction(page)).to_have_text(euros(GOLDEN_PREDICTION))
    expect(page.locator("#spoken")).to_contain_text(f"Fare: {euros(GOLDEN_PREDICTION)}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Predicted fare")


def test_answer_follows_what_is_typed(visit: Visit, both: Server) -> None:
    page = visit()
    asked: list[Any] = []
    page.on("request", lambda request: asked.append(request.post_data_json) if request.method == "POST" else None)
    distance = page.get_by_label("Length of the ride")
    distance.press("End")
    distance.press_sequentially("25", delay=5)
    expected = both.predict(GOLDEN_ROW | {"distance": 3.525})[1]["predictions"][0]
    expect(prediction(page)).to_have_text(euros(expected))
    assert asked[-1] == [GOLDEN_ROW | {"distance": 3.525}]


def test_slow_answer_to_what_is_no_longer_there_is_not_shown(visit: Visit, both: Server) -> None:
    page = visit()
    held: list[Route] = []

    def hold(route: Route) -> None:
        if (route.request.post_data_json or [])[0]["distance"] == 4:
            held.append(route)
        else:
            route.continue_()

    page.route("**/v1/predict/**", hold)
    with page.expect_request("**/v1/predict/**") as late:
        page.get_by_label("Length of the ride").fill("4")
    expect(page.locator("#slow")).to_have_text("The server is slow to answer; still waiting…")
    page.get_by_label("Length of the ride").fill("5")
    expected = euros(both.predict(GOLDEN_ROW | {"distance": 5})[1]["predictions"][0])
    expect(prediction(page)).to_have_text(expected)
    assert late.value.failure
    held[0].fulfill(json={"predictions": [1.0], "errors": None, "version": "1"})
    settled(page)
    expect(page.locator("#slow")).to_be_hidden()
    expect(prediction(page)).to_have_text(expected)


def test_what_is_wrong_is_said_at_its_field(visit: Visit) -> None:
    page = visit()
    distance = page.get_by_label("Length of the ride")
    distance.fill("-1")
    field = page.locator("[data-field=distance]")
    expect(field.locator(".message")).to_have_text("Must be 0 or more.")
    expect(distance).to_have_attribute("aria-invalid", "true")
    assert (field.locator(".message").get_attribute("id") or "") in (distance.get_attribute("aria-describedby") or "")
    expect(page.locator("#trouble")).to_contain_text("Length of the ride: Must be 0 or more.")
    expect(prediction(page)).to_have_text("–")
    page.get_by_role("button", name="Show it").click()
    expect(distance).to_be_focused()
    distance.fill("")
    expect(field.locator(".message")).to_have_text("Needed for a prediction.")
    distance.press_sequentially("1e")
    expect(field.locator(".message")).to_have_text("Must be a number.")
    distance.fill("2")
    expect(field.locator(".message")).to_have_text("")
    expect(page.locator("#trouble")).to_be_hidden()
    assert distance.get_attribute("aria-invalid") is None


def test_starting_points_fill_the_form(visit: Visit) -> None:
    page = visit()
    found = {}
    for name in ("Low end", "High end", "Typical record"):
        page.get_by_role("button", name=name).click()
        settled(page)
        expect(page.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
        found[name] = float((prediction(page).text_content() or "").strip("€"))
    assert found["Low end"] < found["Typical record"] < found["High end"]
    page.get_by_role("button", name="Required only").click()
    expect(page.get_by_label("People on board")).to_have_value("")
    expect(page.get_by_label("Class of the car")).to_have_value("")
    expect(page.get_by_label("Length of the ride")).to_have_value("3.5")
    page.get_by_role("button", name="Random").click()
    expect(page.get_by_label("Length of the ride")).not_to_have_value("3.5")
    settled(page)
    expect(prediction(page)).to_contain_text("€")
    page.get_by_label("Length of the ride").fill("7")
    assert page.locator(".chip[aria-pressed=true]").count() == 0


def test_all_is_reached_by_keyboard(visit: Visit) -> None:
    page = visit()
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.name || document.activeElement.id || document.activeElement.textContent"
            )
        )
    for name in ("distance", "passengers", "zone", "comfort", "file", "template"):
        assert name in reached
    assert reached[0] == "Skip to the content"


def test_focus_is_seen_and_not_under_the_bar_of_a_phone(visit: Visit) -> None:
    page = visit(None, NARROW)
    page.set_viewport_size({"width": NARROW, "height": 500})
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator("#bar")).to_be_visible()
    bar = page.locator("#bar").bounding_box()
    assert bar
    page.get_by_label("Length of the ride").focus()
    for name in ("passengers", "zone", "comfort"):
        # Beyond the button of the field before.
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        field = page.locator(f"[name={name}]")
        expect(field).to_be_focused()
        box = field.bounding_box()
        assert box
        assert 0 <= box["y"] < box["y"] + box["height"] <= bar["y"]
        assert field.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"


def test_bar_of_a_phone_leads_to_the_answer_and_makes_way_for_it(visit: Visit) -> None:
    page = visit(None, NARROW)
    page.set_viewport_size({"width": NARROW, "height": 320})
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator("#bar")).to_contain_text(euros(GOLDEN_PREDICTION))
    expect(page.locator("#prediction")).not_to_be_in_viewport()
    page.locator("#bar").click()
    expect(page.locator("#prediction")).to_be_in_viewport()
    expect(page.locator("#bar")).to_be_hidden()
    page.locator("#many").evaluate("element => element.scrollIntoView()")
    expect(page.locator("#prediction")).not_to_be_in_viewport()
    expect(page.locator("#bar")).to_be_hidden()
    page.get_by_label("Length of the ride").focus()
    expect(page.locator("#bar")).to_be_visible()


def test_address_has_what_is_changed_and_nothing_else(visit: Visit, both: Server) -> None:
    page = visit()
    start = page.url
    assert "#" not in start
    distance, zone = page.get_by_label("Length of the ride", exact=True), page.get_by_label("Tariff zone")
    distance.fill("10")
    page.get_by_label("People on board").fill("")
    expect(page).to_have_url(f"{start}#distance=10&passengers=")
    # Typing adds no entry to the history, and an example one, which can be taken back.
    expect(page.get_by_role("button", name="Undo")).to_be_hidden()
    page.get_by_role("button", name="Low end").click()
    expect(distance).not_to_have_value("10")
    low = page.url
    page.get_by_role("button", name="Undo").click()
    expect(distance).to_have_value("10")
    expect(page).to_have_url(f"{start}#distance=10&passengers=")
    page.go_forward()
    expect(page).to_have_url(low)
    expect(page.get_by_role("button", name="Low end")).to_have_attribute("aria-pressed", "true")
    page.go_back()
    page.reload()
    expect(distance).to_have_value("10")
    expect(page.get_by_label("People on board")).to_have_value("")
    record = {name: value for name, value in GOLDEN_ROW.items() if name != "passengers"} | {"distance": 10}
    expect(prediction(page)).to_have_text(euros(both.predict(record)[1]["predictions"][0]))
    # A link to a part of the page keeps the record.
    page.keyboard.press("Tab")
    page.get_by_text("Skip to the content").press("Enter")
    expect(page).to_have_url(f"{start}#distance=10&passengers=")
    page.goto(f"{start}#zone=B&distance=many&gone=1")
    expect(zone).to_have_value("B")
    expect(page.locator("#lost")).to_have_text("The address has values that this form cannot take: distance, gone.")


def test_wheel_scrolls_the_page_and_changes_no_number(visit: Visit) -> None:
    page = visit()
    page.set_viewport_size({"width": WIDE, "height": 400})
    distance = page.get_by_label("Length of the ride", exact=True)
    distance.click()
    page.mouse.wheel(0, 120)
    page.wait_for_function("scrollY > 0")
    expect(distance).to_have_value("3.5")
    expect(distance).to_be_focused()


def test_curve_of_a_field_is_one_request_and_a_click_takes_a_value(visit: Visit, both: Server) -> None:
    page = visit()
    settled(page)
    asked: list[Any] = []
    page.on("request", lambda request: asked.append(request.post_data_json) if request.method == "POST" else None)
    page.get_by_role("button", name="What if Length of the ride changes?").click()
    curve = page.locator(".curve")
    expect(curve.locator("polyline")).to_be_visible()
    (records,) = asked
    assert [record["distance"] for record in records] == [0.4, *range(1, 33)]
    assert all(record | {"distance": 3.5} == GOLDEN_ROW for record in records)
    fares = both.predict(records)[1]["predictions"]
    expect(page.locator(".reading")).to_contain_text(f"Fare from {euros(min(fares))} to {euros(max(fares))}")
    box = curve.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    expect(page.locator(".reading")).to_contain_text(f"16 km: {euros(fares[16])}")
    page.mouse.down()
    page.mouse.up()
    distance = page.get_by_label("Length of the ride", exact=True)
    expect(distance).to_have_value("16")
    expect(prediction(page)).to_have_text(euros(fares[16]))
    slider = page.get_by_label("Value of Length of the ride")
    expect(slider).to_be_focused()
    slider.press("ArrowRight")
    expect(distance).to_have_value("17")
    expect(prediction(page)).to_have_text(euros(fares[17]))
    # The curve is that of the other fields, which did not change.
    assert sum(len(records) > 1 for records in asked) == 1
    page.go_back()
    expect(distance).to_have_value("3.5")
    page.get_by_role("button", name="What if Tariff zone changes?").click()
    expect(curve).to_have_count(0)
    levels = page.locator(".levels button")
    expect(levels).to_have_count(2)
    expect(page.locator(".levels [aria-pressed=true]")).to_contain_text("Centre (A)")
    levels.filter(has_text="Suburbs").click()
    expect(page.get_by_label("Tariff zone", exact=True)).to_have_value("B")
    expect(page.locator(".levels [aria-pressed=true]")).to_contain_text("Suburbs (B)")
    page.keyboard.press("Escape")
    expect(levels).to_have_count(0)
    expect(page.get_by_role("button", name="What if Tariff zone changes?")).to_be_focused()


def test_records_are_compared_with_a_pinned_one(visit: Visitor, both: Server) -> None:
    page = visit()
    distance = page.get_by_label("Length of the ride", exact=True)
    distance.fill("10")
    settled(page)
    page.get_by_role("button", name="Pin to compare").click()
    expect(page.locator("#same")).to_have_text("This is the same record as Pinned A.")
    distance.fill("4")
    page.get_by_label("Tariff zone").select_option("B")
    settled(page)
    pinned, now = GOLDEN_ROW | {"distance": 10}, GOLDEN_ROW | {"distance": 4, "zone": "B"}
    fares = both.predict([now, pinned])[1]["predictions"]
    rows = page.locator("#comparerows tr")
    expect(rows.nth(0).locator("td")).to_have_text([euros(fare) for fare in fares])
    expect(rows.nth(2).locator("td")).to_have_text(["4 km", "10 km"])
    expect(rows.nth(3).locator("td")).to_have_text(["Suburbs (B)", "Centre (A)"])
    expect(page.locator("#comparesame")).to_have_text("The other 2 fields are the same.")
    steps = page.locator("#falls li")
    expect(steps.first).to_have_text(f"Pinned A{euros(fares[1])}")
    expect(steps.nth(1)).to_contain_text("Length of the ride4 km")
    expect(steps.nth(1)).to_have_class("down")
    page.locator("#level").select_option("0.5")
    expect(page).to_have_url(re.compile("#distance=4&zone=B;level=0.5&A=distance%3D10&against=A$"))
    page.reload()
    expect(rows.nth(0).locator("td")).to_have_text([euros(fare) for fare in fares])
    # A link has all of it: this is a browser that has not been here.
    shared = visit(page.url.removeprefix(visit.origin))
    expect(shared.locator("#comparerows tr").nth(0).locator("td")).to_have_text([euros(fare) for fare in fares])
    expect(shared.locator("#level")).to_have_value("0.5")
    expect(shared.locator("#falls li").first).to_have_text(f"Pinned A{euros(fares[1])}")
    page.get_by_role("button", name="Open Pinned A").click()
    expect(distance).to_have_value("10")
    page.get_by_role("button", name="Pin to compare").click()
    expect(page.get_by_role("button", name="Pin to compare")).to_be_disabled()
    for letter in "AB":
        page.get_by_role("button", name=f"Unpin Pinned {letter}").click()
    expect(page.locator("#compare")).to_be_hidden()
    expect(steps.first).to_contain_text("Typical record")


def test_form_works_without_a_script(visit: Visit, both: Server) -> None:
    page = visit(None, NARROW, script=False)
    page.get_by_label("Length of the ride", exact=True).fill("10")
    expect(page.get_by_role("button", name="Low end")).to_be_hidden()
    page.get_by_role("button", name="Predict").click()
    expect(prediction(page)).to_have_text(euros(both.predict(GOLDEN_ROW | {"distance": 10})[1]["predictions"][0]))
    expect(page.get_by_label("Length of the ride", exact=True)).to_have_value("10")
    keep(page, "form-without-script")


def test_form_that_was_sent_before_the_script_came_goes_on(visit: Visit) -> None:
    page = visit(None, script=False)
    page.get_by_label("Length of the ride", exact=True).fill("10")
    with page.expect_response(lambda response: response.request.method == "POST") as sent:
        page.get_by_role("button", name="Predict").click()
    content = sent.value.body()
    late = visit()
    late.route("**/try/rides", lambda route: route.fulfill(body=content, content_type="text/html; charset=utf-8"))
    late.reload()
    expect(late).to_have_url(re.compile("#distance=10$"))
    expect(prediction(late)).to_have_text(prediction(page).text_content() or "?")
    late.get_by_role("button", name="Typical record").click()
    expect(late.get_by_label("Length of the ride", exact=True)).to_have_value("3.5")


def test_print_is_one_record_with_its_link_and_version(visit: Visit) -> None:
    page = visit()
    page.get_by_label("Length of the ride", exact=True).fill("10")
    settled(page)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("#printedlink")).to_have_text(page.url)
    expect(page.locator(".printed")).to_contain_text("rides 1.2.3")
    expect(page.locator("#printedfields .changed")).to_have_text("Length of the ride10 km")
    expect(page.locator("#form")).to_be_hidden()
    expect(prediction(page)).to_be_visible()
    keep(page, "print")


def test_number_with_a_comma_is_told_what_its_comma_is(visit: Visit) -> None:
    page = visit()
    for numbers, words in {
        ("1,500", "2"): "1 row has numbers with a comma between thousands, like 1,500: write 1500.",
        ("12,5", "1,500"): "1 row has numbers with a decimal comma, like 12,5: write 12.5.",
    }.items():
        drop(page, "rides.csv", "\n".join(["distance;zone", *(f"{number};A" for number in numbers), ""]).encode())
        expect(page.locator("#commas")).to_have_text(words)


def test_server_that_does_not_answer_is_asked_again(visit: Visit) -> None:
    page = visit()
    page.route("**/v1/predict/**", lambda route: route.abort())
    page.get_by_label("Length of the ride").fill("4")
    expect(page.locator("#trouble")).to_have_text("The server cannot be reached. Trying again…")
    page.unroute("**/v1/predict/**")
    expect(prediction(page)).to_contain_text("€", timeout=10_000)
    expect(page.locator("#trouble")).to_be_hidden()


def test_problem_is_told_in_its_own_words(visit: Visit) -> None:
    page = visit()
    problem = {"detail": "Not today.", "status": 500}
    page.route("**/v1/predict/**", lambda route: route.fulfill(status=500, json=problem))
    page.get_by_label("Length of the ride").fill("4")
    expect(page.locator("#trouble")).to_have_text("Not today.")


def detailed(server: Server, record: Any, interval: float = 0.9) -> Any:
    url = f"/v1/predict/rides?interval={interval}&explain=6&warnings=true"
    return server.request("POST", url, json.dumps([record]), {"Content-Type": "application/json"})[1]


def test_range_follows_its_level(visit: Visit, both: Server) -> None:
    page = visit()
    for level in (0.9, 0.5, 0.95):
        page.locator("#level").select_option(str(level))
        low, high = detailed(both, GOLDEN_ROW, level)["intervals"][0]
        expect(page.locator("#rangetext")).to_have_text(f"€{low:,.2f} to {euros(high)}")


def test_reasons_lead_from_the_typical_record_to_this_one(visit: Visit, both: Server) -> None:
    page = visit()
    expect(page.locator("#same")).to_be_visible()
    page.get_by_label("Length of the ride").fill("10")
    page.get_by_label("Tariff zone").select_option("B")
    steps = page.locator("#falls li")
    expect(steps).to_have_count(4)
    (told,) = detailed(both, GOLDEN_ROW | {"distance": 10, "zone": "B"})["explanations"]
    expect(steps.first).to_contain_text("Typical record")
    expect(steps.first).to_contain_text(f"€{told['baseline']['prediction']:,.2f}")
    for index, each in enumerate(told["contributions"], start=1):
        sign = "−" if each["amount"] < 0 else "+"
        expect(steps.nth(index)).to_contain_text(f"{sign}€{abs(each['amount']):,.2f}")
        expect(steps.nth(index)).to_have_class("down" if each["amount"] < 0 else "up")
    expect(steps.nth(1)).to_contain_text("Length of the ride")
    expect(steps.nth(1)).to_contain_text("10 km")
    expect(steps.nth(2)).to_contain_text("Suburbs (B)")
    expect(steps.last).to_contain_text("This record")
    assert f"€{float((prediction(page).text_content() or '').strip('€')):,.2f}" in (steps.last.text_content() or "")


def test_warnings_stand_beside_their_fields(visit: Visit) -> None:
    page = visit()
    page.get_by_label("Length of the ride").fill("50")
    page.get_by_label("People on board").fill("")
    page.get_by_label("Class of the car").select_option("3")
    expect(page.locator("[data-field=distance] .message")).to_contain_text("50")
    expect(page.locator("[data-field=distance]")).to_have_class(re.compile("warned"))
    expect(page.locator("[data-field=comfort]")).to_have_class(re.compile("warned"))
    expect(page.locator("[data-field=passengers] .message")).not_to_have_text("")
    expect(page.locator("[data-field=passengers]")).not_to_have_class(re.compile("warned"))
    expect(page.locator("#cautionlist li")).to_have_count(2)
    expect(page.locator("#cautionlist li").first).to_have_text(
        "Length of the ride 50 is above what training saw (0.4 to 32)."
    )
    expect(page.locator("#filled")).to_contain_text("1 field left empty")
    # It stands beside the prediction, above all else.
    assert page.locator("#prediction ~ #cautions ~ #range").count() == 1
    expect(page.locator("#spoken")).to_contain_text("Use with caution.")
    page.locator("#cautionlist").get_by_role("button", name="Length of the ride").click()
    expect(page.get_by_label("Length of the ride")).to_be_focused()


def snippet(page: Page, language: str) -> str:
    page.get_by_text(language, exact=True).click()
    return page.locator("#code").text_content() or ""


def test_code_gives_the_same_answer_when_it_is_run(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    page.get_by_label("Length of the ride").fill("12.25")
    settled(page)
    shown = prediction(page).text_content()
    page.locator(".code > summary").click()
    run = [["bash", "-c", snippet(page, "curl")], [sys.executable, "-c", snippet(page, "Python")]]
    curl, python = (subprocess.run(each, capture_output=True, check=True, text=True).stdout for each in run)
    assert euros(json.loads(curl)["predictions"][0]) == shown
    assert euros(json.loads(python)[0]) == shown
    script = snippet(page, "JavaScript").replace("console.log(", "return (")
    assert euros(page.evaluate(f"(async () => {{ {script} }})()")[0]) == shown


def test_code_is_quoted_for_its_shell(visit: Visit) -> None:
    page = visit()
    found, with_key = page.evaluate(
        """async () => {
          const page = document.querySelector("script[src]").src;
          const { snippets } = await import(page.replace("page.js", "snippets.js"));
          const record = { zone: "it's $HOME \\"`\\\\" };
          const withKey = Object.values(snippets).map((write) => write("http://x", record, true));
          return [snippets.curl("http://x", record), withKey.filter((code) => code.includes("X-API-Key")).length];
        }"""
    )
    assert with_key == 3
    said = subprocess.run(
        ["bash", "-c", found.replace("curl", "printf '%s|'", 1)], capture_output=True, check=True, text=True
    ).stdout
    assert json.loads(said.split("|")[4]) == [{"zone": "it's $HOME \"`\\"}]


def download(page: Page) -> str:
    with page.expect_download() as found:
        page.locator("#download").click()
    return Path(found.value.path()).read_bytes().decode()


def drop(page: Page, name: str, content: bytes) -> None:
    page.locator("#file").set_input_files({"name": name, "mimeType": "text/csv", "buffer": content})


def test_file_is_given_back_with_its_rows_in_order(visit: Visit, both: Server) -> None:
    page = visit()
    rows = [f'{number},{number % 9 or "NA"},{"AB"[number % 2]},"a, b {number}"' for number in range(1234)]
    rows[700] = "many,1,A,x"
    rows[701] = "1,A"
    drop(page, "rides.csv", "\r\n".join(["distance,passengers,zone,note", *rows, ""]).encode())
    expect(page.locator("#result")).to_be_visible()
    text = download(page)
    assert "\r\n" in text
    found = list(csv.reader(io.StringIO(text, newline="")))
    assert found[0] == ["distance", "passengers", "zone", "note", "prediction", "low", "high", "error", "warnings"]
    assert [row[:4] for row in found[1:]] == [each if len(each) == 4 else [*each, "", ""] for each in csv.reader(rows)]
    assert found[701][4:] == ["", "", "", "distance: Not a valid number.", ""]
    assert found[702][4:] == ["", "", "", "2 cells where the header has 4", ""]
    sent = [{"distance": number, "passengers": number % 9 or None, "zone": "AB"[number % 2]} for number in range(1234)]
    url = "/v1/predict/rides?interval=0.9&warnings=true"
    halves = [
        both.request("POST", url, json.dumps(half), {"Content-Type": "application/json"})[1]
        for half in (sent[:700], sent[700:])
    ]
    for number in {*range(1234)} - {700, 701}:
        row, (expected, place) = found[number + 1], (halves[number >= 700], number - 700 * (number >= 700))
        numbers = [expected["predictions"][place], *expected["intervals"][place]]
        assert row[4:7] == [f"{number:.2f}" if number >= 1 else str(number) for number in numbers]
        assert row[7] == ""
        assert row[8] == "; ".join(each["message"] for each in expected["warnings"][place])
    tiles = page.locator("#tiles").text_content() or ""
    assert "Rows1,234" in tiles
    assert "Predicted1,232" in tiles
    assert "Not predicted2" in tiles
    lines = page.locator("#tablerows tr")
    expect(lines).to_have_count(100)
    expect(page.locator("#tablecount")).to_have_text("100 of 1,234 rows; all are in the file")
    # Failed rows come first.
    assert [cell.strip() for cell in lines.nth(0).locator("th, td").all_text_contents()] == [
        *("702", "–", "Length of the ride: Must be a number.", "–"),
        *("many", "1", "A", "x"),
    ]
    expect(lines.nth(1)).to_contain_text("2 cells where the header has 4")
    expect(lines.nth(2)).to_have_text(re.compile(r"^2€\d+\.\d\d"))
    page.get_by_label("Failed first").uncheck()
    expect(lines.nth(0).locator("th")).to_have_text("2")
    head = page.locator("#tablehead")
    for direction, first in (("ascending", "0"), ("descending", "1233")):
        head.get_by_role("button", name="distance").click()
        expect(head.locator("th", has_text="distance")).to_have_attribute("aria-sort", direction)
        expect(lines.nth(0).locator("td").nth(3)).to_have_text(first)
    told = page.locator("#columnuse > div")
    expect(told).to_have_text(
        [
            re.compile("3 columns are used.*distance, passengers, zone"),
            re.compile("1 column is not used.*note"),
            re.compile("1 field is absent.*comfort"),
        ]
    )
    # A third click returns to the order of the file.
    head.get_by_role("button", name="distance").click()
    page.get_by_role("button", name="Open line 12 in the form").click()
    expect(page.get_by_label("Length of the ride", exact=True)).to_have_value("10")
    expect(page.get_by_label("Class of the car")).to_have_value("")
    expect(prediction(page)).to_have_text(f"€{found[11][4]}")
    page.go_back()
    expect(prediction(page)).to_have_text(euros(GOLDEN_PREDICTION))
    assert page.locator("#manychart rect").count() == 30


def test_texts_of_a_dropped_file_mean_what_they_mean_elsewhere(visit: Visit, both: Server) -> None:
    page = visit()
    written = io.StringIO()
    writer = csv.DictWriter(written, [*GOLDEN_ROW])
    writer.writeheader()
    writer.writerows(GOLDEN_ROW | {case.field: case.text} for case in TEXT_CASES)
    drop(page, "texts.csv", written.getvalue().encode())
    expect(page.locator("#result")).to_be_visible()
    found = list(csv.DictReader(io.StringIO(download(page), newline="")))
    meant = [GOLDEN_ROW | ({} if case.error else {case.field: case.value}) for case in TEXT_CASES]
    fares = both.predict(meant)[1]["predictions"]
    for case, row, fare in zip(TEXT_CASES, found, fares, strict=True):
        assert row["error"] == (f"{case.field}: {case.error}" if case.error else ""), case
        assert row["prediction"] == ("" if case.error else f"{fare:.2f}"), case


def test_file_is_summed_up_by_column(visit: Visit) -> None:
    page = visit()
    rows = [f"{number},{'b' if number % 2 else ' B '},x" for number in range(1, 41)]
    drop(page, "rides.csv", "\n".join(["distance,zone,Passenger", *rows, "far,A,x", ""]).encode())
    expect(page.locator("#result")).to_be_visible()
    never = "rows have a level never seen in training:"
    unknown = "did not occur in training; it counts as unknown"
    outside = "rows have a value outside the training range:"
    assert page.locator("#columnlines li").all_inner_texts() == [
        "Column Passenger is not used; did you mean the field passengers?",
        f'zone: 20 of 40 {never} zone "b" {unknown}, and differs from "B" in case only',
        f"distance: 8 of 40 {outside} distance 33 is above what training saw (0.4 to 32)",
    ]
    expect(page.locator("#columnlines .loud")).to_have_count(0)
    rows = [f"{number},,C" for number in range(1, 31)]
    drop(page, "rides.csv", "\n".join(["distance,passengers,zone,comfort", *(f"{row},2" for row in rows), ""]).encode())
    expect(page.locator("#columnlines .loud")).to_have_text(
        ["passengers: 30 of 30 rows have no value; in training 10.0%", f'zone: 30 of 30 {never} zone "C" {unknown}']
    )
    rows = [f"{number % 30 + 1},1,A,2" for number in range(30)]
    drop(page, "rides.csv", "\n".join(["distance,passengers,zone,comfort", *rows, ""]).encode())
    expect(page.locator("#columns")).to_be_hidden()


def test_file_that_is_no_table_is_refused_in_words(visit: Visit) -> None:
    page = visit()
    for content, words in {
        b"": "The file is empty.",
        b"distance,zone\n": "The file has a header and no rows.",
        b"PK\x03\x04...": "This is a workbook (.xlsx)",
        b"\xff\xfed": "UTF-16",
        b"distance\n\xe9": "not UTF-8",
        b'{"distance": 1}': "This is JSON, not CSV.",
        b"distance,passengers\n1,2\n": "The header lacks the required columns zone.",
        b"distance,zone,zone\n1,A,A\n": "The header has zone more than once.",
        b'distance,zone\n1,"A\n': "Line 2: a quote is opened and never closed.",
        b'distance,zone\n1,"A"B\n': "Line 2: text follows a closing quote.",
    }.items():
        drop(page, "rides.csv", content)
        expect(page.locator("#filetrouble")).to_contain_text(words)
        expect(page.locator("#result")).to_be_hidden()


def test_cancelling_gives_back_what_there_is(visit: Visit) -> None:
    page = visit()
    count = []

    def later(route: Route) -> None:
        count.append(route)
        if len(count) == 1:
            route.continue_()

    page.route("**/v1/predict/**", later)
    drop(page, "rides.csv", b"distance,zone\n" + b"1,A\n" * 1500)
    expect(page.locator("#runtext")).to_have_text("rides.csv: 500 of 1,500 rows")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#result")).to_be_visible()
    found = list(csv.DictReader(io.StringIO(download(page))))
    assert len(found) == 1500
    assert all(row["prediction"] and not row["error"] for row in found[:500])
    assert all(row["error"] == "Cancelled before this row was reached." for row in found[500:])
    expect(page.locator("#tiles")).to_contain_text("Not predicted0")
    expect(page.locator("#tiles")).to_contain_text("Not reached1,000")


def test_batch_that_is_refused_is_halved_and_a_busy_server_is_waited_for(visit: Visit) -> None:
    page = visit()
    said: list[int] = []

    def fussy(route: Route) -> None:
        records = route.request.post_data_json or []
        if not said:
            said.append(503)
            route.fulfill(status=503, headers={"Retry-After": "1"}, json={"detail": "Busy."})
        elif len(records) > 2:
            said.append(413)
            route.fulfill(status=413, json={"detail": "Too many."})
        elif any(record["distance"] == 7 for record in records):
            said.append(500)
            route.fulfill(status=500, json={"detail": "Seven is too many."})
        else:
            route.continue_()

    page.route("**/v1/predict/**", fussy)
    drop(page, "rides.csv", b"distance,zone\n" + b"".join(b"%d,A\n" % number for number in range(8)))
    expect(page.locator("#result")).to_be_visible(timeout=10_000)
    found = list(csv.DictReader(io.StringIO(download(page))))
    assert [row["distance"] for row in found] == [str(number) for number in range(8)]
    assert [row["error"] for row in found] == [""] * 6 + ["Seven is too many."] * 2
    assert said[:2] == [503, 413]


READ = """async ([text, fields]) => {
  const csv = await import(document.querySelector("script[src]").src.replace("page.js", "csv.js"));
  const table = csv.read(text, fields);
  const rows = table.rows.map(({ cells }) => cells);
  const records = rows.map((cells) => Object.fromEntries(
    fields.filter(({ name }) => table.columns.includes(name))
      .map((field) => [field.name, csv.value(field, cells[table.columns.indexOf(field.name)])])));
  return { columns: table.columns, rows, records, written: rows.map((cells) => csv.line(cells, table)).join("") };
}"""


@pytest.mark.parametrize(
    "text",
    [
        "distance,passengers,zone,comfort\n1,2,A,3\n",
        "\ufeffdistance;passengers;zone;comfort\r\n1.5;2;A;20.0\r\n",
        "distance\tzone\r1\tA\r2\tB",
        'sep=;\r\ndistance;zone\r\n"1";"A"\r\n',
        '"sep=|"\ndistance|zone\n1|A\n',
        "sep=^\ndistance^zone\n1^A\n",
        '\n\ndistance,zone,note\n\n1,A,"a ""quoted"", \r\n line"\n\n2,B,\n',
        "distance,zone,note\n NA ,A, \n,B,x\n1e3,NA,None\n+.5,nan,-0\n1e999,inf,1_000\n",
        'distance,zone,note\n1,A,a"b"\n2, "B",c\n',
        "distance,comfort,zone\n1, 2 ,A\n2,2.0,B\n3,2.5,A\n4,x,A\n5,1e1,A\n6,-0,B\n",
        "distance,zone,note\n1,5,A\n1\xa0,\u2003A,\u3000\n\x1c1,\x85NA,\x1fNA\x1f\n",
        "zone,distance\nA;B,1\n",
        'a;b,distance,zone\n"x;y",1,A\n',
        "distance,zone\n0012,A\n1.50,B\n",
    ],
)
def test_files_are_read_as_on_the_command_line(visit: Visit, text: str) -> None:
    page = visit()
    fields = [
        {"name": f.name, "kind": f.kind, "codes": f.numeric_codes, "required": f.required} for f in SPEC_OF_RIDES.fields
    ]
    found = page.evaluate(READ, [text, fields])
    expected = csv_table(text.encode(), SPEC_OF_RIDES)
    rows = list(expected.entries)
    assert found["columns"] == list(expected.columns or ())
    assert found["rows"] == [list(entry.original.values()) for entry in rows]
    assert found["records"] == [entry.record for entry in rows]
    again = csv.reader(io.StringIO(found["written"], newline=""), delimiter=expected.dialect.delimiter)
    assert list(again) == found["rows"]


def test_template_has_every_field_and_is_a_file_that_is_taken(visit: Visit) -> None:
    page = visit()
    with page.expect_download() as found:
        page.get_by_role("button", name="Download a template").click()
    assert found.value.suggested_filename == "rides-template.csv"
    content = Path(found.value.path()).read_bytes()
    assert content == b"distance,passengers,zone,comfort\n3.5,1,A,2\n"
    drop(page, "rides.csv", content)
    expect(page.locator("#result")).to_be_visible()
    (row,) = csv.DictReader(io.StringIO(download(page)))
    assert row["prediction"] == f"{GOLDEN_PREDICTION:.2f}"


def test_added_columns_leave_those_of_the_file_alone(visit: Visit) -> None:
    page = visit()
    drop(page, "rides.csv", b"distance,zone,prediction,error\n1,A,mine,too\n")
    expect(page.locator("#result")).to_be_visible()
    header, row = csv.reader(io.StringIO(download(page)))
    assert header == ["distance", "zone", "prediction", "error", "prediction_2", "low", "high", "error_2", "warnings"]
    assert row[2:4] == ["mine", "too"]


def test_file_dropped_anywhere_is_taken(visit: Visit) -> None:
    page = visit()
    page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["distance,zone\\n1,A\\n"], "dropped.csv"));
          for (const kind of ["dragenter", "dragover"]) document.body.dispatchEvent(
            new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
          if (document.getElementById("dropping").hidden) throw new Error("nothing says where to drop");
          document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }"""
    )
    expect(page.locator("#result")).to_be_visible()
    expect(page.locator("#dropping")).to_be_hidden()


def test_other_model_is_a_click_away(visit: Visit) -> None:
    page = visit()
    page.get_by_role("navigation", name="Models").get_by_text("Boats").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Predicted price")
    page.get_by_label("Length over all").fill("7.5")
    expect(prediction(page)).to_have_text("£7,500")
    page.get_by_role("link", name="Model card").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Predicted price 2.0.0")
    page.get_by_role("navigation", name="Models").get_by_text("Rides").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Predicted fare 1.2.3")


#: A model with more fields than are asked for first, and two sums among them.
HOUSES = (
    Field("area", "number", "Area of all floors", unit="m²", required=True, minimum=0, group="Floors"),
    Field("ground", "number", "Area of the ground floor", unit="m²", group="Floors"),
    Field("upper", "number", "Area of the upper floor", unit="m²", group="Floors"),
    *(Field(f"x{number}", "integer", f"Count of kind {number}", group="Counts") for number in range(12)),
    Field("floor", "category", "What the floor is made of", group="Floors"),
)
HOUSE: dict[str, Any] = {"area": 100.0, "ground": 67.0, "upper": 33.0, "floor": "wood"} | {
    f"x{number}": 1 for number in range(12)
}


class Houses:
    """Predicts area plus counts."""

    version = "3.0.0"
    card: ClassVar[dict[str, Any]] = {
        "data": {"name": "houses by hand"},
        "evaluated": True,
        "target_distribution": {"edges": [50.0, 100.0, 150.0, 200.0], "shares": [0.25, 0.5, 0.25]},
    }
    golden: ClassVar[dict[str, Any]] = {
        "row": HOUSE,
        "prediction": 112.0,
    }
    lineage: ClassVar[dict[str, Any]] = {"version": version}
    spec = replace(
        fit_spec(
            HOUSES,
            Target("value", "quids", "identity", subject="house"),
            [HOUSE | {"area": area} for area in (50.0, 100.0, 200.0)],
            rare_below=1,
        ),
        together=(("area", "ground", "upper", "floor"),),
    )

    def score(self, encoded: Any) -> Any:
        return encoded[:, 0] + np.nan_to_num(encoded[:, 3:15], nan=1.0).sum(axis=1)

    def check(self) -> None:
        pass


class Shifts:
    """A target without a unit, on the identity scale, that may be zero or negative."""

    version = "1.0.0"
    card: ClassVar[dict[str, Any]] = {
        "data": {"name": "shifts by hand"},
        "evaluated": True,
        "intervals": {"rows": 100, "levels": [0.5, 0.95], "edges": [], "widths": [[0.25, 1.0]]},
        "target_distribution": {"edges": [-2.0, -1.0, 0.0, 1.0, 2.0], "shares": [0.25, 0.25, 0.25, 0.25]},
    }
    golden: ClassVar[dict[str, Any]] = {"row": {"x": 0.0}, "prediction": 0.0}
    lineage: ClassVar[dict[str, Any]] = {"version": version}
    spec = fit_spec((Field("x", "number", "Input", required=True),), Target("phase_shift"), [{"x": -2.0}, {"x": 2.0}])

    def score(self, encoded: Any) -> Any:
        return encoded[:, 0]

    def check(self) -> None:
        pass


@pytest.fixture
def houses(browser: Browser) -> Iterator[Visitor]:
    yield from visited(browser, {"houses": Houses, "shifts": Shifts})


class Odd(Shifts):
    """The sum of fields whose names every object, or every form, of a browser has already; none is required."""

    card: ClassVar[dict[str, Any]] = {"data": {"name": "odd by hand"}, "evaluated": True}
    golden: ClassVar[dict[str, Any]] = {
        "row": {"reset": 1.0, "__proto__": 2.0, "constructor": 3.0, "querySelectorAll": True},
        "prediction": 7.0,
    }
    spec = fit_spec(
        (
            *(Field(name, "number", f"The {name}") for name in ("reset", "__proto__", "constructor")),
            Field("querySelectorAll", "boolean", "The flag"),
        ),
        Target("total"),
        [golden["row"], dict.fromkeys(golden["row"], 0.0) | {"querySelectorAll": False}],
    )

    def score(self, encoded: Any) -> Any:
        return np.nan_to_num(encoded).sum(axis=1)


@pytest.fixture
def odd(browser: Browser) -> Iterator[Visitor]:
    yield from visited(browser, {"odd": Odd})


def test_names_that_objects_and_forms_have_are_fields(odd: Visit) -> None:
    page = odd()
    settled(page)
    expect(page.locator(".field.wrong")).to_have_count(0)
    page.get_by_label("The __proto__").fill("20")
    page.get_by_label("The constructor").fill("")
    page.get_by_label("The flag").select_option("false")
    settled(page)
    expect(prediction(page)).to_have_text("21.00")
    page.reload(wait_until="networkidle")
    expect(prediction(page)).to_have_text("21.00")
    page.locator(".code > summary").click()
    run = subprocess.run([sys.executable, "-c", snippet(page, "Python")], capture_output=True, check=True, text=True)
    assert json.loads(run.stdout) == [21.0]
    page.locator("#pin").click()
    page.locator("[data-example='']").click()
    settled(page)
    expect(page.locator("#comparerows tr", has_text="The constructor")).to_have_text(re.compile("3.*not known"))
    # All of it is on paper: nothing scrolls there, and nothing stays where it would on the screen.
    page.emulate_media(media="print")
    for part, style, wanted in ((".scroll", "max-height", "none"), ("thead th", "position", "static")):
        expect(page.locator(f"#compare {part}").first).to_have_css(style, wanted)
    page.emulate_media(media="screen")
    # What the form cannot take is named, until another record is there.
    drop(page, "odd.csv", b"reset,constructor\n1,many\n")
    page.get_by_role("button", name="Open line 2 in the form").click()
    expect(page.locator("#lost")).to_have_text("The row has values that this form cannot take: constructor.")
    page.locator("[data-example='']").click()
    expect(page.locator("#lost")).to_be_hidden()
    drop(page, "other.csv", b"a,b\n1,2\n")
    expect(page.locator("#filetrouble")).to_contain_text("The header has no field of the model, such as reset.")
    gone = "&".join(f"gone{number}=1" for number in range(12))
    page.goto(f"{page.url.partition('#')[0]}#querySelectorAll=maybe&{gone}")
    expect(page.locator("#lost")).to_contain_text("querySelectorAll, gone0")
    expect(page.locator("#lost")).to_contain_text("gone8 and 3 more.")


@pytest.fixture
def bookings(browser: Browser) -> Iterator[Visitor]:
    yield from visited(browser, {"bookings": Bookings})


def visited(browser: Browser, loads: dict[str, Loader]) -> Iterator[Visitor]:
    server = make_server("127.0.0.1", 0, create_app(Settings(), loads), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    visitor = Visitor(browser, f"http://127.0.0.1:{server.port}/", [], f"try/{next(iter(loads))}")
    yield visitor
    for context in browser.contexts:
        context.close()
    server.shutdown()
    thread.join()
    server.server_close()
    assert visitor.wrong == []


def test_field_is_found_by_its_words(houses: Visit) -> None:
    page = houses()
    assert page.locator(".first .field").count() == 10
    assert page.locator(".group").count() == 2
    field = page.get_by_label("Count of kind 11")
    expect(field).to_be_hidden()
    page.get_by_label("Find a field").fill("KIND 11")
    expect(field).to_be_visible()
    expect(page.locator("#found")).to_have_text("1 field found")
    expect(page.locator(".group").nth(1)).to_be_hidden()
    page.get_by_label("Find a field").fill("no such thing")
    expect(page.locator("#found")).to_have_text("No field found")
    page.get_by_label("Find a field").fill("")
    expect(field).to_be_hidden()
    expect(page.locator(".group").nth(1)).to_be_visible()


def test_group_says_what_is_changed_and_wrong_in_it(houses: Visit) -> None:
    page = houses()
    group = page.locator(".group", has_text="Counts")
    group.locator("summary").click()
    page.get_by_label("Count of kind 11").fill("3")
    # Once the answer is there: training saw nothing but ones.
    expect(group.locator(".marks")).to_have_text("1 to look at1 changed")
    group.locator("summary").click()
    page.evaluate("document.querySelector('[name=x11]').value = '3.5'")
    page.get_by_label("Area of all floors").fill("101")
    expect(group.locator(".marks")).to_have_text("1 wrong1 changed")
    expect(page.get_by_label("Count of kind 11")).to_be_visible()


def test_parts_keep_adding_up_to_their_whole(houses: Visit) -> None:
    page = houses()
    area, ground, upper = (page.locator(f"[name={name}]") for name in ("area", "ground", "upper"))
    area.fill("200")
    expect(ground).to_have_value("134")
    expect(upper).to_have_value("66")
    area.fill("101")
    assert int(ground.input_value()) + int(upper.input_value()) == 101
    ground.fill("70")
    expect(area).to_have_value(str(70 + int(upper.input_value())))
    area.fill("")
    area.fill("50.5")
    assert float(ground.input_value()) + float(upper.input_value()) == pytest.approx(50.5)


def test_unit_that_is_no_currency_follows_its_number(houses: Visit) -> None:
    page = houses()
    expect(page.get_by_role("heading", level=1)).to_have_text("Value of a house")
    expect(prediction(page)).to_have_text("112.00 quids")
    assert page.locator("#axis span").all_text_contents() == ["50", "100", "150", "200"]


def test_prediction_is_marked_on_the_distribution(houses: Visit) -> None:
    page = houses()
    line = page.locator("#spread line.here")
    expect(line).to_have_attribute("x1", str(400 * (112 - 50) / 150))
    page.get_by_label("Area of all floors").fill("1000")
    expect(line).to_have_attribute("x1", "400")
    page.get_by_label("Area of all floors").fill("-1")
    expect(line).to_have_count(0)


def test_controls_of_dates_and_booleans_send_json(bookings: Visit) -> None:
    page = bookings()
    settled(page)
    sent: list[dict[str, Any]] = []

    def remember(route: Route) -> None:
        sent.append(json.loads(route.request.post_data or "")[0])
        route.continue_()

    page.route("**/v1/predict/**", remember)
    assert page.locator(".field.changed").count() == 0
    page.get_by_label("Breakfast is included").select_option("no")
    page.get_by_label("Day of arrival").fill("2031-05-01")
    page.get_by_label("When the room was booked").fill("2024-05-02T08:15:30")
    page.get_by_label("When the room was paid").fill("2024-06-01 18:00+02:00")
    page.get_by_label("Day of departure").fill("")
    message = page.locator("[data-field=arrival] .message")
    expect(message).to_contain_text("2031-05-01 is after what training saw")
    settled(page)
    expected = BOOKING | {
        "breakfast": False,
        "arrival": "2031-05-01",
        "booked": "2024-05-02T08:15:30",
        "paid": "2024-06-01 18:00+02:00",
    }
    del expected["left"]
    assert sent[-1] == expected
    page.get_by_label("When the room was paid").fill("2024-06-01 18:00")
    expect(page.locator("[data-field=paid] .message")).to_contain_text("The time zone is missing")
    page.get_by_role("button", name="Random").click()
    settled(page)
    expect(page.locator(".field.wrong")).to_have_count(0)


def test_dropped_file_has_dates_in_the_format_of_its_fields(bookings: Visit) -> None:
    page = bookings()
    header = "nights,breakfast,arrival,booked,paid"
    right = "2,YES,01/07/2024,1/5/2024 18:30,2024-06-01T16:00:00Z"
    iso = "2,1,2024-07-01,2024-05-01 18:30,2024-06-01 18:00+02:00"
    wrong = "2,maybe,07/31/2024,,"
    drop(page, "bookings.csv", f"{header}\n{right}\n{iso}\n{wrong}\n".encode())
    expect(page.locator("#result")).to_be_visible()
    first, second, third = csv.DictReader(io.StringIO(download(page)))
    assert first["prediction"] == second["prediction"] != ""
    assert (first["arrival"], first["error"]) == ("01/07/2024", "")
    assert third["error"] == (
        "breakfast: Not a valid boolean; expected true or false.;"
        " arrival: Not a valid date; expected YYYY-MM-DD, in files also DD/MM/YYYY."
    )


def test_page_reads_dates_as_the_command_line_does(bookings: Visit) -> None:
    texts = {
        ("date", "%d/%m/%Y"): ["1/2/2024", "31/12/2024", "13/13/2024", "2024-12-31", "01/02/24", " 01/02/2024 ", "NA"],
        ("date", "%d.%m.%y"): ["31.12.68", "31.12.69", "1.1.00", "31-12-68"],
        ("date", "%b %d, %Y"): ["Dec 31, 2024", "dec  1, 2024", "December 1, 2024"],
        ("date", "%A %d %B %Y"): ["Tuesday 31 December 2024", "Tue 31 December 2024"],
        ("date", "%d/%m/%Y %H:%M"): ["31/12/2024 00:00", "31/12/2024 0:00", "31/12/2024 01:00"],
        ("datetime", "%m/%d/%Y %I:%M %p"): [
            "12/31/2024 06:30 PM",
            "1/1/2024 12:00 am",
            "1/1/2024 12:05 pm",
            "1/1/2024 0:05 am",
        ],
        ("datetime", "%Y/%m/%d %H:%M:%S.%f"): ["2024/12/31 18:30:05.25", "2024/12/31 18:30:05"],
        ("datetime", "(%Y) %d+%m %H:%M"): ["(2024) 31+12 08:00", "2024 31+12 08:00"],
    }
    cases = [(Field("x", kind, "", format=format_), text) for (kind, format_), found in texts.items() for text in found]  # type: ignore[arg-type]
    read = """async (cases) => {
      const csv = await import(document.querySelector("script[src]").src.replace("page.js", "csv.js"));
      return cases.map(([field, text]) => csv.value(field, text));
    }"""
    sent = [[{"kind": field.kind, "format": field.format}, text] for field, text in cases]
    for (field, text), value in zip(cases, bookings().evaluate(read, sent), strict=True):
        expected = parse_cell(field, text)
        # Fractions of a second may be written shorter: what both mean is compared.
        assert (value and parse_cell(replace(field, format=None), value)) == expected, (field.format, text)


def test_target_that_is_zero_or_negative_and_has_no_unit(houses: Visit) -> None:
    page = houses("try/shifts")
    expect(page.get_by_role("heading", level=1)).to_have_text("Predicted phase shift")
    expect(prediction(page)).to_have_text("0.00")
    assert page.locator("#axis span").all_text_contents() == ["−2", "−0.67", "0.67", "2"]
    page.get_by_label("Input").fill("-0.5")
    page.locator("#level").select_option("0.95")
    expect(prediction(page)).to_have_text("−0.50")
    expect(page.locator("#rangetext")).to_have_text("−1.50 to 0.50")
    expect(page.locator("#spread line.here")).to_have_attribute("x1", "150")
    band = page.locator("#spread rect.band")
    expect(band).to_have_attribute("x", "50")
    expect(band).to_have_attribute("width", "200")
    steps = page.locator("#falls li")
    expect(steps).to_have_count(3)
    expect(steps.nth(1)).to_have_text("Input-0.5−0.50")
    expect(steps.last).to_contain_text("This record")
    drop(page, "shifts.csv", b"x\n-0.5\n0\n1e9\n")
    expect(page.locator("#tiles")).to_contain_text("Median0.00")
    assert page.locator("#manyaxis span").all_text_contents() == ["−0.5", "333M", "667M", "1B"]
    assert is_within_its_width(page)


WRITE = """async ([unit, spread, values]) => {
  const { writer } = await import(document.querySelector("script[src]").src.replace("page.js", "numbers.js"));
  const { full, short, signed } = writer(unit, spread);
  return values.map((value) => [full(value), short(value), signed(value)]);
}"""


@pytest.mark.parametrize(
    ("unit", "spread", "expected"),
    [
        ("USD", 700_000, {214876.5: ["$214,877", "$215K", "+$214,877"], -42.5: ["−$42.50", "−$42.5", "−$42.50"]}),
        ("EUR", 0, {12.345: ["€12.35", "€12.3", "+€12.35"], 0.003: ["€0.003", "€0.003", "+€0.003"]}),
        ("mm", 300, {0: ["0.00 mm", "0", "+0.00"], 1013.254: ["1,013 mm", "1.01K", "+1,013"]}),
        ("hPa", 60, {1013.254: ["1,013.3 hPa", "1,013.3", "+1,013.3"]}),
        ("", 2e9, {1e9: ["1,000,000,000", "1B", "+1B"], -1.23456e9: ["−1,234,560,000", "−1.23B", "−1.2346B"]}),
        ("", 0, {3e-8: ["3E−8", "3E−8", "+3E−8"], 1e22: ["1E22", "1E22", "+1E22"]}),
    ],
)
def test_values_of_any_magnitude_and_unit(
    visit: Visit, unit: str, spread: float, expected: dict[float, list[str]]
) -> None:
    assert visit().evaluate(WRITE, [unit, spread, list(expected)]) == list(expected.values())
