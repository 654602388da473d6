"""A small world to test in: events from a seed, stages run as the daily job runs them, tables as comparable rows."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import NAMESPACE_OID, uuid5

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze import classifier, predictor
from oracle_lib.decide import rules_engine, starters
from oracle_lib.observe import activity
from oracle_lib.observe.batch import Door
from oracle_lib.observe.ingest import ingest
from oracle_lib.observe.wire import Limits
from oracle_lib.settings import Settings
from oracle_lib.storage import tables

SETTINGS = Settings()
DOOR = Door(source="test", limits=Limits(currency="USD", late=None), imported=True)
DERIVED = (
    tables.user_days,
    tables.user_day_events,
    tables.user_lessons,
    tables.habits,
    tables.activity,
    tables.segments,
    tables.predictions,
)
# When a row was written, and the ids of rows, say nothing of what it states.
_INCIDENTAL = {"id", "created_at", "updated_at", "last_analyzed"}

_MIX = {
    "login": 20,
    "page_view": 20,
    "lesson_start": 10,
    "lesson_complete": 18,
    "quiz_pass": 6,
    "quiz_fail": 4,
    "email_sent": 8,
    "email_open": 4,
    "purchase": 2,
    "refund": 1,
    "course_complete": 1,
    "community_post": 3,
    "video_watched": 5,
}


def event(user: str, name: str, at: datetime, **fields: object) -> bytes:
    """One event's body; metadata as keyword `metadata`."""
    return json.dumps({"userId": user, "event": name, "timestamp": at.isoformat(), **fields}).encode()


def events(count: int, *, users: int, until: datetime, days: int, seed: int) -> Iterator[bytes]:
    """Plausible events of `users` over the `days` before `until`, in no order."""
    rnd = random.Random(seed)
    names = rnd.choices(list(_MIX), weights=list(_MIX.values()), k=count)
    for number, name in enumerate(names):
        user = min(int(rnd.expovariate(3 / users)), users - 1)
        at = until - timedelta(days=days * rnd.random() ** 1.5)
        facts: dict[str, object] = {"courseId": f"c{rnd.randrange(3)}", "lessonId": f"l{rnd.randrange(12)}"}
        if name in {"purchase", "refund"} and rnd.random() < 0.9:
            facts["amount"] = round(rnd.uniform(5, 200), 2)
        if name.startswith("lesson"):
            facts["timeSpent"] = rnd.randrange(900)
        yield event(
            f"u{user}", name, at, messageId=f"{seed}-{number}", sessionId=f"s{rnd.randrange(3)}", metadata=facts
        )


def day_of(body: bytes) -> date:
    """The UTC day on which an event of `event` happened."""
    return datetime.fromisoformat(json.loads(body)["timestamp"]).astimezone(UTC).date()


def post(conn: Connection, bodies: Sequence[bytes], received_at: datetime, door: Door = DOOR) -> int:
    """Send events through the one door; return how many were accepted."""
    return ingest(conn, bodies, door=door, received_at=received_at).accepted


def install_starters(conn: Connection, now: datetime, *, holdout: int | None = None) -> None:
    """Publish the starter rules; `holdout` percent in place of theirs. At every run the same users are held out."""
    for said in starters.rules():
        rule = said if holdout is None else replace(said, holdout=holdout)
        made = rules_engine.create(conn, rule, actor="oracle", now=now)
        fixed = sa.update(tables.experiments).where(tables.experiments.c.rule_id == made.id)
        conn.execute(fixed.values(id=uuid5(NAMESPACE_OID, rule.name)))


def run_stages(conn: Connection, as_of: date, *, everyone: bool = False) -> None:
    """Bring every derived table to `as_of`, in the order of the daily job."""
    activity.rollup(conn)
    activity.refresh(conn, as_of, everyone=everyone)
    classifier.classify(conn, as_of, settings=SETTINGS, everyone=everyone)
    predictor.score(conn, as_of, settings=SETTINGS, everyone=everyone)


def rows(conn: Connection, table: sa.Table) -> list[tuple[object, ...]]:
    """What a table states, in an order of its own, without ids and times of writing."""
    columns = [column for column in table.columns if column.name not in _INCIDENTAL]
    return sorted((tuple(row) for row in conn.execute(sa.select(*columns))), key=repr)


def state(conn: Connection) -> dict[str, list[tuple[object, ...]]]:
    """What every derived table states."""
    return {table.name: rows(conn, table) for table in DERIVED}
