"""What is asked of claimed actions once more before they go out, in the transaction that renews their leases.

What passes is handed over as a message; what does not has come to an end. No two of a set may be of the same user: the
guardrails count what went out before, and would not see the one beside it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.decide import content, guardrails
from oracle_lib.decide.guardrails import Limits, No
from oracle_lib.execute import claims, messages, pacing, tracked_letters, unsubscribe_links
from oracle_lib.execute.channels import Channel, Message
from oracle_lib.execute.claims import Claim, End
from oracle_lib.execute.pacing import Pacing
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import actions, skips, users


@dataclass(frozen=True)
class Prepared:
    """A set that was asked: what goes out now, and what has come to an end. Who is in neither was taken over."""

    messages: list[tuple[Claim, Message]]
    ends: list[End]


class Preparation:
    """Asks sets of claims; `limits` and the key that links are signed with are read once."""

    def __init__(self, settings: Settings, channels: Mapping[str, Channel], owner: str) -> None:
        self._settings = settings
        self._channels = channels
        self._owner = owner
        self._limits = Limits.of(settings)
        self._pacing = Pacing.of(settings)
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._link_key: bytes | None = None

    def prepare(self, conn: Connection, batch: Sequence[Claim]) -> Prepared:
        """Ask what may have changed since approval, hold the leases, and compose what the channels are handed."""
        ends = {mine.id: end for mine in batch if (end := self._unfit(mine)) is not None}
        fit = [mine for mine in batch if mine.id not in ends]
        noes = self._ask(conn, fit)
        refused = {mine.id: _refused(mine, noes[mine.id]) for mine in fit if mine.id in noes}
        ends |= refused
        done = claims.finish(conn, list(ends.values()), owner=self._owner)
        _keep_skips(conn, {action_id: noes[action_id].reason for action_id in refused if action_id in done})
        going = {mine: self._channels[mine.action_type].name for mine in batch if mine.id not in ends}
        held = claims.renew(conn, going, lease=self._lease)
        return Prepared(
            messages=self._messages(conn, [mine for mine in going if mine.id in held]),
            ends=[end for end in ends.values() if end.mine.id in done],
        )

    def _unfit(self, mine: Claim) -> End | None:
        """Say what only the claim itself and its channel can tell."""
        if content.content_hash(mine.payload) != mine.approved_hash:
            return End(mine, "failed", "payload_changed")
        doubt = _may_be_sent_twice(mine, self._channels[mine.action_type])
        return None if doubt is None else End(mine, "unknown", doubt)

    def _ask(self, conn: Connection, batch: Collection[Claim]) -> dict[UUID, No]:
        guardrails.lock_users(conn, [mine.id for mine in batch])
        noes: dict[UUID, No] = {}
        for reaches_people in (True, False):
            asked = [m.id for m in batch if self._channels[m.action_type].reaches_people is reaches_people]
            noes |= guardrails.check_actions(conn, asked, limits=self._limits, reaches_people=reaches_people)
        return noes | pacing.hold_back(conn, [mine for mine in batch if mine.id not in noes], self._pacing)

    def _messages(self, conn: Connection, batch: Sequence[Claim]) -> list[tuple[Claim, Message]]:
        """Compose what channels are handed, with the address an e-mail goes to now, its way out and what tracks it."""
        mailed = [mine.user_id for mine in batch if mine.action_type == "email"]
        addresses = _addresses(conn, mailed) if mailed else {}
        return [(mine, self._message(conn, mine, addresses.get(mine.user_id))) for mine in batch]

    def _message(self, conn: Connection, mine: Claim, address: str | None) -> Message:
        settings = self._settings

        def key() -> bytes:
            self._link_key = self._link_key or unsubscribe_links.key(conn, settings)
            return self._link_key

        def link() -> str:
            return unsubscribe_links.link(settings.public_url, key(), mine.id)

        is_tracked = tracked_letters.is_tracked(mine, settings)
        tracking = tracked_letters.tracking(mine, key(), settings) if is_tracked else None
        way_out = link if settings.public_url else None
        return messages.compose(mine, mine.payload, to=address, link=way_out, tracking=tracking)


def one_a_user(waiting: Iterable[Claim], most: int) -> list[Claim]:
    """Return the first `most` of the claims of which no two are of the same user."""
    first: dict[str, Claim] = {}
    for mine in waiting:
        if len(first) == most:
            break
        first.setdefault(mine.user_id, mine)
    return list(first.values())


def _refused(mine: Claim, no: No) -> End:
    if no.until is not None:
        return End(mine, "held", no.reason, no.until)
    # An earlier try may have arrived: then nobody can say that it was not sent.
    return End(mine, "skipped" if mine.attempts == 0 else "unknown", no.reason)


def _may_be_sent_twice(mine: Claim, channel: Channel) -> str | None:
    """Return why an earlier try may have arrived and nobody here would notice: then only a person may try again."""
    if mine.tried_for is None:
        return None
    if mine.channel != channel.name:
        return "channel_changed"
    return "key_expired" if channel.key_lives is not None and mine.tried_for > channel.key_lives else None


_ADDRESSES = sa.select(users.c.id, users.c.email).where(
    users.c.id == sa.any_(sa.bindparam("ids", type_=pg.ARRAY(sa.Text)))
)


def _addresses(conn: Connection, ids: list[str]) -> dict[str, str | None]:
    return {row.id: row.email for row in conn.execute(_ADDRESSES, {"ids": ids})}


def _keep_skips(conn: Connection, reasons: Mapping[UUID, str]) -> None:
    by_reason: defaultdict[str, list[UUID]] = defaultdict(list)
    for action_id, reason in reasons.items():
        by_reason[reason].append(action_id)
    columns = ["rule_id", "rule_version", "user_id", "cause", "reason", "action_id"]
    for reason, ids in by_reason.items():
        about = sa.select(
            actions.c.rule_id,
            actions.c.rule_version,
            actions.c.user_id,
            sa.func.coalesce(actions.c.cause, "manual"),
            sa.literal(reason),
            actions.c.id,
        ).where(actions.c.id.in_(ids))
        conn.execute(insert(skips).from_select(columns, about).on_conflict_do_nothing())
