"""What a channel's answer makes of a claim, and what a delivery is to its user. Nothing here sends."""

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import content
from oracle_lib.execute import claims, inbox, own_events, tracked_letters
from oracle_lib.execute.channels import Ambiguous, Answer, Broken, Channel, Delivered, Limited, Refused
from oracle_lib.execute.claims import MAX_ATTEMPTS, Became, Claim, End
from oracle_lib.execute.own_events import Happened
from oracle_lib.settings import Settings

# How long messages wait before a channel that needs a person is asked again.
LOOK_AGAIN = timedelta(minutes=15)


def end_of(mine: Claim, channel: Channel, answer: Answer) -> End:
    """Say what becomes of a claim after its channel's answer."""
    match answer:
        case Delivered(provider_id):
            sent_hash = content.content_hash(mine.payload)
            return End(mine, "executed", provider_id=provider_id, sent_hash=sent_hash)
        case Limited(reason, pause):
            return End(mine, "held", reason, pause.span)
        case Broken(reason):
            return End(mine, "held", reason, LOOK_AGAIN)
        case Refused(reason, permanent):
            # An earlier try under the same key may have arrived: giving up then says that nobody knows.
            given_up: Became = "unknown" if channel.idempotent and mine.attempts > 0 else "failed"
            return End(mine, "failed" if permanent else _again(mine, given_up), reason)
        case Ambiguous(reason):
            return End(mine, _again(mine, "unknown") if channel.idempotent else "unknown", reason)


def finish(conn: Connection, ends: Sequence[End], *, owner: str, settings: Settings) -> list[End]:
    """Write the ends down, with what a delivery is to its user; return those that were still ours."""
    done = claims.finish(conn, ends, owner=owner)
    ours = [end for end in ends if end.mine.id in done]
    delivered = [end.mine for end in ours if end.became == "executed"]
    inbox.keep(conn, [mine for mine in delivered if mine.action_type == "dm"], settings.environment)
    now = conn.scalars(sa.select(sa.func.now())).one()
    sent = [Happened(mine.id, f"{mine.action_type}_sent", now) for mine in delivered]
    own_events.add(conn, sent, settings=settings, now=now)
    tracked = [mine.id for mine in delivered if tracked_letters.is_tracked(mine, settings)]
    tracked_letters.note_sent(conn, tracked, now)
    return ours


def _again(mine: Claim, otherwise: Became) -> Became:
    return "retried" if mine.attempts + 1 < MAX_ATTEMPTS else otherwise
