"""The panel's first page: counts that equal the tables, nothing inline, open on this machine only."""

import re

import httpx
import sqlalchemy as sa

from oracle_api.headers import PANEL_POLICY
from oracle_lib import clock
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import segments
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


def test_the_report_is_shown_as_it_was_kept(client: httpx.Client, store: Store, settings: Settings) -> None:
    assert client.get(f"{PAGE}/ceo-report").status_code == 404
    now = clock.now()
    with store.transaction() as conn:
        report = ceo_report.make(conn, clock.newest_closed_week(now), now, settings=settings)
    assert report.markdown.splitlines()[0] in client.get(f"{PAGE}/ceo-report").text
    assert f'href="{PAGE}/ceo-report"' in client.get(PAGE).text


def test_who_is_not_on_this_machine_needs_an_admins_key(store: Store, client_with: MakeClient) -> None:
    with store.transaction() as conn:
        admin, reader = make_key(conn, "admin"), make_key(conn, "users:read")
    elsewhere = Settings(environment="test", api_host="0.0.0.0")
    forwarded = Settings(environment="test", api_hosts="oracle.example,127.0.0.1")
    for settings, host in ((elsewhere, "127.0.0.1"), (forwarded, "oracle.example")):
        with serving(store, settings) as address, httpx.Client(base_url=address, headers={"Host": host}) as client:
            keys = ({}, {"X-API-Key": reader}, {"X-API-Key": admin})
            assert [client.get(PAGE, headers=key).status_code for key in keys] == [401, 403, 200]
