"""An academy that lives day by day, with rules of every trigger: what its dry runs are held against."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.clock import DAY, start_of
from oracle_lib.decide import decider, definition, dry_run, past_days, past_experiments, rules_engine
from oracle_lib.decide.definition import Definition
from oracle_lib.decide.dry_run import DryRun
from oracle_lib.decide.guardrails import Limits
from oracle_lib.decide.past_limits import Firing
from oracle_lib.decide.rules_engine import Rule
from oracle_lib.observe import activity, profiles
from oracle_lib.observe.profiles import ProfileChange
from oracle_lib.settings import Settings
from oracle_lib.storage import tables
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from tests import world
from tests.conftest import FULL, fresh_database

DAYS, LATE_DAYS, USERS = (30, 30, 70) if FULL else (14, 8, 70)
FIRST = date(2026, 2, 1)
LAST = FIRST + (DAYS - 1) * DAY
BEFORE = start_of(FIRST) - timedelta(days=20)
SETTINGS = Settings(messages_per_user_per_day=2, messages_per_user_per_week=6)
# By day of the dry run: the plans that users get in turn.
PLANS = {-2: ("pro", "free"), 9: ("free", "pro", "pro")}
_LAST_MOMENT = DAY - timedelta(microseconds=1)
_STAMPED = {"segment_changes": "changed_at", "user_tags": "set_at", "users": "created_at"}

SILENT = {"days_since": {"event": "activity", "op": ">=", "value": 5}}
DORMANT = {"days_since": {"event": "activity", "op": ">", "value": 13}}
RULES: Mapping[str, tuple[str, object]] = {
    "silent": ("time_based", SILENT),
    "no login, some score": (
        "time_based",
        {
            "all": [
                {"days_since": {"event": "login", "op": ">", "value": 6}},
                {"segment": "engagementScore", "op": ">=", "value": 25},
                {"not": {"segment": "progress", "op": ">=", "value": 60}},
            ]
        },
    ),
    "unfinished": (
        "time_based",
        {
            "all": [
                {"sequence": {"first": "lesson_start", "then_not": "lesson_complete", "within_days": 3}},
                {"any": [{"event": "video_watched", "within_days": 20}, {"segment": "ltv", "op": ">", "value": 0}]},
            ]
        },
    ),
    "still comes by": (
        "time_based",
        {
            "all": [
                {"days_since": {"event": "lesson_complete", "op": ">=", "value": 3}},
                {"days_since": {"event": "activity", "op": "<", "value": 3}},
                {"any": [{"days_since": {"event": "login", "op": "<=", "value": 7}}, {"tag": "vip"}]},
            ]
        },
    ),
    "watches, finishes nothing": (
        "time_based",
        {
            "all": [
                {"days_since": {"event": "lesson_complete", "op": ">=", "value": 3}},
                {"event": "video_watched", "within_days": 7},
            ]
        },
    ),
    "no video": ("time_based", {"days_since": {"event": "video_watched", "op": ">=", "value": 9}}),
    "silent on plan pro": ("time_based", {"all": [SILENT, {"trait": "plan", "op": "=", "value": "pro"}]}),
    "silent, keeps what was paid for": (
        "time_based",
        {
            "all": [
                SILENT,
                {"segment": "lifecycle", "op": "!=", "value": "alumni"},
                {"event": "refund", "within_days": 30, "count": {"op": "=", "value": 0}},
                {"event": "email_open", "within_days": 9, "count": {"op": "<", "value": 4}},
            ]
        },
    ),
    "silent, learns to be promoted": (
        "time_based",
        {"all": [SILENT, {"segment": "persona", "op": "=", "value": "professional"}]},
    ),
    "silent or pro": ("time_based", {"any": [DORMANT, {"trait": "plan", "op": "=", "value": "pro"}]}),
    "likely to leave": ("segment_based", {"segment": "churnRisk", "op": ">=", "value": 40}),
    "fell": (
        "segment_based",
        {
            "all": [
                {"change": "engagementLevel", "fell": True, "within_days": 3},
                {"sum": {"of": "revenue", "op": ">=", "value": 0}},
                {"segment": "lifecycle", "op": "!=", "value": "alumni"},
            ]
        },
    ),
    "again and again": (
        "event_based",
        {"event": "lesson_complete", "within_days": 7, "count": {"op": ">=", "value": 2}},
    ),
    "watched": (
        "event_based",
        {
            "all": [
                {"event": "video_watched", "within_days": 2},
                {"not": {"segment": "engagementLevel", "op": "=", "value": "new"}},
            ]
        },
    ),
    "written to": (
        "event_based",
        {
            "all": [
                {"event": "login", "within_days": 1},
                {"message": "sent", "within_days": 6, "count": {"op": ">", "value": 1}},
            ]
        },
    ),
}
# Rules that say more than their name and conditions.
SAID: Mapping[str, Mapping[str, object]] = {
    "silent": {"priority": 3, "topic": "coming back"},
    "unfinished": {"maxPerUser": 1, "priority": 8},
    "no video": {"cooldown": 24 * 10, "messageClass": "transactional"},
    "still comes by": {"messageClass": "transactional"},
    "silent, keeps what was paid for": {"messageClass": "transactional"},
    "silent, learns to be promoted": {"messageClass": "transactional"},
    "watches, finishes nothing": {"messageClass": "transactional"},
    "again and again": {"cooldown": 72, "priority": 9},
    "likely to leave": {"cooldown": 0},
}


@dataclass
class Life:
    """An academy that lives day by day: events as they come in, a run a night, event rules when the day is over."""

    store: Store
    coming: list[tuple[datetime, bytes]]
    days: int
    rules: dict[str, Rule] = field(default_factory=dict)

    def live(self) -> None:
        """Live through some days before, and the days of the dry run."""
        self.night(BEFORE)
        for name in RULES:
            self.publish(name, BEFORE)
        self.want_less()
        for number in range(-3, self.days):
            day = FIRST + number * DAY
            self.night(start_of(day) + timedelta(hours=2))
            if number == 7:
                self.publish("silent", start_of(day) + timedelta(hours=12))
            if number in PLANS:
                self.change_plans(PLANS[number], start_of(day) + timedelta(hours=15))
            self.end(start_of(day) + _LAST_MOMENT)

    def night(self, now: datetime) -> None:
        """The daily run."""
        with self.store.transaction() as conn:
            self.hear(conn, now)
            world.run_stages(conn, now.date())
            _propose(conn, now, ("time_based", "segment_based"))

    def end(self, now: datetime) -> None:
        """Event rules, asked when the day is over."""
        with self.store.transaction() as conn:
            self.hear(conn, now)
            activity.rollup(conn)
            _propose(conn, now, ("event_based",))

    def hear(self, conn: Connection, now: datetime) -> None:
        """Take in what has come by then; the database writes this time where it writes its own."""
        for table, column in _STAMPED.items():
            conn.exec_driver_sql(f"ALTER TABLE {table} ALTER {column} SET DEFAULT '{now.isoformat()}'")
        world.post(conn, [body for at, body in self.coming if at <= now], now)
        self.coming = [(at, body) for at, body in self.coming if at > now]

    def publish(self, name: str, now: datetime) -> None:
        """Publish a rule, or the same again under other words."""
        made = self.rules.get(name)
        with self.store.transaction() as conn:
            if made is None:
                self.rules[name] = rules_engine.create(conn, read(name), actor="ana", now=now)
            else:
                again = read(name, content="Hello")
                self.rules[name] = rules_engine.publish(conn, made.id, again, actor="ana", now=now)

    def want_less(self) -> None:
        """One in nine wants fewer messages, one in eleven none about coming back."""
        fewer = [{"user_id": f"u{n}", "channel": "dm"} for n in range(0, USERS, 9)]
        topics = [{"user_id": f"u{n}", "channel": "dm", "topic": "coming back"} for n in range(0, USERS, 11)]
        with self.store.transaction() as conn:
            conn.execute(sa.insert(tables.fewer_wanted), fewer)
            conn.execute(sa.insert(tables.refused_topics), topics)

    def change_plans(self, plans: Sequence[str], now: datetime) -> None:
        """Give users plans, in turn, and a goal that goes with it; one in ten wants no messages."""
        traits = [{"plan": plan, "goal": "promotion" if plan == "pro" else "hobby"} for plan in plans]
        said = [{"traits": traits[n % len(plans)], "consent": {"dm": n % 10 != 0}} for n in range(USERS)]
        changes = [(f"u{n}", ProfileChange(**one)) for n, one in enumerate(said)]
        with self.store.transaction() as conn:
            assert profiles.put_all(conn, changes, source="test", now=now) == {}

    def proposed(self, name: str) -> set[Firing]:
        """What production proposed on the days of the dry run."""
        a = tables.actions.c
        rows = sa.select(a.created_at, a.user_id, a.cause).where(a.rule_id == self.rules[name].id)
        with self.store.transaction() as conn:
            found = {Firing(at.date(), user_id, cause) for at, user_id, cause in conn.execute(rows)}
        return {one for one in found if one.day >= FIRST}

    def held_back(self, name: str, *, before: bool = False) -> set[tuple[str, str, str]]:
        """What production held back on the days of the dry run, or first before them: user, cause and reason."""
        s = tables.skips.c
        then = s.at < start_of(FIRST) if before else s.at >= start_of(FIRST)
        rows = sa.select(s.user_id, s.cause, s.reason).where(s.rule_id == self.rules[name].id, then)
        with self.store.transaction() as conn:
            return {(user_id, cause, reason) for user_id, cause, reason in conn.execute(rows)}

    def dry(self, name: str, **options: object) -> DryRun:
        """A dry run of a rule as the API makes it."""
        last = FIRST + (self.days - 1) * DAY
        options = {"now": start_of(last + DAY), "settings": SETTINGS, "samples": 10_000, **options}
        with self.store.transaction() as conn:
            return dry_run.run(conn, self.rules[name].id, FIRST, last, **options)

    def tried(self, name: str) -> dry_run.Tried:
        """All that a dry run finds of the live version."""
        rule = self.rules[name]
        days = past_days.between(FIRST, LAST, rule.definition.trigger, rule.published_at)
        with self.store.transaction() as conn:
            drawn = past_experiments.of_rule(conn, rule.id, None)
            return dry_run.try_on(conn, rule, days, SETTINGS, drawn)


def _propose(conn: Connection, now: datetime, triggers: Sequence[str]) -> None:
    """Propose; what is proposed is approved and sent at once."""
    options = {"limits": Limits.of(SETTINGS), "expiry": timedelta(days=9)}
    decider.propose(conn, as_of=now.date(), now=now, triggers=triggers, everyone=True, **options)
    before = "pending"
    for status in ("approved", "executing", "executed"):
        moved = {"status": status, "approved_hash": tables.actions.c.content_hash, "executed_at": now}
        conn.execute(sa.update(tables.actions).where(tables.actions.c.status == before).values(moved))
        before = status


def read(name: str, content: str = "Hi") -> Definition:
    """One of the rules, with other words."""
    trigger, conditions = RULES[name]
    body = {"name": name, "trigger": trigger, "conditions": conditions, "actionType": "dm", **SAID.get(name, {})}
    return definition.read({**body, "actionData": {"content": content}})


def coming(seed: int, late: timedelta | None = None) -> list[tuple[datetime, bytes]]:
    """Events and when they come in: at once, or one in three much later."""
    found = []
    for number, body in enumerate(
        world.events(2600, users=USERS, until=start_of(FIRST) + timedelta(days=30), days=60, seed=seed)
    ):
        at = datetime.fromisoformat(json.loads(body)["timestamp"])
        found.append((at + late if late and number % 3 == 0 else at, body))
    return sorted(found)


def lived(server: EmbeddedServer, events: list[tuple[datetime, bytes]], days: int) -> Iterator[Life]:
    with fresh_database(server) as url:
        store = Store(url)
        life = Life(store, events, days)
        life.live()
        yield life
        store.close()
