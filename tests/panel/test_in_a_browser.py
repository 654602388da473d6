"""The panel as a person sees it: real Chromium, no console error, no violation of the policy, nothing foreign."""

import shutil
from collections.abc import Iterator
from datetime import date

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, sync_playwright

from oracle_lib import clock
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import segments
from oracle_lib.tell import ceo_report

PAGE = "/admin/oracle"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
    " --disable-sync --no-first-run"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "These tests need Chromium: `apt-get install chromium`, or your system's package of it."
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=found, args=FLAGS.split())
        yield made
        made.close()


@pytest.fixture
def said() -> list[str]:
    """What the page complained of."""
    return []


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, request: pytest.FixtureRequest, said: list[str], base_url: str) -> Iterator[Page]:
    made = browser.new_page(color_scheme=request.param, viewport={"width": 1280, "height": 800})
    made.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
    made.on("pageerror", lambda error: said.append(str(error)))
    made.on("request", lambda asked: None if asked.url.startswith(base_url) else said.append(asked.url))
    yield made
    made.close()


@pytest.fixture
def lived_in(store: Store, settings: Settings) -> None:
    """A database with segments of every level and a report."""
    with store.transaction() as conn:
        levels = ("new", "active", "moderate", "dormant", "lost")
        rows = [{"user_id": f"u{n}", "engagement_level": levels[n % 5]} for n in range(40)]
        conn.execute(sa.insert(segments), rows)
        ceo_report.make(conn, date(2026, 3, 1), clock.now(), settings=settings)


def test_the_overview_is_drawn_without_a_complaint(page: Page, base_url: str, said: list[str], lived_in: None) -> None:
    page.goto(base_url + PAGE)
    assert page.get_by_role("heading", level=1).inner_text() == "Overview"
    bars = page.locator("table.engagement rect")
    assert bars.count() == 5
    assert all((box := bars.nth(n).bounding_box()) and box["width"] > 20 for n in range(5))
    assert said == []


def test_the_report_is_read_from_the_overview(page: Page, base_url: str, said: list[str], lived_in: None) -> None:
    page.goto(base_url + PAGE)
    page.get_by_role("link", name="CEO report").click()
    assert page.get_by_role("heading", level=1).inner_text() == "The week of 1 March 2026"
    assert page.get_by_role("table").count() > 3
    assert "Active users" in page.locator("main").inner_text()
    assert said == []


@pytest.mark.parametrize("width", [390, 1024])
def test_no_page_scrolls_sideways(page: Page, base_url: str, lived_in: None, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for path in (PAGE, f"{PAGE}/ceo-report"):
        page.goto(base_url + path)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
