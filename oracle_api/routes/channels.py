"""`/api/oracle/channels`: whether a channel works, tried with a test message."""

from typing import Annotated

from fastapi import APIRouter

from oracle_api.auth import needs
from oracle_api.deps import Config, Conn, Now, Sender
from oracle_api.schemas.channels import TestIn, TestOut
from oracle_lib.access import Caller
from oracle_lib.execute import trial

router = APIRouter(prefix="/api/oracle/channels", tags=["channels"])


@router.post("/{action_type}/test")
def test(
    *,
    conn: Conn,
    store: Sender,
    settings: Config,
    now: Now,
    caller: Annotated[Caller, needs("admin")],
    action_type: str,
    body: TestIn,
) -> TestOut:
    """Send a test message now and say what the provider said."""
    # The provider is asked between two transactions; the request's own must not stay open meanwhile.
    conn.commit()
    tried = trial.send(store, action_type, body.to, settings=settings, actor=f"key:{caller.id}", now=now)
    return TestOut.model_validate(tried)
