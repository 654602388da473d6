"""A test message by a channel as it is set up: does it work, and what does the provider say.

It goes where an admin says, is marked as a test, belongs to no action and stands in `audit_log`. Ten an hour for each
channel: this is the one way to write to somebody past approval, guardrails and the kill switch.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import content
from oracle_lib.errors import Invalid, Limited, Permanent
from oracle_lib.execute.channels import Ambiguous, Answer, Broken, Delivered, Message, Refused, installed, protocol
from oracle_lib.execute.channels.letter import plain_address
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.locks import lock
from oracle_lib.storage.tables import ACTION_TYPES, audit_log

MOST = 10
_PER = timedelta(hours=1)
_ASKED, _ANSWERED = "channel.tested", "channel.answered"
_SUBJECT = "[Test] ORACLE can reach you"
_CONTENT = "This is a test message that an administrator sent to see whether this channel works. Nothing is to be done."
_TO_A_USER = ("dm", "push")
_TO_ALL = ("post", "alert")


@dataclass(frozen=True)
class Trial:
    """What came of a test message: by which channel it went, whether it was taken, and what the provider said."""

    channel: str
    delivered: bool
    said: str


def send(store: Store, action_type: str, to: str | None, *, settings: Settings, actor: str, now: datetime) -> Trial:
    """Send a test message now. `to` is an e-mail address, for DM and push a user's id, for posts and alerts nothing.

    Raises `Invalid` for an unknown type or a `to` that cannot be meant, `Limited` beyond ten an hour. Commits before
    and after the provider is asked.
    """
    _check(action_type, to)
    message = _message(action_type, to)
    note = _Note(message, actor, now)
    _take_turn(store, note, now)
    trial = _try(store, message, settings)
    with store.transaction() as conn:
        note.write(conn, _ANSWERED, channel=trial.channel, said=trial.said)
    return trial


@dataclass(frozen=True)
class _Note:
    """What `audit_log` says of a test; never an address."""

    message: Message
    actor: str
    at: datetime

    @property
    def subject(self) -> str:
        return f"channel:{self.message.action_type}"

    def write(self, conn: Connection, verb: str, **detail: str) -> None:
        about = {"test": str(self.message.action_id), "userId": self.message.user_id, **detail}
        row = {"at": self.at, "actor": self.actor, "verb": verb, "subject": self.subject, "detail": about}
        conn.execute(sa.insert(audit_log).values(row))


def _try(store: Store, message: Message, settings: Settings) -> Trial:
    name = installed.chosen(settings)[message.action_type]
    try:
        with installed.opened(store, settings) as channels:
            key = f"oracle/{settings.environment}/test/{message.action_id}"
            answer = channels[message.action_type].deliver(message, key)
    except Permanent as error:
        return Trial(name, False, str(error))
    return Trial(name, isinstance(answer, Delivered), _words(answer, name))


def _check(action_type: str, to: str | None) -> None:
    if action_type not in ACTION_TYPES:
        raise Invalid(f"`type` must be one of {', '.join(ACTION_TYPES)}.", field="type", code="unknown_word")
    if action_type == "email" and plain_address(to or "") is None:
        raise Invalid("`to` must be the one e-mail address that the test goes to.", field="to", code="bad_address")
    if action_type in _TO_A_USER and not to:
        raise Invalid("`to` must be the id of the user that the test goes to.", field="to", code="empty_id")
    if action_type in _TO_ALL and to:
        raise Invalid(f"`to` must be left out: a test {action_type} goes where all go.", field="to", code="not_taken")


def _take_turn(store: Store, note: _Note, now: datetime) -> None:
    """Write the test down before it is sent, so that no way to stop it gets around the limit."""
    lately = sa.select(sa.func.count(), sa.func.min(audit_log.c.at)).where(
        audit_log.c.subject == note.subject, audit_log.c.verb == _ASKED, audit_log.c.at > now - _PER
    )
    with store.transaction() as conn:
        lock(conn, note.subject)
        count, oldest = conn.execute(lately).one()
        if count >= MOST:
            wait = (oldest + _PER - now).total_seconds()
            raise Limited(f"{MOST} tests of this channel were sent within an hour.", retry_after=wait)
        note.write(conn, _ASKED)


def _message(action_type: str, to: str | None) -> Message:
    user_id = to if action_type in _TO_A_USER and to else "oracle-test"
    payload = content.payload(user_id=user_id, action_type=action_type, subject=_SUBJECT, content=_CONTENT)
    address = to if action_type == "email" else None
    return Message(uuid4(), user_id, action_type, _SUBJECT, _CONTENT, payload, address)


def _words(answer: Answer, channel: str) -> str:
    match answer:
        case Delivered() if channel == "outbox":
            return "The outbox kept it: no channel is chosen, so nobody was written to."
        case Delivered(provider_id):
            return f"Taken, under the id {provider_id}."
        case Refused(reason, permanent=True):
            return f"Refused: {reason}."
        case Refused(reason) | protocol.Limited(reason):
            return f"Refused for now: {reason}."
        case Ambiguous(reason):
            return f"No answer, so it may have arrived: {reason}."
        case Broken(reason):
            return f"The channel needs mending: {reason}."
