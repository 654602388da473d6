"""How many messages a user may get from all rules together: a day, a week, and on each channel.

A day is a UTC day, a week the last seven days. Where a cap bites, the most urgent rules win. Transactional messages,
alerts and tags count for no cap and know none. Who asked for fewer messages on a channel has a cap of their own there,
`FEWER`, which also counts and holds what a person wrote by hand.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from oracle_lib.decide.candidates import candidates
from oracle_lib.decide.definition import HOLDOUT
from oracle_lib.storage.tables import actions, fewer_wanted

# What was handed to a channel, or may be any moment.
GONE_OUT = ("approved", "executing", "executed", "unknown")
# Proposals that still may reach, or have reached, the user.
ALIVE = ("pending", *GONE_OUT)
Channel = Literal["email", "dm", "push", "post"]
Span = Literal["day", "week"]
_WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Cap:
    """At most `most` messages a user and `span` (day or week), on one channel or on all together.

    `wanted`: only for users who asked for it, and on each of the channels on which they did.
    """

    most: int
    span: Span
    channel: str | None = None
    wanted: bool = False

    @property
    def reason(self) -> str:
        """The word in `skips`."""
        if self.wanted:
            return "fewer"
        name = "daily_cap" if self.span == "day" else "weekly_cap"
        return name if self.channel is None else f"channel_{name}"


FEWER = Cap(1, "week", wanted=True)


def of(per_day: int, per_week: int | None, channels: Mapping[Channel, Mapping[Span, int]]) -> tuple[Cap, ...]:
    """Return the caps of an installation, those of single channels first."""
    made = [Cap(most, span, channel) for channel, spans in sorted(channels.items()) for span, most in spans.items()]
    made += [Cap(per_week, "week")] if per_week is not None else []
    return (*made, Cap(per_day, "day"))


def refuse(conn: Connection, caps: tuple[Cap, ...], now: datetime) -> None:
    """Refuse the candidates that are one too many, counting what was proposed before.

    Who is held out takes no place and is asked like everybody else.
    """
    for cap in (FEWER, *caps):
        conn.execute(_over(cap, now))


def questions(asked: sa.FromClause, caps: tuple[Cap, ...]) -> Iterator[tuple[ColumnElement[bool], str]]:
    """Ask of one action that is about to be sent, by what went out before."""
    out = sa.and_(
        actions.c.user_id == asked.c.user_id,
        actions.c.id != asked.c.id,
        actions.c.status.in_(GONE_OUT),
        *_counts(actions),
    )
    for cap in (FEWER, *caps):
        since = sa.func.date_trunc("day", sa.func.now(), "UTC") if cap.span == "day" else sa.func.now() - _WEEK
        sent = sa.select(sa.func.count()).where(out, actions.c.first_attempt_at >= since, *_beside(asked, cap))
        concerned = sa.and_(*_by_whom(asked, cap), *_counts(asked), *_under(asked, cap))
        yield sa.and_(concerned, sent.scalar_subquery() >= cap.most), cap.reason


def _over(cap: Cap, now: datetime) -> sa.Update:
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    before = (
        sa.select(sa.func.count())
        .where(
            actions.c.user_id == candidates.c.user_id,
            actions.c.created_at >= (midnight if cap.span == "day" else now - _WEEK),
            actions.c.status.in_(ALIVE),
            # A pending proposal of the same rule makes room for this one.
            sa.or_(actions.c.status != "pending", actions.c.rule_id.is_distinct_from(candidates.c.rule_id)),
            *_by_whom(actions, cap),
            *_counts(actions),
            *_beside(candidates, cap),
        )
        .scalar_subquery()
    )
    takes = sa.cast(candidates.c.arm.is_distinct_from(HOLDOUT), sa.Integer)
    ahead = sa.func.coalesce(
        sa.func.sum(takes).over(
            partition_by=[candidates.c.user_id, *([candidates.c.action_type] if cap.wanted else [])],
            order_by=[candidates.c.priority.desc(), candidates.c.rule_id],
            rows=(None, -1),
        ),
        0,
    )
    ranked = (
        sa.select(candidates.c.rule_id, candidates.c.user_id, (ahead + before).label("before"))
        .where(candidates.c.reason.is_(None), *_counts(candidates), *_under(candidates, cap))
        .subquery()
    )
    return (
        sa.update(candidates)
        .where(
            candidates.c.rule_id == ranked.c.rule_id,
            candidates.c.user_id == ranked.c.user_id,
            ranked.c.before >= cap.most,
        )
        .values(reason=cap.reason)
    )


def _counts(asked: sa.FromClause) -> tuple[ColumnElement[bool], ...]:
    return (asked.c.message_class == "marketing", asked.c.action_type.not_in(["alert", "tag"]))


def _by_whom(said: sa.FromClause, cap: Cap) -> tuple[ColumnElement[bool], ...]:
    """Say of which messages a cap speaks by who proposed them: those of rules; what a user wants holds for all."""
    return () if cap.wanted else (said.c.rule_id.is_not(None),)


def _under(asked: sa.FromClause, cap: Cap) -> tuple[ColumnElement[bool], ...]:
    """Say which messages are under a cap, by their channel and user."""
    if cap.wanted:
        wanted = (fewer_wanted.c.user_id == asked.c.user_id, fewer_wanted.c.channel == asked.c.action_type)
        return (sa.exists().where(*wanted),)
    return () if cap.channel is None else (asked.c.action_type == cap.channel,)


def _beside(asked: sa.FromClause, cap: Cap) -> tuple[ColumnElement[bool], ...]:
    """Say which of the user's actions count for a cap beside the one asked about, by their channel."""
    if cap.wanted:
        return (actions.c.action_type == asked.c.action_type,)
    return () if cap.channel is None else (actions.c.action_type == cap.channel,)
