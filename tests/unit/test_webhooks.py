"""What providers tell: read, matched with its action, and worked in whatever the order."""

import json
from datetime import datetime, timedelta
from itertools import permutations
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.execute import records, suppressing
from oracle_lib.execute.records import Outcome
from oracle_lib.execute.suppressing import Suppression
from oracle_lib.learn import outcomes as counting
from oracle_lib.learn.webhooks import inbox, reading
from oracle_lib.learn.webhooks.inbox import Told
from oracle_lib.learn.webhooks.processing import PATIENCE, WebhooksReport, process
from oracle_lib.learn.webhooks.reading import NOTHING, Kind, Said
from oracle_lib.observe.batch import Door
from oracle_lib.observe.ingest import ingest
from oracle_lib.observe.wire import Limits
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import action_changes, actions, audit_log, events, outcomes, suppressions, webhook_inbox
from tests.providers.webhooks import resend_event, sendgrid_event

SETTINGS = Settings(environment="test")
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
_MOVES = {
    "approved": ("approved",),
    "executing": ("approved", "executing"),
    "unknown": ("approved", "executing", "unknown"),
    "executed": ("approved", "executing", "executed"),
}


def action(
    conn: Connection,
    now: datetime,
    status: str = "executed",
    *,
    channel: str = "resend",
    user: str = "u1",
    **more: object,
) -> UUID:
    """An e-mail that went to a provider an hour ago, or waits."""
    values = {"user_id": user, "action_type": "email", "content": "Hi", "subject": "Hi", "content_hash": "h"}
    given = {"approved_hash": "h", "triggered_by": "manual", "cause": str(uuid4()), **more}
    made: UUID = conn.execute(sa.insert(actions).returning(actions.c.id), {**values, **given}).scalar_one()
    for move in _MOVES.get(status, ()):
        sent = {"channel": channel, "first_attempt_at": now - HOUR} if move == "executing" else {}
        done = {"executed_at": now - HOUR} if move == "executed" else {}
        conn.execute(sa.update(actions).where(actions.c.id == made).values(status=move, **sent, **done))
    return made


def tell(conn: Connection, now: datetime, *bodies: bytes, provider: str = "resend") -> None:
    inbox.keep(conn, provider, [Told(str(uuid4()), body) for body in bodies], now)


def work(conn: Connection, now: datetime) -> WebhooksReport:
    report = process(conn, now, settings=SETTINGS, limit=1_000)
    counting.attribute(conn, now=now, settings=SETTINGS)
    return report


def kinds(conn: Connection, action_id: UUID) -> set[str]:
    return set(conn.execute(sa.select(outcomes.c.kind).where(outcomes.c.action_id == action_id)).scalars())


def status(conn: Connection, action_id: UUID) -> str:
    return conn.execute(sa.select(actions.c.status).where(actions.c.id == action_id)).scalar_one()


def own_events(conn: Connection) -> list[tuple[str, str]]:
    said = sa.select(events.c.event, events.c.metadata["actionId"].astext).where(events.c.source == "oracle")
    return [tuple(row) for row in conn.execute(said.order_by(events.c.created_at))]


def suppressed(conn: Connection) -> dict[str, str]:
    return {row.user_id: row.reason for row in conn.execute(sa.select(suppressions))}


def test_an_event_of_resend_is_read(now: datetime) -> None:
    made = uuid4()
    body = resend_event("clicked", now, action_id=made, email_id="e1", click={"userAgent": "Mozilla/5.0 (X11; Linux)"})
    assert reading.read("resend", body) == Said(Kind.CLICKED, now, made, "e1", "Mozilla/5.0 (X11; Linux)")


@pytest.mark.parametrize(
    ("bounce", "kind"),
    [(None, "bounced"), ("Permanent", "bounced"), ("Transient", "blocked"), ("Undetermined", "blocked")],
)
def test_only_a_permanent_bounce_of_resend_is_hard(now: datetime, bounce: str | None, kind: str) -> None:
    data = {} if bounce is None else {"bounce": {"type": bounce, "message": "no"}}
    assert reading.read("resend", resend_event("bounced", now, **data)).kind == kind


def test_tags_of_resend_may_be_an_array(now: datetime) -> None:
    made = uuid4()
    body = resend_event("sent", now, tags=[{"name": "action", "value": str(made)}])
    assert reading.read("resend", body).action_id == made


def test_an_event_of_sendgrid_is_read(now: datetime) -> None:
    made = uuid4()
    body = sendgrid_event("1", "bounce", now, action=f"oracle/test/action/{made}", message_id="sg-1", type="blocked")
    assert reading.read("sendgrid", json.dumps(body).encode()) == Said(Kind.BLOCKED, now, made, "sg-1")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b'{"type": 7}', b'{"type": "domain.created"}', b"\xff", b"[" * 100_000, b'{"event": "moo"}'],
)
@pytest.mark.parametrize("provider", ["resend", "sendgrid"])
def test_what_nobody_knows_says_nothing(provider: str, body: bytes) -> None:
    assert reading.read(provider, body) == NOTHING


@pytest.mark.parametrize(
    ("agent", "machine"),
    [
        ("Mozilla/5.0", True),
        ("Barracuda Sentinel (EE)", True),
        ("python-requests/2.31", True),
        ("Mozilla/5.0 (Windows NT 10.0) HeadlessChrome/120", True),
        ("Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", False),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15", False),
    ],
)
def test_known_machines_are_known_by_their_name(now: datetime, agent: str, machine: bool) -> None:
    body = json.dumps(sendgrid_event("1", "open", now, useragent=agent)).encode()
    assert reading.read("sendgrid", body).machine == machine


def test_a_nul_in_what_a_provider_tells_stops_nothing(conn: Connection, now: datetime) -> None:
    made = action(conn, now, channel="sendgrid")
    body = sendgrid_event("1", "click", now, action=f"x/{made}", message_id="a\x00b", useragent="Fire\x00fox")
    tell(conn, now, json.dumps(body).encode(), provider="sendgrid")
    assert work(conn, now + PATIENCE).worked_in == 1


def test_an_open_and_a_click_are_outcomes_and_events_of_our_own_once(conn: Connection, now: datetime) -> None:
    made = action(conn, now)
    said = [resend_event(kind, now - 10 * SECOND, action_id=made) for kind in ("opened", "opened", "clicked")]
    tell(conn, now, resend_event("delivered", now - HOUR, action_id=made), *said)
    work(conn, now)
    tell(conn, now, said[0])
    work(conn, now)
    assert kinds(conn, made) == {"delivered", "opened", "clicked"}
    assert sorted(own_events(conn)) == [("email_click", str(made)), ("email_open", str(made))]


def test_the_same_open_told_by_the_product_counts_once(conn: Connection, now: datetime) -> None:
    made = action(conn, now)
    body = {"userId": "u1", "event": "email_open", "messageId": "p1", "metadata": {"emailId": str(made)}}
    ingest(conn, [json.dumps(body).encode()], door=Door("product", Limits("USD")), received_at=now - 60 * SECOND)
    work(conn, now)
    tell(conn, now, resend_event("delivered", now - HOUR, action_id=made), resend_event("opened", now, action_id=made))
    work(conn, now)
    assert kinds(conn, made) == {"delivered", "opened"}
    assert own_events(conn) == []
    assert conn.scalar(sa.select(sa.func.count()).select_from(events)) == 1


def test_the_order_in_which_events_are_told_changes_nothing(conn: Connection, now: datetime) -> None:
    """A machine opened after 1 s, a person after a minute; then it bounced after all."""
    for number, order in enumerate(permutations(("delivered", "opened", "clicked", "bounced"))):
        made = action(conn, now, user=f"u{number}")
        after = {"delivered": 0, "opened": 1, "clicked": 60, "bounced": 90}
        for step, kind in enumerate(order):
            moment = now + step * SECOND
            tell(conn, moment, resend_event(kind, now - HOUR + after[kind] * SECOND, action_id=made))
            work(conn, moment)
        work(conn, now + PATIENCE)
        assert kinds(conn, made) == {"delivered", "machine_opened", "clicked", "bounced"}, order
        assert suppressed(conn)[f"u{number}"] == "bounced"


def test_an_open_without_a_delivery_waits_and_then_counts(conn: Connection, now: datetime) -> None:
    made = action(conn, now)
    tell(conn, now, resend_event("opened", now, action_id=made))
    assert work(conn, now).waiting == 1
    assert "opened" not in kinds(conn, made)
    assert work(conn, now + SECOND) == WebhooksReport()
    work(conn, now + PATIENCE)
    assert "opened" in kinds(conn, made)


def test_a_letter_without_our_tag_is_found_by_its_id_once_the_executor_has_written_it(
    conn: Connection, now: datetime
) -> None:
    tell(conn, now, resend_event("complained", now, email_id="e7"))
    assert work(conn, now).waiting == 1
    made = action(conn, now, provider_id="e7")
    assert work(conn, now + 20 * SECOND).worked_in == 1
    assert "complained" in kinds(conn, made)


def test_what_is_in_an_executors_hand_is_left_to_it(conn: Connection, now: datetime) -> None:
    made = action(conn, now, "executing")
    tell(conn, now, resend_event("bounced", now, action_id=made))
    assert work(conn, now).waiting == 1
    assert (status(conn, made), suppressed(conn)) == ("executing", {})
    conn.execute(sa.update(actions).where(actions.c.id == made).values(status="executed", executed_at=now))
    assert work(conn, now + HOUR).suppressed == 1


def test_an_event_of_nobody_we_know_is_kept_and_given_up(conn: Connection, now: datetime) -> None:
    tell(conn, now, resend_event("opened", now, email_id="somebody else's"), b'{"type": "contact.created"}')
    assert work(conn, now) == WebhooksReport(worked_in=1, waiting=1, unknown_types=1)
    assert work(conn, now + PATIENCE) == WebhooksReport(worked_in=1)
    assert work(conn, now + HOUR) == WebhooksReport()
    assert conn.scalar(sa.select(sa.func.count()).select_from(webhook_inbox)) == 2


def test_a_message_of_another_channel_is_not_meant(conn: Connection, now: datetime) -> None:
    made = action(conn, now, channel="sendgrid")
    tell(conn, now, resend_event("bounced", now, action_id=made))
    work(conn, now + PATIENCE)
    assert (kinds(conn, made), suppressed(conn)) == ({"delivered"}, {})


@pytest.mark.parametrize(
    ("told", "became"),
    [(["sent"], "executed"), (["bounced"], "executed"), (["failed"], "failed"), (["failed", "delivered"], "executed")],
)
def test_a_message_in_doubt_is_settled_with_its_history(
    conn: Connection, now: datetime, told: list[str], became: str
) -> None:
    made = action(conn, now, "unknown")
    tell(conn, now, *(resend_event(kind, now - HOUR, action_id=made, email_id="e9") for kind in told))
    assert work(conn, now).settled == 1
    row = conn.execute(sa.select(actions).where(actions.c.id == made)).one()
    sent = (now - HOUR, "h", "email_sent") if became == "executed" else (None, None, None)
    [event] = [name for name, _ in own_events(conn)] or [None]
    assert (row.status, row.provider_id, (row.executed_at, row.sent_hash, event)) == (became, "e9", sent)
    [move] = conn.execute(sa.select(action_changes)).all()
    assert (move.actor, move.verb, move.old_status, move.new_status) == ("webhook:resend", "settled", "unknown", became)


def test_what_ended_is_not_moved_by_what_a_provider_tells(conn: Connection, now: datetime) -> None:
    made = action(conn, now)
    tell(conn, now, resend_event("failed", now, action_id=made))
    work(conn, now)
    assert (status(conn, made), kinds(conn, made)) == ("executed", {"delivered", "dropped"})


@pytest.mark.parametrize(
    ("kind", "transactional"), [("bounced", "cancelled"), ("complained", "cancelled"), ("unsubscribed", "approved")]
)
def test_who_bounced_complained_or_unsubscribed_is_written_to_no_more_and_what_waits_ends(
    conn: Connection, now: datetime, kind: str, transactional: str
) -> None:
    made = action(conn, now, channel="sendgrid")
    waits = action(conn, now, "approved")
    proposed = action(conn, now, "pending")
    account = action(conn, now, "approved", message_class="transactional")
    other = action(conn, now, "approved", user="u2")
    word = {"bounced": "bounce", "complained": "spamreport", "unsubscribed": "group_unsubscribe"}[kind]
    body = sendgrid_event("1", word, now, action=f"oracle/test/action/{made}")
    tell(conn, now, json.dumps(body).encode(), provider="sendgrid")
    assert work(conn, now).suppressed == 1
    assert suppressed(conn) == {"u1": kind}
    assert [status(conn, one) for one in (waits, proposed, account, other)] == [
        "cancelled",
        "rejected",
        transactional,
        "approved",
    ]
    assert kind in kinds(conn, made)
    [row] = conn.execute(sa.select(audit_log)).all()
    assert (row.actor, row.verb, row.subject) == ("webhook:sendgrid", f"user.{kind}", "user:u1")


def test_a_soft_bounce_is_an_outcome_and_no_suppression(conn: Connection, now: datetime) -> None:
    made = action(conn, now)
    tell(conn, now, resend_event("bounced", now, action_id=made, bounce={"type": "Transient"}))
    work(conn, now)
    assert (kinds(conn, made), suppressed(conn)) == ({"delivered", "bounced"}, {})


def test_a_complaint_says_more_than_an_unsubscription_and_is_never_weakened(conn: Connection, now: datetime) -> None:
    for reason, stands in (
        ("unsubscribed", "unsubscribed"),
        ("complained", "complained"),
        ("unsubscribed", "complained"),
    ):
        suppressing.suppress(conn, [Suppression("u1", "email", uuid4(), reason, now)], actor="test", now=now)
        assert suppressed(conn) == {"u1": stands}


def test_what_is_not_measured_is_told_from_what_did_not_happen(conn: Connection, now: datetime) -> None:
    made, other = action(conn, now), action(conn, now, channel="smtp")
    assert records.get(conn, made).outcome == records.get(conn, other).outcome == Outcome()
    tell(conn, now, resend_event("delivered", now, action_id=made))
    work(conn, now)
    assert records.get(conn, made).outcome == Outcome(opened=False, clicked=False, bounced=False, complained=False)
    assert records.get(conn, other).outcome == Outcome()


def test_bodies_are_forgotten_in_time_and_repeats_are_still_known(conn: Connection, now: datetime) -> None:
    made = action(conn, now)
    agent = {"userAgent": "Mozilla/5.0 (X11)"}
    one = Told("once", resend_event("clicked", now, action_id=made, click=agent))
    inbox.keep(conn, "resend", [one], now)
    assert inbox.forget(conn, now + timedelta(days=91), 90) == 0, "it was not worked in"
    work(conn, now + PATIENCE)
    assert inbox.forget(conn, now + timedelta(days=89), 90) == 0
    assert inbox.forget(conn, now + timedelta(days=91), 90) == 1
    row = conn.execute(sa.select(webhook_inbox)).one()
    assert (row.raw, row.user_agent, row.kind, row.action_id) == (None, None, "clicked", made)
    assert inbox.keep(conn, "resend", [one], now) == 0


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "yesterday", ""])
def test_a_provider_whose_clock_is_wrong_stops_nothing(conn: Connection, now: datetime, at: str) -> None:
    made = action(conn, now)
    body = json.loads(resend_event("clicked", now, action_id=made)) | {"created_at": at}
    tell(conn, now, json.dumps(body).encode(), resend_event("delivered", now - HOUR, action_id=made))
    assert work(conn, now).worked_in == 2
    assert (now - conn.scalars(sa.select(sa.func.min(webhook_inbox.c.at))).one()) <= timedelta(days=30)
