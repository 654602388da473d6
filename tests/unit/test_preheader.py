"""What mailboxes show beside an e-mail's subject: words like any other, from the rule to the letter."""

from datetime import datetime, timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import caps, content, decider, definition, rule_files, rules_engine
from oracle_lib.decide.decider import ALL_TRIGGERS
from oracle_lib.decide.definition import Words
from oracle_lib.decide.guardrails import Limits
from oracle_lib.errors import Conflict, Invalid
from oracle_lib.execute import approvals, groups, messages, policies, records, versions
from oracle_lib.execute.approvals import Draft
from oracle_lib.execute.channels.letter import Letter, compose, mime
from oracle_lib.execute.moves import Seen
from oracle_lib.execute.records import Action
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import actions, activity, users
from tests.channels.conftest import SENDER, UNSUBSCRIBE, message

LIMITS = Limits("production", consent_by_default=True, caps=caps.of(2, None, {}))
RULE = {
    "name": "come back",
    "trigger": "time_based",
    "conditions": {"days_since": {"event": "activity", "op": ">=", "value": 7}},
    "actionType": "email",
    "holdout": 0,
    "approval": "auto",
    "actionData": {
        "subject": "Hello",
        "preheader": '{{ first_name or "You" }}: {{ days_silent or 0 }} days',
        "content": "Hi",
        "locales": {
            "de": {"subject": "Hallo", "preheader": "Seit {{ days_silent or 0 }} Tagen", "content": "Hi"},
            "es": {"subject": "Hola", "content": "Hi"},
        },
    },
}


def proposed(conn: Connection, now: datetime) -> dict[str, Action]:
    """Return what is proposed to Ada (English), Bo (German) and Cem (Spanish)."""
    rules_engine.create(conn, definition.read(RULE), actor="anna", now=now)
    for name, locale in (("Ada", "en"), ("Bo", "de"), ("Cem", "es")):
        conn.execute(sa.insert(users).values(id=name.lower(), first_name=name, locale=locale))
        conn.execute(sa.insert(activity).values(user_id=name.lower(), last_active_on=now.date() - timedelta(days=8)))
    decider.propose(conn, as_of=now.date(), now=now, triggers=ALL_TRIGGERS, everyone=True, limits=LIMITS)
    ids = dict(conn.execute(sa.select(actions.c.user_id, actions.c.id)).all())
    return {user_id: records.get(conn, action_id) for user_id, action_id in ids.items()}


def frozen(conn: Connection, action: Action) -> tuple[bytes, str]:
    row = conn.execute(sa.select(actions.c.payload, actions.c.approved_hash).where(actions.c.id == action.id)).one()
    return bytes(row.payload), row.approved_hash


def test_a_proposal_has_it_filled_in_in_the_users_language_and_none_where_the_rule_has_none(
    conn: Connection, now: datetime
) -> None:
    said = {user_id: action.preheader for user_id, action in proposed(conn, now).items()}
    assert said == {"ada": "Ada: 8 days", "bo": "Seit 8 Tagen", "cem": None}


@pytest.mark.parametrize("by_policy", [True, False])
def test_it_is_part_of_what_is_hashed_approved_and_frozen(conn: Connection, now: datetime, by_policy: bool) -> None:
    ada = proposed(conn, now)["ada"]
    if by_policy:
        assert policies.approve_by_policy(conn, now) == 3
    else:
        approvals.approve(conn, ada.id, actor="bea", now=now, seen=Seen(1, ada.content_hash))
    payload, approved_hash = frozen(conn, ada)
    assert content.content_hash(payload) == approved_hash == ada.content_hash
    assert content.of_letter(payload) == ("Ada: 8 days", "en")


def test_who_saw_another_one_cannot_approve_and_both_are_kept(conn: Connection, now: datetime) -> None:
    ada = proposed(conn, now)["ada"]
    edited = approvals.edit(conn, ada.id, actor="bea", now=now, words=Words(ada.content, ada.subject, "Come back"))
    assert edited.content_hash != ada.content_hash
    with pytest.raises(Conflict) as refused:
        approvals.approve(conn, ada.id, actor="bea", now=now, seen=Seen(None, ada.content_hash))
    assert refused.value.current is not None
    assert refused.value.current["preheader"] == "Come back"
    assert [one.preheader for one in versions.of(conn, ada.id)] == ["Come back", "Ada: 8 days"]


def test_a_groups_edit_fills_in_its_own_for_each_recipient(conn: Connection, now: datetime) -> None:
    proposed(conn, now)
    own = next(one for one in groups.listing(conn) if one.key.language is None)
    assert own.preheader == '{{ first_name or "You" }}: {{ days_silent or 0 }} days'
    edited = groups.edit(conn, own.key, Words("Hi", "Hello", "Soon, {{ first_name or 'you' }}?"), actor="bea", now=now)
    assert records.get(conn, edited.recipients[0].id).preheader == "Soon, Ada?"
    listed = next(one for one in groups.listing(conn) if one.key.group_edit_id == edited.id)
    assert listed.preheader == "Soon, {{ first_name or 'you' }}?"
    with pytest.raises(Invalid) as refused:
        groups.edit(conn, listed.key, Words("Hi", "Hello", "Soon, {{ first_name }}?"), actor="bea", now=now)
    assert refused.value.field == "preheader"


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        (
            {"actionData": {"subject": "Hi", "preheader": "Hi {{ first_name }}", "content": "Hi"}},
            "actionData.preheader",
        ),
        ({"actionData": {"subject": "Hi", "preheader": "{{ nickname }}", "content": "Hi"}}, "actionData.preheader"),
        ({"actionData": {"subject": "Hi", "preheader": "x" * 256, "content": "Hi"}}, "actionData.preheader"),
        ({"actionType": "dm", "actionData": {"preheader": "Hi", "content": "Hi"}}, "actionData.preheader"),
        (
            {
                "actionData": {
                    "subject": "Hi",
                    "content": "Hi",
                    "locales": {"de": {"subject": "Hi", "preheader": "{{ progress }}", "content": "Hi"}},
                }
            },
            "actionData.locales.de.preheader",
        ),
        (
            {"variants": [{"name": "b", "share": 50, "subject": "Hi", "content": "Hi", "preheader": "{{ x }}"}]},
            "variants[0].preheader",
        ),
    ],
)
def test_one_that_would_show_a_hole_or_in_no_mailbox_is_refused_at_publish(
    fields: dict[str, object], place: str
) -> None:
    with pytest.raises(Invalid) as refused:
        definition.read({**RULE, **fields})
    assert refused.value.field == place


def test_it_goes_along_in_the_files_of_rules(conn: Connection, now: datetime, tmp_path: Path) -> None:
    rule = rules_engine.create(conn, definition.read(RULE), actor="anna", now=now)
    rule_files.export(conn, tmp_path)
    read = rule_files.read(tmp_path)
    assert list(read.values()) == [rule.definition]
    assert [step.kind for step in rule_files.plan(conn, read).steps] == ["same"]


def test_words_without_one_are_written_and_hashed_as_before_there_were_any() -> None:
    without = definition.read({**RULE, "actionData": {"subject": "Hi", "content": "Hi"}})
    assert definition.wire(without)["actionData"] == {"template": None, "subject": "Hi", "content": "Hi"}
    assert content.payload(user_id="u1", action_type="email", subject="Hi", content="Hi") == (
        b'{"actionType":"email","content":"Hi","subject":"Hi","userId":"u1"}'
    )


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"preheader": "a\r\nBcc: x@y.z"}, "preheader"),
        ({"preheader": "x" * 256}, "preheader"),
        ({"action_type": "dm", "preheader": "Hi"}, "preheader"),
    ],
)
def test_one_that_no_mailbox_could_show_is_refused(
    conn: Connection, now: datetime, fields: dict[str, str], field: str
) -> None:
    conn.execute(sa.insert(users).values(id="u1"))
    draft = Draft(**{"user_id": "u1", "action_type": "email", "content": "Hi", "subject": "Hi", **fields})  # type: ignore[arg-type]
    with pytest.raises(Invalid) as refused:
        approvals.create(conn, draft, actor="anna", now=now)
    assert refused.value.field == field


def test_a_preview_shows_it_as_the_letter_has_it(conn: Connection, now: datetime) -> None:
    settings = Settings(email_address="hello@academy.example", postal_address="1 Main Street")
    conn.execute(sa.insert(users).values(id="u1", email="ada@example.org"))
    draft = Draft("u1", "email", "First words.", subject="Hi", preheader="Two lessons <left>")
    made = approvals.create(conn, draft, actor="anna", now=now)
    shown = messages.preview(conn, made.id, settings)
    assert shown.preheader == "Two lessons <left>"
    assert shown.text == "First words."
    assert shown.html is not None
    assert "Two lessons &lt;left&gt;" in shown.html


def test_a_letter_has_it_hidden_before_everything_and_only_in_the_html(now: datetime) -> None:
    letter = compose(message(unsubscribe=UNSUBSCRIBE, preheader="<b>Two</b>\r\nBcc: eve@example.org"), SENDER)
    assert isinstance(letter, Letter)
    body = letter.html.split("<body>")[1]
    assert body.startswith('<div style="display:none;')
    assert "&lt;b&gt;Two&lt;/b&gt; Bcc: eve@example.org</div><p>Hi Ada," in body
    assert letter.preheader == "<b>Two</b> Bcc: eve@example.org"
    read = message_from_bytes(mime(letter, "<1@academy.example>", now).as_bytes(), policy=default)
    assert "Bcc" not in read
    text, html = read.iter_parts()
    assert "Two" not in text.get_content()
    assert "Two" in html.get_content()


def test_without_one_mailboxes_show_the_first_words_and_nothing_is_hidden() -> None:
    letter = compose(message(text="First words."), SENDER)
    assert isinstance(letter, Letter)
    assert letter.preheader == "First words."
    assert "display:none" not in letter.html
