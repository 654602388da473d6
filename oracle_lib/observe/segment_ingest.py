"""Segment's messages come in: each once, events beside everybody's, profiles changed, anonymous ids merged.

All of it in the caller's transaction. What is refused is kept as it was sent, with the reason. A message that comes
again, which the stock clients do until they are answered, is known by its `messageId` whatever its `sentAt` says.
Tests: `tests/api/test_segment_http.py`, `tests/api/test_segment_clients.py`.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection

from oracle_lib.errors import Invalid
from oracle_lib.observe import batch, identities, ingest, profiles, segment
from oracle_lib.observe.batch import Batch, Door, IngestReport, Item, Refused
from oracle_lib.observe.segment import Envelope, Kind, Message


def take(
    conn: Connection, raw: Sequence[bytes], envelope: Envelope, *, door: Door, allowed: Collection[Kind]
) -> IngestReport:
    """Take each message of `raw` in once; refuse those of a kind that is not `allowed`. Does not commit."""
    taken = batch.read(raw, lambda body: _permitted(segment.parse(body, envelope), allowed), door.plan)
    return take_in(conn, taken, door=door, now=envelope.received_at, envelope=envelope)


def take_in(
    conn: Connection, taken: Batch[Message], *, door: Door, now: datetime, envelope: Envelope | None = None
) -> IngestReport:
    """Take messages in that were read: claim, merge, store, change profiles. `envelope` is kept with refused ones."""
    identities.lock(conn, segment.about([item.message for item in taken.items]))
    fresh, duplicates, turned_away = ingest.admit(conn, taken.items, door=door, received_at=now)
    messages = [item.message for item in fresh]
    identities.merge(conn, segment.about(messages), source=door.source, now=now)
    people = identities.resolve(conn, {one.user_id for one in messages}) if messages else {}
    events = [
        msgspec.structs.replace(one.event, user_id=people.get(one.user_id, one.user_id))
        for one in messages
        if one.event is not None
    ]
    ingest.store(conn, events, now)
    unfit = _change_profiles(conn, fresh, people, source=door.source, now=now)
    refused = taken.refused + turned_away + unfit
    if envelope is not None:
        ingest.keep_rejected(conn, refused, door.source, now, segment.kept(envelope))
    return ingest.report(conn, taken, events, duplicates, refused, door=door, received_at=now)


def _permitted(message: Message, allowed: Collection[Kind]) -> Message:
    if message.kind not in allowed:
        raise Invalid(
            f"This key lacks the scope users:write, which {message.kind} needs.", field="type", code="missing_scope"
        )
    return message


def _change_profiles(
    conn: Connection, fresh: Sequence[Item[Message]], people: Mapping[str, str], *, source: str, now: datetime
) -> list[Refused]:
    """Make the profile changes, in the order of the batch; return the messages whose traits have no room."""
    asked = [(item, item.message.change) for item in fresh if item.message.change is not None]
    changes = [(people.get(item.message.user_id, item.message.user_id), change) for item, change in asked]
    unfit = profiles.put_all(conn, changes, source=source, now=now)
    return [Refused(asked[place][0].index, asked[place][0].raw, error) for place, error in unfit.items()]
