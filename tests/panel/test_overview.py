"""The panel's first page: counts that equal the tables, nothing inline, open on this machine only."""

import re
from datetime import date

import httpx
import sqlalchemy as sa

from oracle_api.headers import PANEL_POLICY
from oracle_lib import clock
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import reports, segments
from oracle_lib.tell import ceo_report
from tests.api.conftest import MakeClient, make_key, serving

PAGE = "/admin/oracle"


def test_the_page_counts_what_stands_in_the_tables(client: httpx.Client, store: Store) -> None:
    with store.transaction() as conn:
        rows = [{"user_id": f"u{n}", "engagement_level": "active" if n < 3 else "lost"} for n in range(5)]
        conn.execute(sa.insert(segments), rows)
    client.post("/api/oracle/events", json={"userId": "u1", "event": "login"})
    client.post("/api/oracle/actions", json={"userId": "u1", "actionType": "dm", "content": "Hello"})
    page = client.get(PAGE)
    figures = dict(re.findall(r'class="label">([^<]+)</p>\s*<p class="value">([^<]+)<', page.text))
    assert figures == {"Users": "5", "Pending actions": "1", "Approved actions": "0", "Events today": "1"}
    bars = dict(re.findall(r'<th scope="row">(\w+)</th>.*?class="number">(\d+)<', page.text, re.DOTALL))
    assert (bars["active"], bars["lost"], bars["pending"]) == ("3", "2", "1")
    assert "u1" not in page.text


def test_the_page_keeps_to_the_strict_policy(client: httpx.Client) -> None:
    page = client.get(PAGE)
    assert page.headers["Content-Security-Policy"] == PANEL_POLICY
    assert not re.search(r"style=|<style|<script|\son\w+=|https?://(?!127\.0\.0\.1)", page.text)
    style = client.get(f"{PAGE}/static/panel.css")
    assert (style.status_code, style.headers["Content-Type"]) == (200, "text/css; charset=utf-8")
    assert client.get(f"{PAGE}/static/pages.py").status_code == 404


def test_the_report_shows_every_kept_figure_with_its_definition(
    client: httpx.Client, store: Store, settings: Settings
) -> None:
    assert client.get(f"{PAGE}/ceo-report").status_code == 404
    now = clock.now()
    with store.transaction() as conn:
        report = ceo_report.make(conn, clock.newest_closed_week(now), now, settings=settings)
    page = client.get(f"{PAGE}/ceo-report").text
    assert f'href="{PAGE}/ceo-report"' in client.get(PAGE).text
    shown = re.findall(r'<tr id="(\w+)" title="([^"]+)">', page)
    assert shown == [(one["id"], one["definition"]) for one in report.body["figures"]]
    assert page.count("<td") == 3 * len(shown) == page.count(">no data</td>")


def test_the_report_writes_numbers_in_words_and_names_as_text(client: httpx.Client, store: Store) -> None:
    figures = [
        {"id": "revenue", "value": "1234.50", "before": "2000.00", "change": "-765.50", "unit": "money"},
        {"id": "open_rate", "value": 41.0, "before": 46.2, "change": -5.2, "unit": "percent"},
        {"id": "opened", "value": 1451, "before": 1451, "change": 0, "unit": "count"},
    ]
    said = {"section": "Money", "label": "A figure", "definition": "What it means."}
    rule = {"rule": "<b>Nudge</b>", "executed": 1, "opened": 1, "clicked": 0, "converted": 0, "conversionRate": None}
    body = {
        "currency": "USD",
        "figures": [{**said, **one} for one in figures],
        "byType": [{"actionType": "dm", "proposed": 1, "approved": 1, "rejected": 0, "executed": 1, "failed": 0}],
        "byRule": [{**rule, "revenue": "0.00"}],
    }
    with store.transaction() as conn:
        conn.execute(sa.insert(reports).values(kind="ceo", week=date(2026, 2, 22), figures=body, markdown="-"))
    page = client.get(f"{PAGE}/ceo-report")
    cells = re.findall(r"<td[^>]*>([^<]+)</td>", page.text)
    assert cells[:9] == [
        "1,234.50 USD", "2,000.00 USD", "\N{MINUS SIGN}765.50 USD", "41.0 %", "46.2 %", "\N{MINUS SIGN}5.2 points",
        "1,451", "1,451", "0",
    ]  # fmt: skip
    assert '<th scope="row">&lt;b&gt;Nudge&lt;/b&gt;</th>' in page.text
    assert '<th scope="row">DM</th>' in page.text
    assert not re.search(r"style=|<style|<script|\son\w+=", page.text)


def test_who_is_not_on_this_machine_needs_an_admins_key(store: Store, client_with: MakeClient) -> None:
    with store.transaction() as conn:
        admin, reader = make_key(conn, "admin"), make_key(conn, "users:read")
    elsewhere = Settings(environment="test", api_host="0.0.0.0")
    forwarded = Settings(environment="test", api_hosts="oracle.example,127.0.0.1")
    public = Settings(environment="test", public_url="https://oracle.example")
    for settings, host in ((elsewhere, "127.0.0.1"), (forwarded, "oracle.example"), (public, "oracle.example")):
        with serving(store, settings) as address, httpx.Client(base_url=address, headers={"Host": host}) as client:
            keys = ({}, {"X-API-Key": reader}, {"X-API-Key": admin})
            assert [client.get(PAGE, headers=key).status_code for key in keys] == [401, 403, 200]
