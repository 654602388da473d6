"""A simulated academy into the database: courses, profiles, and every event through the real door.

Events are keyed like imported history, so loading again adds nothing however much later; but no baseline is set, since
the simulated days are the academy's present: what happened on the newest day may be answered.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.observe import courses
from oracle_lib.observe.batch import Door
from oracle_lib.observe.courses import Course, Lesson
from oracle_lib.observe.ingest import ingest
from oracle_lib.observe.wire import Limits
from oracle_lib.simulate import campus
from oracle_lib.simulate.academy import Academy
from oracle_lib.storage.engine import Store

DOOR = Door(source="simulator", limits=Limits(currency=campus.CURRENCY, late=None), imported=True)
_EVENTS_A_TRANSACTION = 4_000
_PROFILES_A_STATEMENT = 10_000


@dataclass(frozen=True)
class LoadReport:
    """What loading added: new profiles, courses put, and what became of each event."""

    courses: int
    users: int
    accepted: int
    duplicate: int
    rejected: int


def load(
    store: Store, academy: Academy, *, now: datetime, progress: Callable[[int, int], None] | None = None
) -> LoadReport:
    """Write what the academy has lived through by `now`. Commits every few thousand events; again adds nothing.

    `progress` is called with the events done and their total.
    """
    with store.transaction() as conn:
        for offer in academy.courses:
            courses.put(conn, offer.id, _course(offer), now=now)
        users = _put_profiles(conn, (row for row in academy.profiles() if _joined(row) <= now))
    accepted = duplicate = rejected = 0
    total = academy.count(until=now)
    for bodies in academy.events(until=now, batch=_EVENTS_A_TRANSACTION):
        with store.transaction() as conn:
            report = ingest(conn, bodies, door=DOOR, received_at=now)
        accepted += report.accepted
        duplicate += report.duplicate
        rejected += len(report.rejected)
        if progress is not None:
            progress(accepted + duplicate + rejected, total)
    return LoadReport(
        courses=len(academy.courses), users=users, accepted=accepted, duplicate=duplicate, rejected=rejected
    )


def _course(offer: campus.CourseOffer) -> Course:
    return Course(
        title=offer.title,
        price=offer.price,
        lessons=tuple(
            Lesson(id=offer.lesson_id(number), title=offer.lesson_title(number), module_id=offer.module_id(number))
            for number in range(offer.lessons)
        ),
    )


# A profile that is there stays as it is; a new one is queued to be analyzed, since its user may never do anything.
_PUT = sa.text("""
    WITH put AS (
        INSERT INTO users (id, email, first_name, last_name, time_zone, locale, joined_at, traits, consent)
        SELECT * FROM jsonb_to_recordset(CAST(:profiles AS jsonb)) AS one(
            id text, email text, first_name text, last_name text, time_zone text, locale text,
            joined_at timestamptz, traits jsonb, consent jsonb)
        ON CONFLICT DO NOTHING RETURNING id
    )
    INSERT INTO dirty_users (stage, user_id) SELECT 'activity', id FROM put
""")


def _put_profiles(conn: Connection, profiles: Iterable[dict[str, object]]) -> int:
    """Add the profiles that are missing; return how many were."""
    rest: Iterator[dict[str, object]] = iter(profiles)
    added = 0
    while some := list(islice(rest, _PROFILES_A_STATEMENT)):
        added += conn.execute(_PUT, {"profiles": json.dumps(some, default=str)}).rowcount
    return added


def _joined(profile: dict[str, object]) -> datetime:
    joined = profile["joined_at"]
    assert isinstance(joined, datetime)  # noqa: S101
    return joined
