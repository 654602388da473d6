"""The channel without a provider: it keeps each message where the panel shows it, so the loop runs on a fresh machine.

Behaves like a provider that never forgets a key: a transaction of its own, one message a key however often it is asked,
and a refusal when a key comes back with other words.
"""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from oracle_lib.execute.channels.protocol import Ambiguous, Answer, Delivered, Message, Refused
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import messages


class Outbox:
    """Keeps messages in the table `messages`."""

    name = "outbox"
    idempotent = True
    key_lives: timedelta | None = None
    reaches_people = False

    def __init__(self, store: Store) -> None:
        self._store = store

    def deliver(self, message: Message, key: str) -> Answer:
        """Keep the message under its key; the same key again answers with the first."""
        try:
            return self._keep(message, key)
        except DBAPIError as error:
            return Ambiguous(f"the outbox did not answer: {type(error).__name__}")

    def _keep(self, message: Message, key: str) -> Answer:
        values = {
            "action_id": message.action_id,
            "user_id": message.user_id,
            "action_type": message.action_type,
            "idempotency_key": key,
            "subject": message.subject,
            "content": message.content,
            "payload": message.payload,
        }
        with self._store.transaction() as conn:
            conn.execute(insert(messages).values(values).on_conflict_do_nothing())
            query = sa.select(messages.c.id, messages.c.payload).where(messages.c.idempotency_key == key)
            kept = conn.execute(query).one_or_none()
        if kept is None or bytes(kept.payload) != message.payload:
            return Refused("the key was used for another message", permanent=True)
        return Delivered(str(kept.id))


class Inbox(Outbox):
    """The same for the users: the product reads the messages from our API (`execute/inbox.py`) and shows them."""

    name = "inbox"
    reaches_people = True
