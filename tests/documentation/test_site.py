"""The site that `make site` built, as a browser shows it from the disk: it searches without a server or a network."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from check_site import SITE


@pytest.mark.parametrize(("words", "page"), [("MAX_WARNED", "Settings"), ("golden row", "skew"), ("from_json", "")])
def test_search_finds_pages_from_the_disk(words: str, page: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        tab: Page = browser.new_page()
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(f"{(SITE / 'search.html').as_uri()}?q={words}")
        if page:
            expect(tab.locator("#search-results li", has_text=page).first).to_be_visible(timeout=30_000)
        assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
        browser.close()
