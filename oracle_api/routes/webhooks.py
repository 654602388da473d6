"""Where e-mail providers tell what became of messages, and post answers to them.

No key: the provider's signature stands for one, or the password in the URL that it posts to. Either is checked before a
connection to the database is taken, a signature on the raw bytes. 200 leaves after the commit that keeps the events;
what they say is worked in later, so a provider never waits for it. Guarantee G7:
`tests/guarantees/test_g7_outcomes_are_counted_once.py`; answers: `tests/api/test_replies_api.py`.
"""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from sqlalchemy import Connection

from oracle_api import document
from oracle_api.deps import Body, Config, Conn, Now
from oracle_api.schemas.work import WebhookAnswer
from oracle_lib.errors import NotFound, Unknown
from oracle_lib.execute import reply_addresses
from oracle_lib.learn.webhooks import inbox, replies, signatures
from oracle_lib.learn.webhooks.inbox import Told
from oracle_lib.learn.webhooks.replies import Inbound
from oracle_lib.settings import Settings

router = APIRouter(prefix="/api/oracle/webhooks", tags=["webhooks"], responses=document.ERRORS)
_NO_KEY = {"security": []}
_FORM = "multipart/form-data"


async def from_resend(request: Request, body: Body, settings: Config, now: Now) -> list[Told]:
    """Return the one event of a body that Resend signed. Raises `NotFound` without a secret, and `Unknown`."""
    if settings.resend_webhook_secret is None:
        raise NotFound("Webhooks of Resend are not set up: ORACLE_RESEND_WEBHOOK_SECRET is not set.")
    secret = settings.resend_webhook_secret.get_secret_value()
    return [Told(signatures.check_svix(secret, request.headers, body, now), body)]


async def from_sendgrid(request: Request, body: Body, settings: Config, now: Now) -> list[Told]:
    """Return the events of a body that SendGrid signed. Raises `NotFound` without a key, and `Unknown`."""
    if not settings.sendgrid_webhook_key:
        raise NotFound("Webhooks of SendGrid are not set up: ORACLE_SENDGRID_WEBHOOK_KEY is not set.")
    signatures.check_sendgrid(settings.sendgrid_webhook_key, request.headers, body, now)
    return inbox.split(body)


def from_inbound_parse(request: Request, body: Body, settings: Config) -> Inbound:
    """Return the letter that SendGrid posts. Raises `NotFound` where that is not set up, and `Unknown`."""
    if settings.sendgrid_inbound_password is None or not settings.reply_address:
        raise NotFound("Answers are not taken: ORACLE_SENDGRID_INBOUND_PASSWORD or ORACLE_REPLY_ADDRESS is not set.")
    if not replies.is_password(_password(request), settings.sendgrid_inbound_password.get_secret_value()):
        raise Unknown("The password in the URL of the webhook is not the one of ORACLE_SENDGRID_INBOUND_PASSWORD.")
    return replies.by_sendgrid(request.headers.get("content-type", ""), body)


def _password(request: Request) -> str:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    try:
        credentials = base64.b64decode(given.strip(), validate=True).decode()
    except ValueError:
        return ""
    return credentials.partition(":")[2] if scheme.lower() == "basic" else ""


@router.post("/resend", openapi_extra={**_NO_KEY, **document.reads({"type": "object"})})
def resend(
    events: Annotated[Sequence[Told], Depends(from_resend)], conn: Conn, settings: Config, now: Now
) -> WebhookAnswer:
    """Keep what Resend tells, once; of a letter that it received, only which action it answers."""
    [event] = events
    came = replies.by_resend(event.raw)
    if came is None:
        return WebhookAnswer(kept=inbox.keep(conn, "resend", events, now))
    return WebhookAnswer(kept=_answered(conn, came, event.event_id, settings, now))


@router.post("/sendgrid-inbound", openapi_extra={**_NO_KEY, **document.reads({"type": "object"}, _FORM)})
def sendgrid_inbound(
    came: Annotated[Inbound, Depends(from_inbound_parse)], conn: Conn, settings: Config, now: Now
) -> WebhookAnswer:
    """Keep which action a letter answers, and nothing else of it."""
    return WebhookAnswer(kept=_answered(conn, came, "", settings, now))


def _answered(conn: Connection, came: Inbound, event_id: str, settings: Settings, now: datetime) -> int:
    addresses = reply_addresses.of_installation(conn, settings)
    return 0 if addresses is None else replies.keep(conn, came, event_id, addresses, now)


@router.post("/sendgrid", openapi_extra={**_NO_KEY, **document.reads({"type": "array"})})
def sendgrid(events: Annotated[Sequence[Told], Depends(from_sendgrid)], conn: Conn, now: Now) -> WebhookAnswer:
    """Keep what SendGrid tells, each event once."""
    return WebhookAnswer(kept=inbox.keep(conn, "sendgrid", events, now))
