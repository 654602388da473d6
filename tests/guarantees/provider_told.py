"""What two providers have to tell of many messages, and what must be known once they have: the truth of G7."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.storage.tables import actions, users
from tests.providers.webhooks import resend_event, sendgrid_event

_SENDGRID_WORDS = {
    "sent": "processed",
    "opened": "open",
    "clicked": "click",
    "bounced": "bounce",
    "blocked": "bounce",
    "complained": "spamreport",
    "unsubscribed": "unsubscribe",
}
_RESEND_WORDS = {"blocked": "bounced", "dropped": "failed"}


@dataclass(frozen=True)
class Event:
    """One event as its provider posts it: a whole body of Resend, an item of SendGrid's array."""

    provider: str
    id: str
    body: bytes


@dataclass
class Letter:
    """One message, what happened to it, and what must come of that."""

    user: str
    provider: str
    status: str
    happened: list[tuple[str, float]]
    id: UUID = field(default_factory=uuid4)

    @property
    def became(self) -> str:
        if self.status == "executed" or not self.happened:
            return self.status
        return "failed" if {kind for kind, _ in self.happened} == {"dropped"} else "executed"

    @property
    def outcomes(self) -> set[str]:
        kinds = {"machine_opened" if one == ("opened", 1.0) else one[0] for one in self.happened}
        kinds = {"bounced" if kind == "blocked" else kind for kind in kinds} - {"sent", "delivered"}
        return kinds | ({"delivered"} if self.became == "executed" else set())

    @property
    def leaves(self) -> str | None:
        """Why nothing is sent to the user any more."""
        kinds = {kind for kind, _ in self.happened}
        return next((kind for kind in ("bounced", "complained", "unsubscribed") if kind in kinds), None)

    @property
    def own_events(self) -> set[str]:
        names = {"opened": "email_open", "clicked": "email_click"}
        sent = {"email_sent"} if (self.status, self.became) == ("unknown", "executed") else set()
        return sent | {names[kind] for kind in self.outcomes & names.keys()}

    def events(self, at: datetime) -> Iterator[Event]:
        """What the provider tells; the letter was sent at `at`."""
        for number, (kind, after) in enumerate(self.happened):
            event_id, moment = f"{self.id}-{number}", at + timedelta(seconds=after)
            if self.provider == "resend":
                more = {"bounce": {"type": "Transient"}} if kind == "blocked" else {}
                word = _RESEND_WORDS.get(kind, kind)
                yield Event("resend", event_id, resend_event(word, moment, action_id=self.id, **more))
            else:
                more = {"type": "blocked"} if kind == "blocked" else {}
                key, word = f"oracle/test/action/{self.id}", _SENDGRID_WORDS.get(kind, kind)
                item = sendgrid_event(event_id, word, moment, action=key, message_id=f"m-{self.id}", **more)
                yield Event("sendgrid", event_id, json.dumps(item).encode())


def letters(rnd: random.Random, events: int) -> list[Letter]:
    """As many messages as have so many events to tell; one in ten is in doubt."""
    made: list[Letter] = []
    while events > 0:
        provider = "resend" if rnd.random() < 0.3 else "sendgrid"
        status = "unknown" if rnd.random() < 0.1 else "executed"
        made.append(Letter(f"u{len(made)}", provider, status, _fate(rnd, provider)))
        events -= len(made[-1].happened)
    return made


def _fate(rnd: random.Random, provider: str) -> list[tuple[str, float]]:
    drawn = rnd.random()
    if drawn < 0.15:
        ends = ("bounced", "bounced", "blocked", "dropped", "nothing")[int(drawn * 100 // 3)]
        return {"nothing": [], "dropped": [("dropped", 1.0)]}.get(ends, [("sent", 0.0), (ends, 9.0)])
    happened = [("sent", 0.0), ("delivered", 0.0)]
    if rnd.random() < 0.3:
        happened.append(("opened", 1.0))
    if rnd.random() < 0.5:
        happened += [("opened", 60.0 + n) for n in range(rnd.randint(1, 3))]
    if rnd.random() < 0.25:
        happened += [("clicked", 90.0 + n) for n in range(rnd.randint(1, 2))]
    if rnd.random() < 0.04:
        happened.append(("complained", 200.0))
    elif provider == "sendgrid" and rnd.random() < 0.04:
        happened.append(("unsubscribed", 200.0))
    return happened


def send(conn: Connection, sent: list[Letter], at: datetime) -> None:
    """Store the messages as an executor leaves them, those in doubt without the provider's id."""
    conn.execute(sa.insert(users), [{"id": letter.user} for letter in sent])
    rows = [
        {
            "id": letter.id,
            "user_id": letter.user,
            "action_type": "email",
            "content": "Hi",
            "content_hash": "h",
            "approved_hash": "h",
            "triggered_by": "manual",
            "cause": str(letter.id),
            "channel": letter.provider,
            "first_attempt_at": at,
        }
        for letter in sent
    ]
    conn.execute(sa.insert(actions), rows)
    for status in ("approved", "executing"):
        conn.execute(sa.update(actions).values(status=status))
    doubted = actions.c.id.in_([letter.id for letter in sent if letter.status == "unknown"])
    conn.execute(sa.update(actions).where(doubted).values(status="unknown"))
    conn.execute(sa.update(actions).where(actions.c.status == "executing").values(status="executed", executed_at=at))
