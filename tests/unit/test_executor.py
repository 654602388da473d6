"""What is approved and due is sent as it was approved; everything else stays where it is."""

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
import sqlalchemy as sa

from oracle_lib.decide import definition, rules_engine
from oracle_lib.errors import Conflict
from oracle_lib.execute import approvals, claims, executor, records
from oracle_lib.execute.approvals import Draft
from oracle_lib.execute.channels import Ambiguous, Answer, Broken, Delivered, Limited, Message, Pause, Refused
from oracle_lib.execute.claims import End
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import action_changes, actions, events, messages, skips, suppressions, users

SETTINGS = Settings(environment="production", messages_per_user_per_day=2)


@dataclass
class Scripted:
    """A provider that answers as told, and delivers a key once if it knows keys."""

    answers: list[Answer] = field(default_factory=list)
    idempotent: bool = True
    key_lives: timedelta | None = None
    name: str = "scripted"
    reaches_people: bool = True
    keys: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)

    def deliver(self, message: Message, key: str) -> Answer:
        self.keys.append(key)
        self.messages.append(message)
        return self.answers.pop(0) if self.answers else Delivered(f"id-{key}")


def approved(store: Store, now: datetime, *, user_id: str = "u1", **fields: object) -> UUID:
    with store.transaction() as conn:
        conn.execute(sa.text("INSERT INTO users (id) VALUES (:id) ON CONFLICT DO NOTHING"), {"id": user_id})
        values = {"user_id": user_id, "action_type": "dm", "content": "Hi Ada", **fields}
        made = approvals.create(conn, Draft(**values), actor="anna", now=now)
        approvals.approve(conn, made.id, actor="bea", now=now)
        return made.id


def run(store: Store, channel: Scripted | None = None, settings: Settings = SETTINGS) -> executor.ExecuteReport:
    channels = dict.fromkeys(("email", "dm", "push", "post", "alert"), channel) if channel else None
    return executor.run_due(store, settings=settings, owner="me", channels=channels)


def row(store: Store, action_id: UUID) -> sa.Row:
    with store.transaction() as conn:
        return conn.execute(sa.select(actions).where(actions.c.id == action_id)).one()


def test_an_approved_action_reaches_the_outbox_byte_for_byte_and_becomes_an_event(store: Store, now: datetime) -> None:
    action_id = approved(store, now, action_type="email", subject="Hello", template="welcome")
    assert run(store) == executor.ExecuteReport(executed=1)
    done = row(store, action_id)
    with store.transaction() as conn:
        kept = conn.execute(sa.select(messages)).one()
        event = conn.execute(sa.select(events)).one()
        verbs = conn.execute(sa.select(action_changes.c.verb).order_by(action_changes.c.id)).scalars().all()
    assert (done.status, done.channel, done.provider_id) == ("executed", "outbox", str(kept.id))
    assert done.sent_hash == done.approved_hash
    assert kept.payload == done.payload
    assert msgspec.json.decode(kept.payload)["content"] == "Hi Ada" == kept.content
    assert kept.idempotency_key == f"oracle/production/action/{action_id}"
    assert (event.event, event.source, event.user_id) == ("email_sent", "oracle", "u1")
    assert event.metadata == {
        "actionId": str(action_id),
        "emailId": str(action_id),
        "subject": "Hello",
        "template": "welcome",
    }
    assert verbs == ["created", "approved", "claimed", "delivered"]


def test_nothing_is_sent_that_is_not_approved_or_not_due(store: Store, now: datetime) -> None:
    with store.transaction() as conn:
        conn.execute(sa.insert(users).values(id="u1"))
        approvals.create(conn, Draft("u1", "dm", "Hi"), actor="anna", now=now)
    later = approved(store, now, scheduled_at=datetime.now(UTC) + timedelta(days=1))
    with store.transaction() as conn:
        assert executor.waiting(conn) == 0
    assert run(store).taken == 0
    assert executor.run_one(store, later, settings=SETTINGS, owner="me").status == "executed"


def test_one_action_is_executed_once_and_otherwise_refused_with_its_state(store: Store, now: datetime) -> None:
    action_id = approved(store, now)
    assert executor.run_one(store, action_id, settings=SETTINGS, owner="me").status == "executed"
    with pytest.raises(Conflict) as refused:
        executor.run_one(store, action_id, settings=SETTINGS, owner="me")
    assert refused.value.current is not None
    assert refused.value.current["status"] == "executed"


def test_who_was_suppressed_after_the_approval_is_skipped_with_the_reason(store: Store, now: datetime) -> None:
    action_id = approved(store, now)
    with store.transaction() as conn:
        conn.execute(sa.insert(suppressions).values(user_id="u1", channel="dm", reason="unsubscribed"))
    assert run(store).skipped == 1
    done = row(store, action_id)
    assert (done.status, done.reason) == ("skipped", "suppressed")
    with store.transaction() as conn:
        skip = conn.execute(sa.select(skips)).one()
        assert conn.scalar(sa.select(sa.func.count()).select_from(messages)) == 0
    assert (skip.action_id, skip.reason) == (action_id, "suppressed")


def test_outside_production_nothing_reaches_a_real_person(store: Store, now: datetime) -> None:
    approved(store, now)
    channel = Scripted()
    assert run(store, channel, Settings(environment="staging")).skipped == 1
    assert channel.keys == []


def test_a_temporary_refusal_is_tried_again_later_under_the_same_key(store: Store, now: datetime) -> None:
    action_id = approved(store, now)
    channel = Scripted([Refused("busy", permanent=False)])
    assert run(store, channel).retried == 1
    waiting = row(store, action_id)
    assert (waiting.status, waiting.reason, waiting.attempts) == ("approved", "busy", 1)
    assert waiting.next_attempt_at > waiting.updated_at
    with store.transaction() as conn:
        conn.execute(sa.update(actions).values(next_attempt_at=sa.func.now()))
    assert run(store, channel).executed == 1
    assert len(set(channel.keys)) == 1
    assert len(channel.keys) == 2


def test_who_is_asked_to_wait_waits_so_long(store: Store, now: datetime) -> None:
    action_id = approved(store, now)
    assert run(store, Scripted([Limited("429", Pause(timedelta(minutes=20)))])).held == 1
    waiting = row(store, action_id)
    assert (waiting.attempts, waiting.first_attempt_at, waiting.reason) == (0, None, "429")
    assert waiting.next_attempt_at - waiting.updated_at == timedelta(minutes=20)


def test_a_broken_channel_is_asked_once_a_run_and_no_message_is_the_worse_for_it(store: Store, now: datetime) -> None:
    ids = [approved(store, now) for _ in range(3)]
    channel = Scripted([Broken("401 the key was revoked")], key_lives=timedelta(hours=20), idempotent=False)
    assert run(store, channel).held == 3
    assert len(channel.keys) == 1
    for action_id in ids:
        held = row(store, action_id)
        assert (held.status, held.reason, held.attempts) == ("approved", "401 the key was revoked", 0)
        assert (held.first_attempt_at, held.channel) == (None, None)
        assert held.next_attempt_at > held.updated_at
    with store.transaction() as conn:
        conn.execute(sa.update(actions).values(next_attempt_at=sa.func.now()))
    assert run(store, channel).executed == 3


def test_what_may_have_gone_out_one_way_does_not_go_out_another(store: Store, now: datetime) -> None:
    action_id = approved(store, now)
    run(store, Scripted([Ambiguous("time-out")]))
    with store.transaction() as conn:
        conn.execute(sa.update(actions).values(next_attempt_at=sa.func.now()))
    other = Scripted(name="another")
    assert run(store, other).unknown == 1
    assert (other.keys, row(store, action_id).reason) == ([], "channel_changed")


def test_an_email_goes_to_the_address_of_the_moment_and_other_messages_carry_none(store: Store, now: datetime) -> None:
    approved(store, now, action_type="email", subject="Hi", priority=9)
    approved(store, now)
    with store.transaction() as conn:
        conn.execute(sa.update(users).values(email="ada@example.org"))
    channel = Scripted()
    assert run(store, channel).executed == 2
    assert [message.to for message in channel.messages] == ["ada@example.org", None]


@pytest.mark.parametrize(("idempotent", "ends"), [(True, "unknown"), (False, "failed")])
def test_giving_up_says_failed_only_where_no_earlier_try_can_have_arrived(
    store: Store, now: datetime, idempotent: bool, ends: str
) -> None:
    action_id = approved(store, now)
    channel = Scripted([Refused("busy", permanent=False)] * claims.MAX_ATTEMPTS, idempotent=idempotent)
    for _ in range(claims.MAX_ATTEMPTS):
        with store.transaction() as conn:
            conn.execute(sa.update(actions).values(next_attempt_at=None))
        run(store, channel)
    assert (len(channel.keys), row(store, action_id).status) == (claims.MAX_ATTEMPTS, ends)


def test_a_permanent_refusal_fails(store: Store, now: datetime) -> None:
    action_id = approved(store, now)
    assert run(store, Scripted([Refused("no such address", permanent=True)])).failed == 1
    assert (row(store, action_id).status, row(store, action_id).reason) == ("failed", "no such address")


def test_a_lost_answer_is_tried_again_where_keys_are_known_and_is_unknown_elsewhere(
    store: Store, now: datetime
) -> None:
    approved(store, now)
    assert run(store, Scripted([Ambiguous("time-out")])).retried == 1
    other = approved(store, now)
    assert run(store, Scripted([Ambiguous("time-out")], idempotent=False)).unknown == 1
    assert row(store, other).status == "unknown"


def test_a_retry_stops_when_the_provider_may_have_forgotten_the_key(store: Store, now: datetime) -> None:
    action_id = approved(store, now)
    channel = Scripted([Ambiguous("time-out")], key_lives=timedelta(hours=20))
    run(store, channel)
    with store.transaction() as conn:
        conn.execute(
            sa.update(actions).values(
                next_attempt_at=sa.func.now(), first_attempt_at=sa.func.now() - timedelta(hours=21)
            )
        )
    assert run(store, channel).unknown == 1
    assert (len(channel.keys), row(store, action_id).reason) == (1, "key_expired")


def test_a_channel_that_raises_does_not_stop_the_others(store: Store, now: datetime) -> None:
    class Broken(Scripted):
        def deliver(self, message: Message, key: str) -> Answer:
            if message.user_id == "bad":
                raise ValueError("surprise")
            return super().deliver(message, key)

    approved(store, now, user_id="bad", priority=10)
    approved(store, now, user_id="u2")
    assert run(store, Broken()) == executor.ExecuteReport(executed=1, retried=1)


def test_a_changed_payload_is_never_sent(store: Store, now: datetime) -> None:
    action_id = approved(store, now)
    with store.transaction() as conn:
        conn.execute(sa.update(actions).values(payload=b"{}"))
    assert run(store).failed == 1
    assert row(store, action_id).reason == "payload_changed"


def test_a_stale_fence_finishes_nothing(store: Store, now: datetime) -> None:
    action_id = approved(store, now)
    with store.transaction() as conn:
        [old] = claims.claim(conn, claims.due(), owner="old", lease=timedelta(seconds=-1))
    assert run(store).executed == 1
    with store.transaction() as conn:
        assert not claims.renew(conn, {old: "outbox"}, lease=timedelta(seconds=60))
        assert not claims.finish(conn, [End(old, "failed", "late")], owner="old")
    assert row(store, action_id).status == "executed"


def test_what_was_abandoned_on_a_channel_without_keys_waits_for_a_person(store: Store, now: datetime) -> None:
    action_id = approved(store, now)
    with store.transaction() as conn:
        [mine] = claims.claim(conn, claims.due(), owner="gone", lease=timedelta(seconds=60))
        claims.renew(conn, {mine: "letters"}, lease=timedelta(seconds=-1))
    assert run(store) == executor.ExecuteReport(unknown=1)
    assert (row(store, action_id).status, row(store, action_id).reason) == ("unknown", "lease_lost")


def test_an_executor_that_dies_before_it_hands_anything_over_uses_up_no_try(store: Store, now: datetime) -> None:
    action_id = approved(store, now)
    for _ in range(claims.MAX_ATTEMPTS + 1):
        with store.transaction() as conn:
            assert claims.claim(conn, claims.due(), owner="gone", lease=timedelta(seconds=-1))
    assert run(store) == executor.ExecuteReport(executed=1)
    assert row(store, action_id).attempts == 1


def test_what_was_handed_over_too_often_by_executors_that_died_waits_for_a_person(store: Store, now: datetime) -> None:
    action_id = approved(store, now)
    for _ in range(claims.MAX_ATTEMPTS):
        with store.transaction() as conn:
            [mine] = claims.claim(conn, claims.due(), owner="gone", lease=timedelta(seconds=60))
            claims.renew(conn, {mine: "scripted"}, lease=timedelta(seconds=-1))
    assert run(store, Scripted()) == executor.ExecuteReport(unknown=1)
    assert (row(store, action_id).status, row(store, action_id).reason) == ("unknown", "lease_lost")


def test_the_daily_cap_holds_over_executors_that_run_at_once(store: Store, now: datetime) -> None:
    for number in range(10):
        body = {
            "name": f"rule {number}",
            "trigger": "event_based",
            "conditions": {"event": "login"},
            "actionType": "dm",
            "holdout": 0,
            "actionData": {"content": "Hi"},
        }
        with store.transaction() as conn:
            rule = rules_engine.create(conn, definition.read(body), actor="anna", now=now)
        action_id = approved(store, now)
        with store.transaction() as conn:
            values = {"rule_id": rule.id, "rule_version": 1, "cause": "m1"}
            conn.execute(sa.update(actions).where(actions.c.id == action_id).values(values))
    reports: list[executor.ExecuteReport] = []

    def work(name: str) -> None:
        reports.append(executor.run_due(store, settings=SETTINGS, owner=name, limit=1))

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report.executed for report in reports) == 2
    assert sum(report.skipped for report in reports) == 8
    with store.transaction() as conn:
        assert set(conn.execute(sa.select(skips.c.reason)).scalars()) == {"daily_cap"}


def test_what_a_person_wrote_is_not_held_by_the_daily_cap(store: Store, now: datetime) -> None:
    for _ in range(3):
        approved(store, now)
    assert run(store).executed == 3


def test_the_most_urgent_goes_first(store: Store, now: datetime) -> None:
    ids = [approved(store, now, priority=priority) for priority in (1, 9, 5)]
    channel = Scripted()
    run(store, channel)
    assert [key.rsplit("/", 1)[-1] for key in channel.keys] == [str(ids[n]) for n in (1, 2, 0)]
    with store.transaction() as conn:
        assert records.get(conn, ids[0]).attempts == 1
