"""Nobody is written to too often, at night, or after somebody stopped it; and each no can be looked up."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import guardrails
from oracle_lib.decide.guardrails import Limits
from oracle_lib.decide.quiet_hours import QuietHours
from oracle_lib.errors import Invalid
from oracle_lib.execute import approvals, executor, stops
from oracle_lib.execute.approvals import Draft
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import action_changes, actions, audit_log, fewer_wanted, rules, skips, users

AWAKE = Settings(environment="test", quiet_hours="")


def ends(conn: Connection, quiet: QuietHours, moment: datetime, zone: str) -> datetime | None:
    asked = sa.literal(moment, sa.DateTime(timezone=True))
    return conn.scalar(sa.select(quiet.ends(asked, sa.literal(zone))))


@pytest.mark.parametrize(
    ("zone", "moment", "until"),
    [
        # Berlin, an hour before the clocks go forward and in the night they do: eight is eight.
        ("Europe/Berlin", "2026-03-28T20:30:00Z", "2026-03-29T06:00:00Z"),
        ("Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-29T06:00:00Z"),
        ("Europe/Berlin", "2026-03-29T06:00:00Z", None),
        # In October the night is an hour longer.
        ("Europe/Berlin", "2026-10-24T19:00:00Z", "2026-10-25T07:00:00Z"),
        ("Europe/Berlin", "2026-10-25T06:59:00Z", "2026-10-25T07:00:00Z"),
        ("Europe/Berlin", "2026-10-24T18:59:00Z", None),
        # New York, where the clocks change on other days.
        ("America/New_York", "2026-03-08T05:30:00Z", "2026-03-08T12:00:00Z"),
        ("America/New_York", "2026-03-08T12:00:00Z", None),
        ("America/New_York", "2026-11-01T03:00:00Z", "2026-11-01T13:00:00Z"),
        # Half an hour off, and over the date line.
        ("Asia/Kolkata", "2026-05-01T15:29:00Z", None),
        ("Asia/Kolkata", "2026-05-01T15:30:00Z", "2026-05-02T02:30:00Z"),
        ("Pacific/Auckland", "2026-05-01T09:00:00Z", "2026-05-01T20:00:00Z"),
    ],
)
def test_quiet_hours_end_by_the_users_own_clock(conn: Connection, zone: str, moment: str, until: str | None) -> None:
    expected = datetime.fromisoformat(until) if until else None
    assert ends(conn, QuietHours(21, 8), datetime.fromisoformat(moment), zone) == expected


def test_quiet_hours_within_a_day_and_none_at_all(conn: Connection) -> None:
    noon = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
    assert ends(conn, QuietHours(12, 14), noon, "UTC") == datetime(2026, 3, 4, 14, tzinfo=UTC)
    assert ends(conn, QuietHours(12, 14), noon + timedelta(hours=2), "UTC") is None
    assert QuietHours.read("21-8") == QuietHours(21, 8)
    assert QuietHours.read("") is QuietHours.read("8-8") is None


def test_settings_that_name_no_zone_or_no_hours_are_refused_at_start() -> None:
    for wrong in ({"time_zone": "Mars/Olympus"}, {"quiet_hours": "25-8"}, {"channel_caps": {"email": {"day": 0}}}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Settings(**wrong)


def approved(store: Store, now: datetime, *, rule: UUID | None = None, kind: str = "dm", user: str = "u1") -> UUID:
    """One approved action; with a rule it counts as proposed by it."""
    with store.transaction() as conn:
        conn.execute(sa.text("INSERT INTO users (id) VALUES (:id) ON CONFLICT DO NOTHING"), {"id": user})
        subject = "Hello" if kind == "email" else None
        made = approvals.create(conn, Draft(user, kind, "Hi", subject=subject), actor="anna", now=now)
        if rule is not None:
            conn.execute(sa.update(actions).where(actions.c.id == made.id).values(rule_id=rule, cause=str(made.id)))
        approvals.approve(conn, made.id, actor="bea", now=now)
        return made.id


def some_rule(store: Store, **fields: object) -> UUID:
    with store.transaction() as conn:
        values = {"name": "r", "trigger": "event_based", "conditions": {}, "action_type": "dm", "action_data": {}}
        return conn.scalars(sa.insert(rules).values({**values, "cooldown": 0, **fields}).returning(rules.c.id)).one()


def send(store: Store, settings: Settings = AWAKE) -> executor.ExecuteReport:
    return executor.run_due(store, settings=settings, owner="me")


def night(store: Store) -> Settings:
    """Settings by which it is night now, in UTC, for another hour."""
    with store.transaction() as conn:
        hour = int(conn.scalars(sa.text("SELECT date_part('hour', now() AT TIME ZONE 'UTC')")).one())
    return Settings(environment="test", quiet_hours=f"{hour}-{(hour + 1) % 24}")


def test_a_message_waits_for_the_morning_and_is_sent_then(store: Store, now: datetime) -> None:
    waiting = approved(store, now, rule=some_rule(store))
    assert send(store, night(store)).held == 1
    with store.transaction() as conn:
        row = conn.execute(sa.select(actions).where(actions.c.id == waiting)).one()
        assert (row.status, row.reason, row.attempts) == ("approved", "quiet_hours", 0)
        assert (row.next_attempt_at.minute, row.next_attempt_at.second) == (0, 0)
        assert row.next_attempt_at > conn.scalar(sa.select(sa.func.now()))
        assert conn.scalars(sa.select(skips.c.reason)).all() == ["quiet_hours"]
        verbs = conn.scalars(sa.select(action_changes.c.verb).order_by(action_changes.c.id)).all()
        assert verbs[-2:] == ["claimed", "held"]
    assert send(store).taken == 0
    with store.transaction() as conn:
        conn.execute(sa.update(actions).values(next_attempt_at=sa.func.now()))
    assert send(store).executed == 1


@pytest.mark.parametrize(
    ("kind", "message_class", "by_rule"),
    [("dm", "transactional", True), ("alert", "marketing", True), ("dm", "marketing", False)],
)
def test_at_night_go_out_what_was_asked_for_what_is_for_the_team_and_what_a_person_wrote(
    store: Store, now: datetime, kind: str, message_class: str, by_rule: bool
) -> None:
    made = approved(store, now, rule=some_rule(store) if by_rule else None, kind=kind)
    with store.transaction() as conn:
        conn.execute(sa.update(actions).where(actions.c.id == made).values(message_class=message_class))
    assert send(store, night(store)).executed == 1


def test_the_night_is_that_of_the_users_zone(store: Store, now: datetime) -> None:
    approved(store, now, rule=some_rule(store))
    with store.transaction() as conn:
        conn.execute(sa.update(users).values(time_zone="Pacific/Kiritimati"))
    # Fourteen hours ahead of UTC it is day now.
    assert send(store, night(store)).executed == 1


def test_a_stop_holds_everything_until_it_is_lifted(store: Store, now: datetime) -> None:
    approved(store, now)
    with store.transaction() as conn:
        stops.stop(conn, "all", reason="A wrong price", actor="anna", now=now)
        stops.stop(conn, "all", reason="Again", actor="bea", now=now)
    assert send(store).taken == 0
    with store.transaction() as conn:
        assert [(one.scope, one.reason, one.stopped_by) for one in stops.listing(conn)] == [
            ("all", "A wrong price", "anna")
        ]
        stops.resume(conn, "all", actor="bea", now=now)
        stops.resume(conn, "all", actor="bea", now=now)
        moves = sa.select(audit_log.c.verb, audit_log.c.actor).where(audit_log.c.subject == "sending:all")
        kept = conn.execute(moves.order_by(audit_log.c.id)).all()
    assert [tuple(row) for row in kept] == [("sending.stopped", "anna"), ("sending.resumed", "bea")]
    assert send(store).executed == 1


def test_a_stop_of_one_channel_leaves_the_others_alone(store: Store, now: datetime) -> None:
    mail, note = approved(store, now, kind="email"), approved(store, now)
    with store.transaction() as conn:
        stops.stop(conn, "email", reason="Bounces", actor="anna", now=now)
    assert send(store).executed == 1
    with store.transaction() as conn:
        status = {row.id: row.status for row in conn.execute(sa.select(actions.c.id, actions.c.status))}
    assert status == {mail: "approved", note: "executed"}


def test_what_is_in_hand_when_sending_is_stopped_is_not_sent(store: Store, now: datetime) -> None:
    waiting = approved(store, now)

    def stop(step: str) -> None:
        if step == "after_claim":
            with store.transaction() as conn:
                stops.stop(conn, "all", reason="Now", actor="anna", now=now)

    report = executor.run_due(store, settings=AWAKE, owner="me", step=stop)
    assert (report.held, report.executed) == (1, 0)
    with store.transaction() as conn:
        row = conn.execute(sa.select(actions).where(actions.c.id == waiting)).one()
    assert (row.status, row.reason) == ("approved", "stopped")


@pytest.mark.parametrize("reason", ["", " ", "x" * 501])
def test_a_stop_needs_a_reason(conn: Connection, now: datetime, reason: str) -> None:
    with pytest.raises(Invalid):
        stops.stop(conn, "all", reason=reason, actor="anna", now=now)


def test_caps_of_a_day_a_week_and_a_channel_hold_when_sending(store: Store, now: datetime) -> None:
    settings = Settings(
        environment="test",
        quiet_hours="",
        messages_per_user_per_day=9,
        messages_per_user_per_week=4,
        channel_caps={"email": {"week": 1}},
    )
    for number in range(3):
        approved(store, now, rule=some_rule(store, name=f"mail {number}"), kind="email")
        approved(store, now, rule=some_rule(store, name=f"dm {number}"))
    approved(store, now, rule=some_rule(store, name="dm 3"))
    report = send(store, settings)
    assert (report.executed, report.skipped) == (4, 3)
    with store.transaction() as conn:
        reasons = sorted(conn.scalars(sa.select(skips.c.reason)))
        assert reasons == ["channel_weekly_cap", "channel_weekly_cap", "weekly_cap"]
        conn.execute(sa.update(actions).values(first_attempt_at=sa.func.now() - timedelta(days=8)))
    approved(store, now, rule=some_rule(store, name="later"), kind="email")
    assert send(store, settings).executed == 1


def test_who_wants_fewer_gets_one_a_week_whoever_wrote_it(store: Store, now: datetime) -> None:
    with store.transaction() as conn:
        conn.execute(sa.insert(fewer_wanted), [{"user_id": user, "channel": "dm"} for user in ("u1", "u2")])
    for number in range(2):
        approved(store, now, rule=some_rule(store, name=f"dm {number}"))
        approved(store, now, user="u2")
        approved(store, now, user="u3")
        approved(store, now, kind="post")
    report = send(store, AWAKE.model_copy(update={"messages_per_user_per_day": 9}))
    assert (report.executed, report.skipped) == (6, 2)
    with store.transaction() as conn:
        assert sorted(conn.execute(sa.select(skips.c.user_id, skips.c.reason)).all()) == [
            ("u1", "fewer"),
            ("u2", "fewer"),
        ]
        conn.execute(sa.update(actions).values(first_attempt_at=sa.func.now() - timedelta(days=8)))
    approved(store, now, rule=some_rule(store, name="later"))
    assert send(store).executed == 1


def test_every_no_has_words(conn: Connection) -> None:
    from oracle_lib.decide.why_not import REASONS

    listed = (guardrails.__doc__ or "").split("stopped")[0]
    words = {word.strip(",") for word in listed.split() if "_" in word or word in {"cooldown", "suppressed"}}
    assert {"daily_cap", "no_consent", "channel_weekly_cap"} <= words <= REASONS.keys()
    assert Limits.of(Settings(quiet_hours="21-8")).quiet == QuietHours(21, 8)
