"""Web push: the key that browsers subscribe to, their subscriptions, and the two scripts that a product takes over.

The product's backend hands a subscription on with its own API key: a browser holds none.
"""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, status
from fastapi.responses import FileResponse

from oracle_api.auth import needs
from oracle_api.deps import Config, Conn, Now
from oracle_api.schemas.channels import EndpointAsked, PushKeyOut, SubscriptionIn, SubscriptionOut
from oracle_api.schemas.words import Id
from oracle_lib.errors import NotFound
from oracle_lib.execute import push_subscriptions

router = APIRouter(prefix="/api/oracle", tags=["channels"])
scripts = APIRouter(prefix="/push", include_in_schema=False)
_STATIC = Path(__file__).parents[1] / "static" / "push"
_SCRIPTS = ("service-worker.js", "opt-in.js")


@router.get("/push/key", dependencies=[needs("users:read")])
def key(conn: Conn, settings: Config) -> PushKeyOut:
    """Return the public key that browsers subscribe to."""
    # Not at import: a server that only takes events does without cryptography.
    from oracle_lib.execute.channels import vapid

    return PushKeyOut(public_key=vapid.public_key(conn, settings))


@router.post("/users/{user_id:path}/push-subscriptions", dependencies=[needs("users:write")])
def subscribe(conn: Conn, now: Now, settings: Config, user_id: Id, body: SubscriptionIn) -> SubscriptionOut:
    """Keep a browser's subscription; the same again changes nothing, that of another user's browser moves here."""
    device = push_subscriptions.subscribe(
        conn,
        user_id,
        endpoint=body.endpoint,
        p256dh=body.keys.p256dh,
        auth=body.keys.auth,
        expires_at=body.expires_at,
        now=now,
        internal=settings.internal_endpoints,
    )
    return SubscriptionOut.model_validate(device)


@router.delete(
    "/users/{user_id:path}/push-subscriptions",
    dependencies=[needs("users:write")],
    status_code=status.HTTP_204_NO_CONTENT,
)
def unsubscribe(conn: Conn, user_id: Id, asked: Annotated[EndpointAsked, Query()]) -> None:
    """Forget a browser; nothing happens where it is not known."""
    push_subscriptions.unsubscribe(conn, user_id, asked.endpoint)


@scripts.get("/{name}")
async def script(name: str) -> FileResponse:
    """Return one of the scripts. Public: there is nothing in them."""
    if name not in _SCRIPTS:
        raise NotFound(f"There is no file {name!r}.")
    return FileResponse(_STATIC / name, media_type="text/javascript", headers={"Cache-Control": "public, max-age=300"})
