"""An academy with something in every table that conditions read: gaps, odd values, and days that are still ahead."""

import random
from datetime import date, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.clock import start_of
from oracle_lib.storage import tables
from tests import world

TODAY = date(2026, 3, 4)
# The newest events lie ahead of the day that is asked about: they must not count.
UNTIL = start_of(TODAY + timedelta(days=3))
USERS = 1000

LEVELS = {
    "engagementLevel": ["new", "active", "moderate", "dormant", "lost"],
    "churnLevel": ["low", "medium", "high", "critical"],
    "lifecycle": ["lead", "new", "active", "engaged", "graduate", "alumni"],
    "valueSegment": ["high", "medium", "low"],
}
COLUMNS = {
    "engagementLevel": "engagement_level",
    "churnLevel": "churn_level",
    "lifecycle": "lifecycle",
    "valueSegment": "value_segment",
}
STORED_TEXTS = ("' OR '1'='1", "'; DROP TABLE users; --", "%s %(x)s :name {x} $1", "{{ 7 * 7 }}", "ünï💚", "\\'")
COURSES = ("c0", "c1", "' OR '1'='1", "{{ 7 * 7 }}")
TEMPLATES = ("welcome", "nudge", *STORED_TEXTS)


def fill(conn: Connection) -> None:
    """Store `USERS` users as they stand on `TODAY`, the same ones each time."""
    pick = random.Random(5)
    conn.execute(sa.insert(tables.courses), [{"id": course, "title": "x"} for course in COURSES])
    taught = [
        {"course_id": course, "id": f"l{number}", "title": "x", "position": number}
        for course in COURSES
        for number in range(8)
    ]
    conn.execute(sa.insert(tables.lessons), taught)
    bodies = list(world.events(8_000, users=USERS, until=UNTIL, days=60, seed=12))
    world.post(conn, bodies, UNTIL)
    ids = [f"u{number}" for number in range(USERS)]
    known = set(conn.execute(sa.select(tables.users.c.id)).scalars())
    conn.execute(sa.insert(tables.users), [{"id": one} for one in ids if one not in known])
    world.run_stages(conn, TODAY)
    _fill_profiles(conn, ids, pick)
    _fill_changes(conn, ids, pick)
    _fill_messages(conn, ids, pick)
    conn.execute(sa.text("ANALYZE"))


def _fill_profiles(conn: Connection, ids: list[str], pick: random.Random) -> None:
    values = ["pro", 5, 5.5, True, None, [1], {"a": 1}, *STORED_TEXTS]
    traits = [
        {"one": one, "traits": {name: pick.choice(values) for name in ("plan", "seats") if pick.random() < 0.8}}
        for one in ids
    ]
    conn.execute(sa.update(tables.users).where(tables.users.c.id == sa.bindparam("one")), traits)
    segments = [
        {
            "one": one,
            "churn_level": pick.choice([None, *LEVELS["churnLevel"]]),
            "churn_risk": pick.choice([0.0, 0.005, 0.595, 1.0, pick.random()]),
            "upgrade_prob": pick.choice([None, 0.5, 0.255, pick.random()]),
            "completion_prob": pick.choice([None, pick.random()]),
            "persona": pick.choice([None, "hobbyist", *STORED_TEXTS]),
            "ltv": pick.choice([None, "0.00", "49.90", "500.00"]),
        }
        for one in ids
    ]
    conn.execute(sa.update(tables.segments).where(tables.segments.c.user_id == sa.bindparam("one")), segments)
    tags = [(one, tag) for one in ids for tag in ("vip", *STORED_TEXTS) if pick.random() < 0.2]
    conn.execute(sa.insert(tables.user_tags), [{"user_id": one, "tag": tag, "set_by": "test"} for one, tag in tags])
    lessons = {
        (one, TODAY + timedelta(days=pick.randint(-30, 2)), pick.choice(COURSES[2:]), f"l{pick.randrange(10)}")
        for one in ids
        for _ in range(pick.randint(0, 6))
    }
    conn.execute(tables.user_lessons.insert().values(sorted(lessons)))


def _fill_changes(conn: Connection, ids: list[str], pick: random.Random) -> None:
    conn.execute(sa.delete(tables.segment_changes))
    rows = []
    for one in ids:
        for name, words in LEVELS.items():
            old = None
            for ago in sorted((pick.randint(-2, 25) for _ in range(pick.randint(0, 3))), reverse=True):
                new = pick.choice([None, *words] if name == "churnLevel" else words)
                day = TODAY - timedelta(days=ago)
                if new != old:
                    at = start_of(day) + timedelta(hours=pick.randint(0, 30))
                    rows.append(
                        {"user_id": one, "field": COLUMNS[name], "old": old, "new": new, "as_of": day, "changed_at": at}
                    )
                old = new
    conn.execute(sa.insert(tables.segment_changes), rows)


def _fill_messages(conn: Connection, ids: list[str], pick: random.Random) -> None:
    a = tables.actions.c
    sent = [
        {
            "user_id": one,
            "action_type": pick.choice(["email", "email", "dm", "push", "alert"]),
            "template": pick.choice([None, *TEMPLATES]),
            "content": "x",
            "content_hash": "x",
            "triggered_by": "test",
            "executed_at": start_of(TODAY) + timedelta(days=pick.randint(-30, 2), seconds=pick.randrange(86_400)),
        }
        for one in ids
        for _ in range(pick.randint(0, 5))
    ]
    conn.execute(sa.insert(tables.actions), sent)
    # What was never carried out counts for nothing.
    carried_out = sa.func.extract("second", a.executed_at) < 45
    conn.execute(sa.update(tables.actions).where(carried_out).values(status="executed"))
    carried = conn.execute(
        sa.select(a.id, a.user_id, a.executed_at)
        .where(a.status == "executed")
        .order_by(a.user_id, a.executed_at, a.action_type, a.template)
    ).all()
    came = [
        {"action_id": row.id, "kind": kind, "user_id": row.user_id}
        | {"at": row.executed_at + timedelta(hours=pick.randint(0, 90))}
        for row in carried
        for kind, chance in (("delivered", 0.9), ("opened", 0.4), ("clicked", 0.15), ("replied", 0.05))
        if pick.random() < chance
    ]
    conn.execute(sa.insert(tables.outcomes), came)
