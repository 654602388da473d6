"""What a channel's answer makes of a claim, and the event that a delivery is to the user. Nothing here sends."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import content
from oracle_lib.execute import claims
from oracle_lib.execute.channels import Ambiguous, Answer, Broken, Channel, Delivered, Limited, Refused
from oracle_lib.execute.claims import MAX_ATTEMPTS, Became, Claim, End
from oracle_lib.observe.batch import Door
from oracle_lib.observe.ingest import ingest
from oracle_lib.observe.wire import Limits as WireLimits

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
            given_up: Became = "unknown" if channel.idempotent and mine.tried_for is not None else "failed"
            return End(mine, "failed" if permanent else _again(mine, given_up), reason)
        case Ambiguous(reason):
            return End(mine, _again(mine, "unknown") if channel.idempotent else "unknown", reason)


def finish(conn: Connection, ends: Sequence[End], *, owner: str, currency: str) -> list[End]:
    """Write the ends down and put deliveries among the users' events; return those that were still ours."""
    done = claims.finish(conn, ends, owner=owner)
    ours = [end for end in ends if end.mine.id in done]
    _tell(conn, [end.mine for end in ours if end.became == "executed"], currency)
    return ours


def _again(mine: Claim, otherwise: Became) -> Became:
    return "retried" if mine.attempts < MAX_ATTEMPTS else otherwise


def _tell(conn: Connection, delivered: Sequence[Claim], currency: str) -> None:
    """Put deliveries among the users' events: `email_sent`, `dm_sent` and the rest."""
    if delivered:
        door = Door(source="oracle", limits=WireLimits(currency=currency, internal=True))
        now = conn.scalars(sa.select(sa.func.now())).one()
        ingest(conn, [_event(mine) for mine in delivered], door=door, received_at=now)


def _event(mine: Claim) -> bytes:
    facts: dict[str, object] = {"actionId": str(mine.id), "template": mine.template, "subject": mine.subject}
    if mine.action_type == "email":
        facts["emailId"] = str(mine.id)
    return msgspec.json.encode(
        {
            "userId": mine.user_id,
            "event": f"{mine.action_type}_sent",
            "source": "oracle",
            "messageId": f"oracle/action/{mine.id}/sent",
            "metadata": {name: value for name, value in facts.items() if value is not None},
        }
    )
