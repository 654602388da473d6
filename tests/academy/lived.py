"""An academy lives with ORACLE for two weeks: nights as the jobs run them, days as people answer.

Everything goes through the library's own doors: ingest, the stages, approvals, the executor. Only time is faked, the
database's with it: `now()` reads a table, so that what the executor stamps lies in the week it was done in.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import cycle

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib import stages
from oracle_lib.clock import newest_closed_week, start_of
from oracle_lib.execute import approvals, executor
from oracle_lib.execute.approvals import Draft
from oracle_lib.execute.channels import Ambiguous, Answer, Channel, Message, Outbox, Refused
from oracle_lib.observe.ingest import ingest
from oracle_lib.settings import Settings
from oracle_lib.simulate import Academy, Delivery, delivered, load, respond
from oracle_lib.simulate.loading import DOOR
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, dirty_users, users
from oracle_lib.window import Week, missed_days
from tests.world import event, install_starters

USERS, ACADEMY_DAYS, SEED = 1500, 90, 11
FIRST = date(2026, 2, 15)
LAST = date(2026, 3, 1)
# The report's week, and the week before it, which is the first of the two.
WEEK = date(2026, 2, 22)
# Nights on which the daily job runs; what lies between them is made up for, as after a downtime.
NIGHTS = [FIRST + timedelta(days=n) for n in (0, 1, 4, 7, 8, 11, 14)]
SETTINGS = Settings(environment="test")

_CLOCK = """
    CREATE TABLE oracle.standing (at timestamptz NOT NULL);
    INSERT INTO oracle.standing VALUES (pg_catalog.now());
    CREATE FUNCTION oracle.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT at FROM oracle.standing';
    DO $$
    DECLARE made record;
    BEGIN
        FOR made IN SELECT table_name, column_name FROM information_schema.columns
            WHERE table_schema = 'oracle' AND column_default = 'now()'
        LOOP
            EXECUTE format('ALTER TABLE oracle.%%I ALTER COLUMN %%I SET DEFAULT oracle.now()',
                made.table_name, made.column_name);
        END LOOP;
    END $$
"""


@dataclass
class Unsure:
    """A provider that refuses for good, then loses an answer, and so on; it would deliver a key twice."""

    name: str = "unsure"
    idempotent: bool = False
    key_lives: timedelta | None = None
    reaches_people: bool = False
    answers: "cycle[Answer]" = field(default_factory=lambda: cycle([Refused("gone", True), Ambiguous("lost")]))

    def deliver(self, message: Message, key: str) -> Answer:
        return next(self.answers)


class Life:
    """The academy, its database, and the moment it stands at."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.academy = Academy.make(USERS, ACADEMY_DAYS, LAST, SEED)
        outbox = Outbox(store)
        self.channels: dict[str, Channel] = {"email": outbox, "dm": outbox, "push": Unsure()}
        self._told_until = start_of(FIRST)
        with store.engine.begin() as conn:
            conn.exec_driver_sql(_CLOCK)
        sa.event.listen(store.engine, "connect", _read_the_faked_clock)
        store.engine.dispose()

    def live(self) -> None:
        """Live through the two weeks, up to the last Sunday's report."""
        self._stand_at(start_of(FIRST))
        load(self.store, self.academy, now=start_of(FIRST))
        with self.store.transaction() as conn:
            install_starters(conn, start_of(FIRST))
        for night in NIGHTS:
            self._night(night)
            if night.isoweekday() == 7:
                self._sunday(start_of(night) + timedelta(hours=8))
            if night != LAST:
                self._day(start_of(night))
        with self.store.transaction() as conn:
            conn.exec_driver_sql("ANALYZE")

    def _night(self, day: date) -> None:
        """02:00: the daily job, on everything that happened until midnight."""
        self._hear(start_of(day))
        now = start_of(day) + timedelta(hours=2)
        self._stand_at(now)
        with self.store.transaction() as conn:
            window = missed_days(conn, now)
        self._go(stages.daily(self.store, window, SETTINGS, "night"))

    def _sunday(self, now: datetime) -> None:
        """08:00: the weekly job, and everybody scored by what it promoted."""
        self._stand_at(now)
        self._go(stages.weekly(self.store, Week(newest_closed_week(now), now), SETTINGS))
        self._go(stages.react(self.store, now, SETTINGS))

    def _day(self, day: datetime) -> None:
        """10:00: people answer what waits, and it is sent; 20:00: what came of it until then is counted."""
        self._stand_at(day + timedelta(hours=10))
        with self.store.transaction() as conn:
            _answer(conn, day + timedelta(hours=10))
        executor.run_due(self.store, settings=SETTINGS, owner="day", channels=self.channels)
        self._hear(day + timedelta(hours=20))
        self._stand_at(day + timedelta(hours=20))
        self._go(stages.react(self.store, day + timedelta(hours=20), SETTINGS))

    def _hear(self, until: datetime) -> None:
        """Take in what the academy's people did since the last time: by themselves, and after a message."""
        self._stand_at(until)
        since, self._told_until = self._told_until, until
        with self.store.transaction() as conn:
            _join(conn, self.academy, since, until)
            for bodies in self.academy.events(since.date(), until=until - timedelta(seconds=1), batch=4_000):
                ingest(conn, bodies, door=DOOR, received_at=until)
            sent = delivered(conn, since=start_of(FIRST))
            respond(conn, self.academy, sent, now=until, seed=SEED)
            ingest(conn, _odd_events(since, sent), door=DOOR, received_at=until)

    def _stand_at(self, moment: datetime) -> None:
        with self.store.transaction() as conn:
            conn.execute(sa.text("UPDATE oracle.standing SET at = :moment"), {"moment": moment})

    def _go(self, steps: list[tuple[str, Callable[[], object]]]) -> None:
        for _, step in steps:
            step()


def _read_the_faked_clock(connection: object, _record: object) -> None:
    """Let `oracle.now` come before the database's own."""
    connection.execute("SET search_path TO oracle, pg_catalog, public")  # type: ignore[attr-defined]
    connection.commit()  # type: ignore[attr-defined]


def _join(conn: Connection, academy: Academy, since: datetime, until: datetime) -> None:
    """Add who joined meanwhile, and one of whom nothing is known but the name."""
    if fresh := [row for row in academy.profiles() if since < row["joined_at"] <= until]:
        conn.execute(sa.insert(users), fresh)
    conn.execute(sa.insert(users), {"id": f"quiet-{until:%d%H}"})
    joined = sa.select(sa.literal("activity"), users.c.id).where(users.c.created_at >= since)
    conn.execute(sa.insert(dirty_users).from_select(["stage", "user_id"], joined))


def _odd_events(at: datetime, sent: list[Delivery]) -> list[bytes]:
    """Events of a stranger, an upgrade, what the door refuses, and a purchase by the last who was offered one."""
    stranger, odd = f"walk-in-{at:%d}", {"amount": "a lot"}
    offered = [one.user_id for one in sent if one.template == "upsell_momentum" and one.at < at]
    price = {"amount": "99.00", "currency": "USD"}
    return [
        *(event(user, "purchase", at, messageId=f"{user}-{at:%d%H}", metadata=price) for user in offered[-1:]),
        event(stranger, "login", at, messageId=f"walk-in-{at:%d%H}"),
        event("walk-in-15", "upgrade", at, messageId=f"up-{at:%d%H}", metadata={"amount": "49.90", "currency": "USD"}),
        event(stranger, "purchase", at, messageId=f"unpriced-{at:%d%H}"),
        event(stranger, "purchase", at, messageId=f"refused-{at:%d%H}", metadata=odd),
    ]


def _answer(conn: Connection, now: datetime) -> None:
    """Answer proposals of every rule in turn: most approved, one rejected, done by hand, or taken back; and write three
    messages by hand, for a channel that fails."""
    place = sa.func.row_number().over(partition_by=actions.c.triggered_by, order_by=actions.c.created_at)
    waiting = sa.select(actions.c.id, place.label("place")).where(actions.c.status == "pending").subquery()
    chosen = list(conn.scalars(sa.select(waiting.c.id).order_by(waiting.c.place).limit(60)))
    for number, action_id in enumerate(chosen):
        how = {"actor": "ana", "now": now}
        match number % 12:
            case 3:
                approvals.reject(conn, action_id, reason="Not now.", **how)
            case 5:
                approvals.done_by_hand(conn, action_id, note="Called.", **how)
            case 7:
                approvals.approve(conn, action_id, **how)
                approvals.undo(conn, action_id, **how)
            case _:
                approvals.approve(conn, action_id, **how)
    for user in ("u-000001", "u-000002", "u-000003"):
        made = approvals.create(conn, Draft(user, "push", "Hello"), actor="ana", now=now)
        approvals.approve(conn, made.id, actor="ana", now=now)
