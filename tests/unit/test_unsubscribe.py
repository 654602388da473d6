"""Who wants no more gets no more: whoever they turn out to be, as long as they said; a stronger no is never undone."""

from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from oracle_lib.decide import guardrails
from oracle_lib.decide.guardrails import Limits, No
from oracle_lib.errors import NotFound
from oracle_lib.execute import approvals, unsubscribe, unsubscribe_links
from oracle_lib.execute.approvals import Draft
from oracle_lib.execute.unsubscribe import PAUSE, Preferences, Standing, Wish
from oracle_lib.observe import identities
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import actions, audit_log, outcomes, suppressions, users

KEY = b"k" * 32


@pytest.fixture
def ada(conn: Connection) -> str:
    conn.execute(sa.insert(users), [{"id": "ada", "email": "ada@example.org"}, {"id": "bob", "email": None}])
    return "ada"


def email(
    conn: Connection,
    user_id: str,
    now: datetime,
    *,
    scheduled_at: datetime | None = None,
    kind: str = "marketing",
    topic: str | None = None,
) -> UUID:
    draft = Draft(user_id, "email", "Hi", subject="Hi", scheduled_at=scheduled_at, message_class=kind, topic=topic)
    made = approvals.create(conn, draft, actor="anna", now=now)
    approvals.approve(conn, made.id, actor="bea", now=now)
    return made.id


def says(conn: Connection, action_id: UUID, wish: Wish, now: datetime) -> Standing:
    return unsubscribe.ask(conn, unsubscribe.recipient(conn, action_id), wish, now)


def states(conn: Connection) -> Counter[str]:
    return Counter(conn.execute(sa.select(actions.c.status)).scalars())


def kept(conn: Connection, user_id: str) -> list[tuple[object, ...]]:
    columns = (suppressions.c.channel, suppressions.c.reason, suppressions.c.until)
    return [tuple(row) for row in conn.execute(sa.select(*columns).where(suppressions.c.user_id == user_id))]


def test_only_marketing_of_this_user_on_this_channel_is_ended(conn: Connection, ada: str, now: datetime) -> None:
    first = email(conn, ada, now)
    email(conn, ada, now, kind="transactional")
    email(conn, "bob", now)
    approvals.create(conn, Draft(ada, "dm", "Hi"), actor="anna", now=now)
    says(conn, first, Wish.NO_MORE, now)
    assert states(conn) == {"cancelled": 1, "approved": 2, "pending": 1}


def test_a_pause_ends_what_would_go_out_in_it_and_is_not_prolonged(conn: Connection, ada: str, now: datetime) -> None:
    first = email(conn, ada, now)
    email(conn, ada, now, scheduled_at=now + PAUSE - timedelta(hours=1))
    email(conn, ada, now, scheduled_at=now + PAUSE + timedelta(hours=1))
    until = now + PAUSE
    assert says(conn, first, Wish.PAUSE, now) == Standing("paused", until, theirs=True)
    assert says(conn, first, Wish.PAUSE, now + timedelta(days=3)) == Standing("paused", until, theirs=True)
    assert states(conn) == {"cancelled": 2, "approved": 1}
    assert says(conn, first, Wish.PAUSE, until) == Standing("paused", until + PAUSE, theirs=True)


def test_the_message_behind_whose_link_they_unsubscribed_has_it_as_its_outcome(
    conn: Connection, ada: str, now: datetime
) -> None:
    first, second = email(conn, ada, now), email(conn, ada, now)
    says(conn, first, Wish.PAUSE, now)
    assert conn.execute(sa.select(outcomes)).all() == []
    for action_id in (first, first, second):
        says(conn, action_id, Wish.NO_MORE, now)
    assert conn.execute(sa.select(outcomes.c.action_id, outcomes.c.kind)).all() == [(first, "unsubscribed")]


def test_a_complaint_stays_a_complaint(conn: Connection, ada: str, now: datetime) -> None:
    first = email(conn, ada, now)
    conn.execute(sa.insert(suppressions).values(user_id=ada, channel="email", reason="complained", at=now))
    for wish in Wish:
        assert says(conn, first, wish, now) == Standing("complained", None, theirs=False)
    assert states(conn) == {"cancelled": 1}


def test_what_may_have_arrived_is_left_to_the_executor(conn: Connection, ada: str, now: datetime) -> None:
    first = email(conn, ada, now)
    conn.execute(sa.update(actions).values(first_attempt_at=now, attempts=1))
    says(conn, first, Wish.NO_MORE, now)
    assert states(conn) == {"approved": 1}


def test_who_got_another_id_since_is_the_one_who_unsubscribes(conn: Connection, ada: str, now: datetime) -> None:
    first = email(conn, "bob", now)
    identities.merge(conn, [("bob", ada)], source="test", now=now)
    says(conn, first, Wish.NO_MORE, now)
    assert kept(conn, ada) == [("email", "unsubscribed", None)]


def test_refusing_a_topic_ends_what_waits_of_it_and_nothing_else(conn: Connection, ada: str, now: datetime) -> None:
    first = email(conn, ada, now, topic="new courses")
    others = [
        email(conn, ada, now),
        email(conn, ada, now, topic="events"),
        email(conn, "bob", now, topic="new courses"),
    ]
    receipt = email(conn, ada, now, kind="transactional", topic="new courses")
    who = unsubscribe.recipient(conn, first)
    for _ in range(2):
        unsubscribe.refuse_topic(conn, who, "new courses", now)
    assert unsubscribe.preferences(conn, who) == Preferences(False, frozenset({"new courses"}))
    assert states(conn) == {"cancelled": 1, "approved": 4}
    assert unsubscribe.standing(conn, who, now) is None
    later = email(conn, ada, now, topic="new courses")
    limits = Limits.of(Settings(environment="staging"))
    noes = [
        guardrails.check_actions(conn, [one], limits=limits, reaches_people=False) for one in (*others, receipt, later)
    ]
    assert noes == [{}, {}, {}, {}, {later: No("topic_refused", None)}]


def test_who_wants_it_again_wants_all_of_it(conn: Connection, ada: str, now: datetime) -> None:
    who = unsubscribe.recipient(conn, email(conn, ada, now, topic="events"))
    other = unsubscribe.recipient(conn, email(conn, "bob", now))
    for topic in ("events", "new courses"):
        unsubscribe.refuse_topic(conn, who, topic, now)
    for one in (who, who, other):
        unsubscribe.want_fewer(conn, one, now)
    assert unsubscribe.want_again(conn, who, now) is None
    assert unsubscribe.preferences(conn, who) == Preferences(False, frozenset())
    assert unsubscribe.preferences(conn, other) == Preferences(True, frozenset())
    verbs = conn.scalars(sa.select(audit_log.c.verb).where(audit_log.c.subject == "user:ada").order_by(audit_log.c.id))
    said = ["user.topic_refused", "user.topic_refused", "user.fewer_wanted", "user.resubscribed"]
    assert [verb for verb in verbs if verb.startswith("user.")] == said


def test_what_an_id_wanted_less_of_its_user_wants_less_of(conn: Connection, ada: str, now: datetime) -> None:
    who, other = (unsubscribe.recipient(conn, email(conn, user_id, now)) for user_id in (ada, "bob"))
    unsubscribe.refuse_topic(conn, who, "events", now)
    for topic in ("events", "new courses"):
        unsubscribe.refuse_topic(conn, other, topic, now)
    unsubscribe.want_fewer(conn, other, now)
    identities.merge(conn, [("bob", ada)], source="test", now=now)
    assert unsubscribe.preferences(conn, who) == Preferences(True, frozenset({"events", "new courses"}))


@pytest.mark.parametrize("already", [Wish.NO_MORE, Wish.PAUSE])
def test_of_two_ids_that_are_one_user_the_stronger_no_stays(
    conn: Connection, ada: str, now: datetime, already: Wish
) -> None:
    other = Wish.PAUSE if already is Wish.NO_MORE else Wish.NO_MORE
    says(conn, email(conn, ada, now), already, now)
    says(conn, email(conn, "bob", now), other, now)
    identities.merge(conn, [("bob", ada)], source="test", now=now)
    assert kept(conn, ada) == [("email", "unsubscribed", None)]


def test_a_complaint_under_another_id_outweighs_unsubscribing(conn: Connection, ada: str, now: datetime) -> None:
    says(conn, email(conn, ada, now), Wish.NO_MORE, now)
    conn.execute(sa.insert(suppressions).values(user_id="bob", channel="email", reason="complained", at=now))
    identities.merge(conn, [("bob", ada)], source="test", now=now)
    assert kept(conn, ada) == [("email", "complained", None)]


@pytest.mark.parametrize(
    ("reason", "kind", "refused"),
    [
        ("unsubscribed", "marketing", "suppressed"),
        ("unsubscribed", "transactional", None),
        ("paused", "marketing", "suppressed"),
        ("paused", "transactional", None),
        ("complained", "transactional", "suppressed"),
        ("bounced", "transactional", "suppressed"),
    ],
)
def test_unsubscribing_is_about_marketing_a_bounce_and_a_complaint_about_everything(
    conn: Connection, ada: str, now: datetime, reason: str, kind: str, refused: str | None
) -> None:
    action_id = email(conn, ada, now, kind=kind)
    conn.execute(sa.insert(suppressions).values(user_id=ada, channel="email", reason=reason, at=now))
    limits = Limits.of(Settings(environment="staging"))
    no = guardrails.check_actions(conn, [action_id], limits=limits, reaches_people=False).get(action_id)
    assert (no.reason if no else None) == refused


def test_an_action_that_is_not_has_no_recipient(conn: Connection) -> None:
    with pytest.raises(NotFound):
        unsubscribe.recipient(conn, UUID(int=0))


def test_the_key_is_the_setting_or_made_once(conn: Connection) -> None:
    made = unsubscribe_links.key(conn, Settings())
    assert len(made) == 32
    assert unsubscribe_links.key(conn, Settings()) == made
    assert unsubscribe_links.key(conn, Settings(secret="s" * 40)) == b"s" * 40  # type: ignore[arg-type]
    assert unsubscribe_links.key(conn, Settings(secret="")) == made  # type: ignore[arg-type]


@given(st.uuids())
def test_a_token_names_its_action_and_only_under_its_key(action_id: UUID) -> None:
    token = unsubscribe_links.token(KEY, action_id)
    assert unsubscribe_links.action_of(KEY, token) == action_id
    assert unsubscribe_links.action_of(b"x" * 32, token) is None


@given(st.text())
def test_no_made_up_text_is_a_token(text: str) -> None:
    assert unsubscribe_links.action_of(KEY, text) is None


@pytest.mark.parametrize("wish", Wish)
def test_who_wants_it_again_gets_marketing_and_what_ended_stays_ended(
    conn: Connection, ada: str, now: datetime, wish: Wish
) -> None:
    first = email(conn, ada, now)
    who = unsubscribe.recipient(conn, first)
    assert unsubscribe.ask(conn, who, wish, now).theirs
    assert unsubscribe.want_again(conn, who, now) is None
    assert unsubscribe.want_again(conn, who, now) is None
    assert kept(conn, ada) == []
    assert states(conn) == {"cancelled": 1}
    verbs = conn.scalars(sa.select(audit_log.c.verb).where(audit_log.c.actor == "recipient").order_by(audit_log.c.id))
    assert list(verbs) == [f"user.{wish.value}", "user.resubscribed"]


@pytest.mark.parametrize(
    ("channel", "reason"), [("email", "bounced"), ("email", "complained"), ("all", "unsubscribed")]
)
def test_wanting_it_again_takes_back_nothing_that_was_not_asked_for_here(
    conn: Connection, ada: str, now: datetime, channel: str, reason: str
) -> None:
    conn.execute(sa.insert(suppressions).values(user_id=ada, channel=channel, reason=reason, at=now))
    who = unsubscribe.recipient(conn, email(conn, ada, now))
    assert unsubscribe.want_again(conn, who, now) == Standing(reason, None, theirs=False)
    assert kept(conn, ada) == [(channel, reason, None)]
