"""A push message from the rule's words to the notification and back: real Chromium, our scripts, a product's backend.

Chromium's own push service is not reachable: what it hands out and passes on comes from `tests/providers/push.py`.
"""

import json
from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from playwright.sync_api import Browser, BrowserContext, Page

from oracle_lib import clock
from oracle_lib.learn import outcomes
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import outcomes as kept
from oracle_lib.storage.tables import users
from tests.api.conftest import serving_app
from tests.panel.test_in_a_browser import browser
from tests.providers.push import PushService
from tests.providers.wire import serving

__all__ = ["browser"]
WORKER = "/service-worker.js?opened=/push/opened&subscribe=/push/subscribe"
TURN_ON = """async ([key, worker]) => {
    const { turnOn } = await import("/opt-in.js");
    return turnOn({ key, worker, subscribe: "/push/subscribe" });
}"""
SHOWN = """async () => {
    const registration = await navigator.serviceWorker.ready;
    return (await registration.getNotifications()).map(({ title, body, tag }) => ({ title, body, tag }));
}"""
CLICK = """async () => {
    const [notification] = await self.registration.getNotifications();
    self.dispatchEvent(new NotificationEvent("notificationclick", { notification }));
}"""


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(
        database_url=database_url,
        environment="test",
        push_channel="webpush",
        vapid_subject="mailto:ops@academy.example",
        internal_endpoints=True,
    )


def backend(oracle: httpx.Client) -> FastAPI:
    """What docs/push.md asks of a product, for its one user u1."""
    app = FastAPI()

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse("<!doctype html><title>The academy</title>")

    @app.get("/favicon.ico")
    def icon() -> Response:
        return Response(status_code=204)

    @app.get("/{name}")
    def script(name: str) -> Response:
        return Response(oracle.get(f"/push/{name}").content, media_type="text/javascript")

    @app.post("/push/subscribe")
    async def subscribe(request: Request) -> Response:
        answer = oracle.post("/api/oracle/users/u1/push-subscriptions", json=await request.json())
        return Response(status_code=answer.status_code)

    @app.post("/push/opened")
    async def opened(request: Request) -> Response:
        said = await request.json()
        event = {
            "userId": "u1",
            "event": said["event"],
            "source": "push",
            "messageId": f"push_open/{said['actionId']}",
            "metadata": {"actionId": said["actionId"]},
        }
        return Response(status_code=oracle.post("/api/oracle/events", json=event).status_code)

    return app


@pytest.fixture
def service() -> Iterator[PushService]:
    with serving(PushService()) as made:
        yield made


@pytest.fixture
def academy(client: httpx.Client) -> Iterator[str]:
    with serving_app(backend(client)) as address:
        yield address


@pytest.fixture
def context(browser: Browser, academy: str) -> Iterator[BrowserContext]:
    made = browser.new_context()
    made.grant_permissions(["notifications"], origin=academy)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, academy: str, service: PushService) -> Page:
    made = context.new_page()
    given = json.dumps(service.joined("laptop").subscription(service.url))
    made.add_init_script(f"PushManager.prototype.subscribe = async () => ({given});")
    made.goto(academy)
    return made


def deliver(page: Page, academy: str, data: bytes) -> None:
    """Pass a decrypted message to the service worker, as the browser does."""
    session = page.context.new_cdp_session(page)
    registrations: list[str] = []
    session.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda said: registrations.extend(one["registrationId"] for one in said["registrations"]),
    )
    session.send("ServiceWorker.enable")
    while not registrations:
        page.wait_for_timeout(20)
    message = {"origin": academy, "registrationId": registrations[0], "data": data.decode()}
    session.send("ServiceWorker.deliverPushMessage", message)


def wait_for_shown(page: Page, count: int) -> list[dict[str, str]]:
    for _ in range(200):
        shown: list[dict[str, str]] = page.evaluate(SHOWN)
        if len(shown) == count:
            return shown
        page.wait_for_timeout(50)
    raise AssertionError(f"{len(shown)} notifications, not {count}")


def test_a_push_message_is_asked_for_shown_clicked_and_counted_as_opened(
    client: httpx.Client, store: Store, settings: Settings, service: PushService, page: Page, academy: str
) -> None:
    with store.transaction() as conn:
        conn.execute(sa.insert(users).values(id="u1", is_test=True))
    key = client.get("/api/oracle/push/key").json()["publicKey"]
    assert page.evaluate(TURN_ON, [key, WORKER]) == "on"

    draft = {"userId": "u1", "actionType": "push", "subject": "Welcome back", "content": "Lesson 4 waits"}
    action = client.post("/api/oracle/actions", json=draft).json()
    client.patch(f"/api/oracle/actions/{action['id']}", json={"status": "approved"})
    sent = client.post("/api/oracle/execute", json={"actionId": action["id"]}).json()["action"]
    assert (sent["status"], sent["channel"]) == ("executed", "webpush")

    opened = service.browsers["laptop"].opened(service.requests[0].body)
    for _ in range(2):
        deliver(page, academy, opened)
    expected = {"title": "Welcome back", "body": "Lesson 4 waits", "tag": action["id"]}
    assert wait_for_shown(page, 1) == [expected]

    page.context.service_workers[0].evaluate(CLICK)
    wait_for_shown(page, 0)
    for _ in range(200):
        if client.get("/api/oracle/events?userId=u1&event=push_open").json()["events"]:
            break
        page.wait_for_timeout(50)
    with store.transaction() as conn:
        outcomes.attribute(conn, now=clock.now(), settings=settings)
        assert set(conn.scalars(sa.select(kept.c.kind))) == {"delivered", "opened"}


def test_who_says_no_is_not_subscribed(browser: Browser, academy: str, service: PushService) -> None:
    page = browser.new_page()
    page.goto(academy)
    assert page.evaluate(TURN_ON, ["", WORKER]) == "denied"
    page.close()


def test_scripts_are_served_to_everybody_and_nothing_else_is(base_url: str) -> None:
    for name in ("service-worker.js", "opt-in.js"):
        answer = httpx.get(f"{base_url}/push/{name}")
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/javascript")
    for name in ("..%2f..%2fapp.py", "other.js"):
        assert httpx.get(f"{base_url}/push/{name}").status_code == 404
