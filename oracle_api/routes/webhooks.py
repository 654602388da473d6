"""Where e-mail providers tell what became of messages. No key: the provider's signature stands for one.

The signature is checked on the raw bytes before a connection to the database is taken. 200 leaves after the commit that
keeps the events; what they say is worked in later, so a provider never waits for it. Guarantee G7:
`tests/guarantees/test_g7_outcomes_are_counted_once.py`.
"""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from oracle_api import document
from oracle_api.deps import Body, Config, Conn, Now
from oracle_api.schemas.work import WebhookAnswer
from oracle_lib.errors import NotFound
from oracle_lib.learn.webhooks import inbox, signatures
from oracle_lib.learn.webhooks.inbox import Told

router = APIRouter(prefix="/api/oracle/webhooks", tags=["webhooks"], responses=document.ERRORS)
_NO_KEY = {"security": []}


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


@router.post("/resend", openapi_extra={**_NO_KEY, **document.reads({"type": "object"})})
def resend(events: Annotated[Sequence[Told], Depends(from_resend)], conn: Conn, now: Now) -> WebhookAnswer:
    """Keep what Resend tells, once."""
    return WebhookAnswer(kept=inbox.keep(conn, "resend", events, now))


@router.post("/sendgrid", openapi_extra={**_NO_KEY, **document.reads({"type": "array"})})
def sendgrid(events: Annotated[Sequence[Told], Depends(from_sendgrid)], conn: Conn, now: Now) -> WebhookAnswer:
    """Keep what SendGrid tells, each event once."""
    return WebhookAnswer(kept=inbox.keep(conn, "sendgrid", events, now))
