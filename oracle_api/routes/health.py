"""`/healthz` and `/readyz`: whether the process lives, and whether it can do its work. Public; they show no data."""

from datetime import datetime

import sqlalchemy as sa
from fastapi import APIRouter
from sqlalchemy import Connection

from oracle_api.deps import Conn, Now
from oracle_api.schemas.work import Alive, Ready
from oracle_lib.errors import Transient
from oracle_lib.observe import ingest
from oracle_lib.storage import migrate
from oracle_lib.storage.tables import actions

router = APIRouter(tags=["health"])
_NO_KEY = {"security": []}


@router.get("/healthz", openapi_extra=_NO_KEY)
async def alive() -> Alive:
    """Say that the process answers."""
    return Alive()


@router.get("/readyz", openapi_extra=_NO_KEY)
def ready(conn: Conn, now: Now) -> Ready:
    """Say that the database answers and stands at this version, and for how long work has been waiting."""
    stands, wanted = migrate.revision(conn), migrate.head()
    if stands != wanted:
        raise Transient(f"The database stands at {stands}, this version needs {wanted}: run `oracle migrate`.")
    return Ready(
        migration=stands,
        oldest_dirty_seconds=_age(ingest.oldest_dirty(conn), now),
        oldest_approved_seconds=_age(_oldest_approved(conn), now),
    )


def _oldest_approved(conn: Connection) -> datetime | None:
    waiting = sa.select(sa.func.min(actions.c.approved_at)).where(actions.c.status == "approved")
    found: datetime | None = conn.scalar(waiting)
    return found


def _age(since: datetime | None, now: datetime) -> int | None:
    return None if since is None else max(0, round((now - since).total_seconds()))
