"""What waits, by its template, and other words for everybody for whom it waits."""

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from oracle_lib.decide import caps, decider, definition, rule_versions, rules_engine
from oracle_lib.decide.decider import ALL_TRIGGERS
from oracle_lib.decide.definition import Words
from oracle_lib.decide.guardrails import Limits
from oracle_lib.errors import Conflict, Invalid
from oracle_lib.execute import approvals, groups, policies, records, versions
from oracle_lib.execute.groups import Group
from oracle_lib.execute.moves import Seen
from oracle_lib.storage.tables import actions, activity, users

LIMITS = Limits("production", consent_by_default=True, caps=caps.of(2, None, {}))


@pytest.fixture
def waiting(conn: Connection, now: datetime) -> list[Group]:
    """Ada and Bo wait in the rule's own language, Cem in German; the groups of that."""
    body = {
        "name": "come back",
        "trigger": "time_based",
        "conditions": {"days_since": {"event": "activity", "op": ">=", "value": 7}},
        "actionType": "dm",
        "holdout": 0,
        "approval": "auto",
        "actionData": {
            "content": 'Hi {{ first_name or "there" }}',
            "locales": {"de": {"content": 'Hallo {{ first_name or "du" }}'}},
        },
    }
    rules_engine.create(conn, definition.read(body), actor="anna", now=now)
    for name, locale, silent in (("Ada", "en", 8), ("Bo", None, 9), ("Cem", "de-AT", 10)):
        conn.execute(sa.insert(users).values(id=name.lower(), first_name=name, locale=locale))
        last = now.date() - timedelta(days=silent)
        conn.execute(sa.insert(activity).values(user_id=name.lower(), last_active_on=last))
    decider.propose(conn, as_of=now.date(), now=now, triggers=ALL_TRIGGERS, everyone=True, limits=LIMITS)
    return groups.listing(conn)


def said(conn: Connection) -> dict[str, str]:
    return {row.user_id: row.content for row in conn.execute(sa.select(actions.c.user_id, actions.c.content))}


def test_what_waits_is_listed_by_rule_and_language_with_its_template_and_the_first_expiry(
    conn: Connection, waiting: list[Group]
) -> None:
    assert [(one.key.language, one.count, one.content) for one in waiting] == [
        (None, 2, 'Hi {{ first_name or "there" }}'),
        ("de", 1, 'Hallo {{ first_name or "du" }}'),
    ]
    assert waiting[1].sample == records.get(conn, waiting[1].sample.id)
    assert waiting[0].first_expires_at == waiting[0].sample.expires_at


def test_an_edit_fills_in_each_message_again_with_its_own_facts_and_all_are_reviewed_again(
    conn: Connection, now: datetime, waiting: list[Group]
) -> None:
    shown = waiting[0].sample
    text = '{{ first_name or "You" }}: {{ days_silent or 0 }} days'
    made = groups.edit(conn, waiting[0].key, Words(text), actor="bea", now=now)
    assert [(one.result, one.version) for one in made.recipients] == [("edited", 2)] * 2
    assert said(conn) == {"ada": "Ada: 8 days", "bo": "Bo: 9 days", "cem": "Hallo Cem"}
    with pytest.raises(Conflict):
        approvals.approve(conn, shown.id, actor="cem", now=now, seen=Seen(1, shown.content_hash))
    written = [(one.version, one.content, one.written_by) for one in versions.of(conn, shown.id)]
    assert [one[::2] for one in written] == [(2, "bea"), (1, "oracle")]
    assert written[1][1] == shown.content
    edited = next(one for one in groups.listing(conn) if one.key.group_edit_id == made.id)
    assert (edited.count, edited.content) == (2, text)
    published = rule_versions.get(conn, waiting[0].key.rule_id, 1).definition
    assert published.message(None).words.content == 'Hi {{ first_name or "there" }}'


def test_what_somebody_edited_alone_or_answered_keeps_its_words(
    conn: Connection, now: datetime, waiting: list[Group]
) -> None:
    ada, bo, _ = conn.scalars(sa.select(actions.c.id).order_by(actions.c.user_id))
    approvals.edit(conn, ada, actor="cem", now=now, words=Words("Dear Ada"))
    assert groups.edit(conn, waiting[0].key, Words("Back?"), actor="bea", now=now).recipients[0].id == bo
    assert said(conn) == {"ada": "Dear Ada", "bo": "Back?", "cem": "Hallo Cem"}
    with pytest.raises(Conflict, match="Nothing of this group waits"):
        groups.edit(conn, waiting[0].key, Words("Again?"), actor="bea", now=now)


@pytest.mark.parametrize("text", ["Hi {{ nickname }}", "Hi {{ first_name }}", "{% for x in y %}{% endfor %}", "  "])
def test_a_template_that_could_not_be_published_or_fits_nobody_is_refused(
    conn: Connection, now: datetime, waiting: list[Group], text: str
) -> None:
    with pytest.raises(Invalid) as refused:
        groups.edit(conn, waiting[0].key, Words(text), actor="bea", now=now)
    assert refused.value.field == "content"
    assert said(conn)["ada"] == "Hi Ada"


def test_no_policy_approves_edited_words_what_was_taken_back_or_what_an_ai_wrote_and_the_database_agrees(
    conn: Connection, now: datetime, waiting: list[Group]
) -> None:
    groups.edit(conn, waiting[0].key, Words("Back?"), actor="bea", now=now)
    assert policies.approve_by_policy(conn, now) == 1
    cem = waiting[1].sample.id
    assert records.get(conn, cem).approved_by == "policy"
    approvals.undo(conn, cem, actor="bea", now=now)
    assert policies.approve_by_policy(conn, now) == 0
    for wrong in ({"version": 2}, {"triggered_by": "ai_decision"}, {"rule_id": None}):
        by_policy = sa.update(actions).where(actions.c.id == cem).values(status="approved", approved_by="policy")
        with pytest.raises(IntegrityError), conn.begin_nested():
            conn.execute(by_policy.values(wrong))
